"""Answers from one generation: lists, search, users, live items, and why an item stands where it does."""
