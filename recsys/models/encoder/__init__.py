"""A BERT encoder: the base and its LoRA weights, tokens, vectors, labels, and the exported form that serves."""
