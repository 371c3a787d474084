"""The trained whole: components, their blend, candidates and scores. Training writes it, serving reads it."""
