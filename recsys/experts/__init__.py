"""Simple scorers beside the encoder. Each is fitted on training sequences and scores any history."""
