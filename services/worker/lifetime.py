"""A worker's life ends with its server's: one that is killed must leave nobody behind who answers on its port."""

import logging
import os
import signal
import threading
import time

from services.serve import DRAIN_SECONDS

WATCH_SECONDS = 0.5
_LOG = logging.getLogger(__name__)


def end_with_server() -> None:
    """End this process when the one that started it has gone: as by SIGTERM, then, if that takes too long, at once."""
    thread = threading.Thread(target=_watch, args=(os.getppid(),), name="watch-server", daemon=True)
    thread.start()


def _watch(server: int) -> None:
    while os.getppid() == server:
        time.sleep(WATCH_SECONDS)
    _LOG.error("The server of this worker is gone without a word; the worker ends, too.")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * DRAIN_SECONDS)
    os._exit(1)
