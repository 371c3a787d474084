"""From raw files to an immutable snapshot, and what is read of it."""
