"""The Prefect flows, a stage a file, and the `recsys` command that runs them."""
