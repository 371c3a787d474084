"""The encoder and the two towers: text in, vectors out, trained on behaviour.

This package imports torch, transformers, peft, safetensors and numpy only, so that it runs on a GPU machine that has
nothing else.
"""
