"""A crate from somebody else: opened, looked at, shown, and run where it can do no harm."""
