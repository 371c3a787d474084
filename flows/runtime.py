"""Where a run keeps its state, and the environment in which Prefect starts.

The command line calls ``prepare`` before anything imports Prefect. A worker brings its own environment, and a flow that
is called without a home takes RECSYS_HOME from it.
"""

import os
import resource
import sys
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flows.server import passing_secret, prefect_state, private_folder
from recsys.home import Home
from recsys.remote.following import reached

SERVER_START_SECONDS = 300  # the server that Prefect starts for a single command is slow beside other work
_alone = False  # of this process, before a command has begun


def open_home(home: str | None) -> Home:
    """Return the home at a path or URL, or the environment's where there is none; it is made where it is missing."""
    return reached(home or None).make()


def prepare(home: Home, make: bool = True) -> None:
    """Set what Prefect and matplotlib read when they are imported; what the user has set stays.

    Runs go to the server at PREFECT_API_URL. Without one a command needs no server, but for a Prefect block of type
    Secret, or a flow that is called from Python: Prefect then starts one for as long, which nobody else can call and
    whose database lies below the home.

    Args:
        home: where state lives.
        make: whether it is made where it is missing; without, nothing is written.
    """
    settings = {
        # Errors reach the user as the exception that the flow raises; all logs go to Prefect's database.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "MPLCONFIGDIR": str(home.cache / "matplotlib"),
        "TOKENIZERS_PARALLELISM": "false",  # or tokenizers warn whenever a child process is started
    }
    if "PREFECT_API_URL" not in os.environ:
        settings |= passing_secret(os.environ)
        settings |= prefect_state(home)
        settings["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = str(SERVER_START_SECONDS)
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if not make:
        return
    home.make()
    if "PREFECT_HOME" in settings and os.access(
        home.root, os.W_OK
    ):  # what is there answers from a disk for reading, too
        private_folder(Path(os.environ["PREFECT_HOME"]))  # Prefect would make it open to everybody


def begin_command() -> None:
    """Say that this process is a command's, before it imports a flow: where no server is named it needs no Prefect."""
    global _alone
    _alone = not _names_server(os.environ)


def alone() -> bool:
    """Tell whether this process is a command that names no server, so that nobody would see its runs."""
    return _alone


def _names_server(environment: Mapping[str, str]) -> bool:
    """Tell whether Prefect would find a server named: by a variable, a profile of one's own, or a file here."""
    if any(environment.get(name) for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILES_PATH")):
        return True
    for name, table in (("prefect.toml", ()), ("pyproject.toml", ("tool", "prefect"))):
        try:
            found: Any = tomllib.loads(Path(name).read_text())
        except (OSError, ValueError):
            continue
        for key in (*table, "api"):
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict) and found.get("url"):
            return True
    with suppress(OSError):  # there is none, or the working folder is gone
        return "PREFECT_API_URL" in Path(".env").read_text(errors="replace")
    return False


@contextmanager
def server_starting() -> Iterator[None]:
    """Let the server that Prefect starts for a single command come up beside what the block does: each takes seconds.

    Where settings name a server, nothing is started. A start that failed is made again, and told, by the first flow.
    """
    from prefect.settings import get_current_settings  # here, because Prefect reads its settings when it is imported

    settings = get_current_settings()
    if settings.api.url or not settings.server.ephemeral.enabled:
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer

    with ThreadPoolExecutor(max_workers=1) as beside:
        beside.submit(SubprocessASGIServer().start)
        yield


def peak_memory() -> int:
    """Return the most memory in MiB that this process or the largest of its ended children has held."""
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return largest // (1 << 20 if sys.platform == "darwin" else 1 << 10)  # macOS counts bytes, Linux KiB
