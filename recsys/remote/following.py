"""What the store has now, brought to this machine: which folders there are, and the small files that change.

A command looks once when it begins, a service every two seconds, one of its workers for all.
"""

import fcntl
import logging
import os
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from recsys.artifacts import PRIVATE, discard_folder, locked, make_room, unheld
from recsys.errors import RecsysError
from recsys.home import SALT, Home, Place
from recsys.remote.bucket import PATIENT, QUICK, StoreAwayError, bucket_of
from recsys.remote.cache import make_space
from recsys.remote.folders import at_once, learn
from recsys.remote.listing import GENERATIONS, KEPT, NAME, OWN, ROOMS, TABLES, folder_of, known
from recsys.remote.state import STATE, adopt_changed, is_other, merge_lines

FOLLOW_SECONDS, LOOK_SECONDS = 2.0, 30.0  # between two looks at what changes, and at which folders there are
LOG = f"{GENERATIONS}/promotions.jsonl"
POINTER_LOCK, NAMES_LOCK = f"{GENERATIONS}/.lock", ".names.lock"
CHANGING = {  # each file with the lock under which it is replaced
    f"{GENERATIONS}/current.json": POINTER_LOCK,
    f"{GENERATIONS}/shadow.json": POINTER_LOCK,
    f"{GENERATIONS}/names.json": f"{GENERATIONS}/{NAMES_LOCK}",
    "adapters/names.json": f"adapters/{NAMES_LOCK}",
    "keys.json": "keys.lock",
    SALT: str(Path(SALT).with_suffix(".lock")),
}
_LOG = logging.getLogger(__name__)


def reached(place: Place = None) -> Home:
    """Return a home, with what its store has now if it has one.

    A store that does not answer keeps nobody from what was brought before.

    Raises:
        SettingError: the place is none.
        StoreError: the store refuses, or does not answer and nothing was ever brought.
    """
    home = Home.of(place)
    if home.store is not None:
        before = _stamp(home).exists()
        try:
            refresh(home)
        except StoreAwayError as error:
            if not before:
                raise
            _LOG.warning("What was brought before is shown. %s", error)
    return home


def follow(home: Home) -> None:
    """Look at the store, unless this machine has done so just now; whatever it says, nothing is raised."""
    complaint = home.root / OWN / ".complaint"
    if home.store is None or min(_age(_stamp(home)), _age(complaint)) < FOLLOW_SECONDS:
        return
    with suppress(BlockingIOError), locked(_lock(home), fcntl.LOCK_EX | fcntl.LOCK_NB, PRIVATE):
        try:
            _refresh(home, QUICK, folders=_age(_looked(home)) > LOOK_SECONDS)
            complaint.unlink(missing_ok=True)
        except (RecsysError, OSError) as error:
            if not complaint.exists():  # once, not every two seconds
                _LOG.error("The store cannot be followed; what is here goes on serving. %s", error)
            _touch(complaint)


def refresh(home: Home) -> None:
    """Bring here which folders the store has, and the files that change; a home without a store has all already.

    Raises:
        ArtifactError: a listing in the store is none.
        StoreError: the store does not answer.
    """
    if home.store is not None:
        with locked(_lock(home), fcntl.LOCK_EX, PRIVATE):
            _refresh(home, PATIENT, folders=True)


def _refresh(home: Home, patience: timedelta, folders: bool) -> None:
    bucket = bucket_of(str(home.store), patience)
    before = _known(home)  # before the store is asked: what is put meanwhile is not taken for gone
    there = {one.key.removeprefix(f"{STATE}/"): one.etag for one in bucket.list(STATE)}
    changed = any(is_other(home, name, there) for name in (LOG, *CHANGING))
    if folders or changed:
        kept = {
            (key[1], key[2].removesuffix(".json")) for one in bucket.list(KEPT) if len(key := one.key.split("/")) == 3
        }
        kept = {(room, name) for room, name in kept if room in ROOMS and NAME.fullmatch(name)}
        at_once(lambda one: learn(home, *one), sorted(kept - before))
        if before and not kept:
            _LOG.warning("%s lists nothing that was there before; what is here stays.", bucket.url)
        else:
            for room, name in before - kept:
                _drop(home, room, name)
        _touch(_looked(home))
        make_space(home)
    for name, lock in CHANGING.items():
        with suppress(BlockingIOError):  # who holds it looks by himself
            make_room((home.root / lock).parent)
            with locked(home.root / lock, fcntl.LOCK_EX | fcntl.LOCK_NB, PRIVATE):
                adopt_changed(home, name, there)
    if is_other(home, LOG, there):
        with suppress(BlockingIOError), locked(home.root / POINTER_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
            merge_lines(home, LOG)
    _touch(_stamp(home))


def _drop(home: Home, room: str, name: str) -> None:
    """Delete here what somebody has deleted from the store; what a process reads stays for another time."""
    if room != TABLES:  # these go when no generation here names them
        folder = folder_of(home, room, name)
        try:
            with unheld(folder):
                discard_folder(folder)
        except BlockingIOError:
            return
        except FileNotFoundError:
            pass
    known(home, room, name).unlink(missing_ok=True)


def _known(home: Home) -> set[tuple[str, str]]:
    return {(path.parent.name, path.stem) for path in (home.root / OWN / KEPT).glob("*/[!.]*.json")}


def _stamp(home: Home) -> Path:
    return home.root / OWN / ".followed"


def _looked(home: Home) -> Path:
    return home.root / OWN / ".looked"


def _lock(home: Home) -> Path:
    return make_room(home.root / OWN) / ".follow.lock"


def _touch(path: Path) -> None:
    path.touch(PRIVATE)


def _age(path: Path) -> float:
    """Return how many seconds ago a file was touched; one that is not there never was."""
    try:
        return abs(time.time() - os.stat(path).st_mtime)
    except FileNotFoundError:
        return float("inf")
