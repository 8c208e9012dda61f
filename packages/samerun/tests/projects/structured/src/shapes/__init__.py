"""Squares and discs in small images."""
