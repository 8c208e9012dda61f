"""A run that leaves its machine, as an archive that others can run again."""
