"""A run's process: how it ends, its job on a cluster, the variables that it was given."""
