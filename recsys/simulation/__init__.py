"""A shop that is made up: people with tastes, items, what they do to them, and the truth that can be asked."""
