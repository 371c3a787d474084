"""The revisions, from ``r0001`` on."""
