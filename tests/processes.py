"""Processes that tests start: how long what they do may take, and ending them."""

import subprocess
import time
from pathlib import Path

import httpx

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


def wait_until_healthy(server: subprocess.Popen[bytes], api: str, log: Path) -> None:
    """Wait until a Prefect server answers; ``log`` is shown where it does not."""
    wait_until_ready(server, f"{api}/health", log)


def wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a server says at a URL that it is ready; ``log`` is shown where it does not."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, f"The server ended:\n{log.read_text()}"
        try:
            if httpx.get(url, timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"The server was not ready after {PATIENCE_SECONDS} s:\n{log.read_text()}")
