"""A copy of a home to attack, with more generations than one, and a service over it."""

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from recsys.home import Home
from recsys.store.generations import commit_generation, current_id, read_generation
from services import serve
from services.edge.keys import create_key

USUAL_FILES = 1_024  # that a process may open, as most systems have it
CLONES = 3
KEYS = {"recommend": "recommend", "other": "recommend", "write": "write", "admin": "admin"}
LISTENS_SECONDS = 60
PEOPLE = 256  # whose histories are known


def copied(home: Home, place: Path) -> Home:
    """Copy what a service needs of a home, without runs, caches and keys, and clone its generation."""
    ignored = shutil.ignore_patterns("runs", "cache", "keys.*")
    copy = Home(Path(shutil.copytree(home.root, place, ignore=ignored, symlinks=True)))
    folder, manifest = read_generation(copy, str(current_id(copy)))
    for number in range(CLONES):
        staging = copy.generations / f".staging-attack-{number}"
        shutil.copytree(folder, staging, ignore=shutil.ignore_patterns("manifest.json"))
        seed = {**manifest.settings, "seed": 1_000 + number}
        commit_generation(copy, staging, replace(manifest, settings=seed))
    return copy


def known(home: Home) -> dict[str, Any]:
    """Return what ``Target`` wants to know of a home: items, people and titles. Starts threads: call it in a child."""
    from recsys.data.columns import ITEM_ID, TITLE, USER_ID
    from recsys.data.snapshot import open_snapshot

    _, manifest = read_generation(home, str(current_id(home)))
    snapshot = open_snapshot(home, manifest.snapshot)
    items = snapshot.items()
    grouped = snapshot.events().group_by(USER_ID, maintain_order=True).agg(ITEM_ID)
    people = dict(grouped.filter(grouped[ITEM_ID].list.len() >= 5).head(PEOPLE).iter_rows())
    return {
        "items": items[ITEM_ID].to_list(),
        "people": people,
        "titles": dict(items.select(ITEM_ID, TITLE).iter_rows()),
    }


def with_keys(home: Home) -> Mapping[str, str]:
    """Make the keys that attacks use; return them by what they are for."""
    return {name: create_key(home, f"attack-{name}", [scope])[1] for name, scope in KEYS.items()}


@contextmanager
def started(home: Home, ready: bool = True) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a service of a home on loopback, with as many open files as is usual; yield its URL and its process.

    Args:
        home: that it serves.
        ready: wait until it answers; otherwise until it listens.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    port = serve.free_port()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL_FILES, hard), hard))
    try:
        server = serve.start(home, port)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    url = f"http://{serve.LOOPBACK}:{port}"
    try:
        deadline = time.monotonic() + (serve.START_SECONDS if ready else LISTENS_SECONDS)
        while not _answers(url, ready):
            if server.poll() is not None or time.monotonic() > deadline:
                log = serve.log_file(home, port)
                raise serve.ServeError(f"The service did not come up: {log.read_text(errors='replace')[-2_000:]}")
            time.sleep(0.2)
        yield url, server
    finally:
        with suppress(ProcessLookupError):
            if server.poll() is None and not serve.stop(server):
                os.killpg(server.pid, 9)


def _answers(url: str, ready: bool) -> bool:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.is_success or not ready
