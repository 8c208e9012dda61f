"""Whether two runs came out the same, and what may be why if they did not."""
