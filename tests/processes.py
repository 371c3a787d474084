"""Processes that tests start: how long what they do may take, and ending them."""

import subprocess

PATIENCE_SECONDS = 600  # an outer limit, for a hang: two busy cores of an older kind take minutes over some things
GRACE_SECONDS = 5


def end(process: subprocess.Popen[bytes]) -> None:
    """End a child: politely, then, because a worker whose server is gone does not listen, by force."""
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
