"""The Prefect flows, a stage a file, and the `recsys` command that runs them."""

import recsys  # noqa: F401 - before Prefect is: it turns off what Prefect would report
