"""Whether two runs came out the same."""
