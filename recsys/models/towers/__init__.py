"""The two towers: items and histories as vectors, and how they are trained on behaviour."""
