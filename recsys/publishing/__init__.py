"""A trained system becomes a generation; whether it may serve; the pointer."""
