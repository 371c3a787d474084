"""State on an object store: what is kept there, and this machine's cache of it. See ``infra/README.md``."""
