"""What is kept by hash and never changes: adapters, generations, the vector index, exported encoders."""
