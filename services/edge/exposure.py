"""A warning where everybody on the machine may look into the home: once, by the first worker of a server."""

import logging

from bentoml import server_context

from recsys.home import Home

FIRST = (None, 1)  # a worker's number; None: it is the only one
_LOG = logging.getLogger(__name__)


def warn_if_open(home: Home) -> None:
    """Log what every user of this machine may read of a home, and the command that ends it."""
    if server_context.worker_index not in FIRST:
        return
    found = " ".join(map(str, home.open_to_all()))
    if found:
        _LOG.warning("Every user of this machine may read people's events in %s. Run: chmod o-rwx %s", home.root, found)
