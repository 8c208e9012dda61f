"""What must not be recorded, and how it is kept out."""
