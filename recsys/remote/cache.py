"""The size of this machine's cache of a store: what was not used for longest goes, folder by folder.

Only what the store has goes, nothing that a process holds, and nothing that was used within the last hour. A folder
keeps its small JSON files, so that lists show it, and is brought again when it is needed.
"""

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from recsys.artifacts import discard_folder, is_held, locked, make_room, stored_bytes, unheld
from recsys.errors import SettingError
from recsys.home import Home
from recsys.remote.listing import OWN, ROOMS, TABLES, Listing, folder_of, known

VARIABLE = "RECSYS_CACHE_GB"
DEFAULT_GB = 50.0
RECENT_SECONDS = 3_600.0  # whoever reads without holding has begun since
_GB = 1e9


def limit_from_environment() -> float:
    """Return how many bytes a cache may hold.

    Raises:
        SettingError: the variable holds no positive number.
    """
    value = os.environ.get(VARIABLE) or DEFAULT_GB
    try:
        limit = float(value) * _GB
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise SettingError(f"{VARIABLE} is {value!r}; it must be a positive number of gigabytes.")
    return limit


def make_space(home: Home, now: float | None = None) -> list[Path]:
    """Take from a cache what was used least lately, until it is as small as it should be; return those folders.

    Args:
        home: on a store; of another nothing goes.
        now: Unix seconds; the clock's by default.
    """
    if home.store is None:
        return []
    limit, gone = limit_from_environment(), list[Path]()
    total = stored_bytes(*(home.root / room for room in ROOMS))
    for used, room, name in sorted(_candidates(home)):
        if total <= limit or (time.time() if now is None else now) - used < RECENT_SECONDS:
            break
        folder = folder_of(home, room, name)
        before = stored_bytes(folder)
        with locked(make_room(home.root / OWN) / f".{room}.lock"):
            if _emptied(home, room, name):
                total -= before - stored_bytes(folder)
                gone.append(folder)
    return gone


def _candidates(home: Home) -> list[tuple[float, str, str]]:
    """Return when each folder was used last that is here and in the store, with its room and name."""
    found = []
    for room in ROOMS:
        for path in known(home, room, "x").parent.glob("*.json"):
            folder = folder_of(home, room, path.stem)
            with suppress(FileNotFoundError):
                if not Listing.read(path).missing(folder):
                    found.append((folder.stat().st_mtime, room, path.stem))
    return found


def _emptied(home: Home, room: str, name: str) -> bool:
    """Take a folder's files away but for those that lists read; return whether nobody was reading it."""
    folder = folder_of(home, room, name)
    if room == TABLES:
        vectors = list(home.lance.glob(f"{name.removesuffix('.lance')}-*.npy"))
        if any(map(is_held, vectors)):
            return False
        for path in vectors:
            path.unlink(missing_ok=True)
        discard_folder(folder)
        return True
    listing = Listing.read(known(home, room, name))
    with ExitStack() as stack:
        try:
            stack.enter_context(unheld(folder))
        except (BlockingIOError, FileNotFoundError):
            return False
        used = folder.stat().st_mtime
        for one in listing.files.keys() - listing.heads.keys():
            (folder / one).unlink(missing_ok=True)
        os.utime(folder, (used, used))
    return True
