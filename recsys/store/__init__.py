"""What is kept: the vector index, adapters, generations and live events."""
