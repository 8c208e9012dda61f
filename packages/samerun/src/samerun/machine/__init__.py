"""What a run computed with: packages, processor, arithmetic, and how to make that repeatable."""
