"""What is held out, the figures of a ranking of everything, and how sure they are."""
