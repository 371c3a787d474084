"""Settings: what each may be, and how they are made, read and written."""
