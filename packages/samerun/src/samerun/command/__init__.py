"""The line that repeats a run, quoted for every shell."""
