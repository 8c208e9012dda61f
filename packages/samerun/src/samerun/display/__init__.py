"""A run as a person looks at it: on the screen, as a picture."""
