"""Ending the processes that tests start."""

import subprocess

GRACE_SECONDS = 5


def end(process: subprocess.Popen[bytes]) -> None:
    """End a child: politely, then, because a worker whose server is gone does not listen, by force."""
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
