"""Where runs are kept: the address, whether it answers, artifacts that were moved."""
