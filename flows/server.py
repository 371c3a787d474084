"""Prefect's server, closed: no page of another origin may call it, and nobody who does not know its secret.

`recsys ui` starts the one that stays; the one that Prefect starts for a single command has a secret of that process.
"""

import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from recsys.artifacts import PRIVATE, write_atomic
from recsys.database.files import sqlite_url
from recsys.home import ALONE, Home

PORT = 4200
USER = "recsys"
CLIENT_FILE = "client.env"

DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
SERVER_SECRET, CLIENT_SECRET = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
# Who holds a slot outlives the server: of leases in its memory, slots would stay taken for ever.
LEASES = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
_SECRET = re.compile(rf"^export {CLIENT_SECRET}=({USER}:[\w-]{{32,}})$", re.MULTILINE)


def private_folder(folder: Path) -> Path:
    """Make a folder, if there is none, that only its owner may enter: Prefect's database holds parameters and logs."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.getuid():
        folder.chmod(ALONE)
    return folder


def new_secret() -> str:
    """Return ``user:password`` that nobody else knows."""
    return f"{USER}:{secrets.token_urlsafe(32)}"


def closed(secret: str, port: int | None = None) -> dict[str, str]:
    """Return the settings of a server that answers to ``secret`` alone, and to no page but its own UI's.

    Args:
        secret: ``user:password``; the clients' ``PREFECT_API_AUTH_STRING``.
        port: of its UI; None: it has none.
    """
    return {
        SERVER_SECRET: secret,
        # A name for the address or the other: a browser takes them for two origins.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}" if port else "",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def passing_secret(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of the server for a single command and of its client: they share a secret of this process."""
    secret = environment.get(SERVER_SECRET) or environment.get(CLIENT_SECRET) or new_secret()
    return {**closed(secret), CLIENT_SECRET: secret}


def prefect_state(home: Home) -> dict[str, str]:
    """Return the settings by which Prefect's state, its database with it, lies below a home.

    Prefect pastes the path into a URL, in which ``?`` and others would end it; such a path is given as a URL.
    """
    state = str(home.prefect)
    named = {DATABASE: sqlite_url(home.prefect / "prefect.db", "sqlite+aiosqlite")} if quote(state) != state else {}
    return {"PREFECT_HOME": state, **named}


def client_file(home: Home, port: int) -> Path:
    """Write what a shell reads to reach the home's server, the secret of before kept; only its owner may read it."""
    path = private_folder(home.prefect) / CLIENT_FILE
    known = _SECRET.search(path.read_text()) if path.exists() else None
    lines = {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        CLIENT_SECRET: known[1] if known else new_secret(),
        "DO_NOT_TRACK": "1",
    }
    write_atomic(path, "".join(f"export {name}={value}\n" for name, value in lines.items()).encode(), PRIVATE)
    return path


def start(home: Home, port: int) -> None:
    """Become Prefect's server on loopback, with its state below the home. Does not return."""
    known = _SECRET.search(client_file(home, port).read_text())
    assert known, "client_file has just written it"
    environment = {**os.environ, **closed(known[1], port), **LEASES, CLIENT_SECRET: known[1]}
    if "PREFECT_HOME" not in environment:
        environment = {**prefect_state(home), **environment}
    # Its pages would ask a server at Prefect's own port, whatever port it has.
    environment.setdefault("PREFECT_SERVER_UI_API_URL", f"http://127.0.0.1:{port}/api")
    environment.pop("PREFECT_API_URL", None)  # it is the server, whatever server this shell knows
    os.umask(0o077)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    os.execve(sys.executable, command, environment)
