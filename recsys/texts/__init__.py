"""Texts alone: to vectors, and to labels."""
