"""The `recsys` command, a group of commands a file; none of them knows the application."""
