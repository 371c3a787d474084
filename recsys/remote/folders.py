"""Stored folders and the store: put whole after they are committed here, brought when they are needed, taken away.

Of a folder that was not needed yet this machine has its small JSON files, which lists and comparisons read. A table of
LanceDB is here whole or not at all.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from os import link, replace
from pathlib import Path
from typing import TypeVar

from recsys.artifacts import (
    READABLE,
    ArtifactError,
    commit_folder,
    digest_file,
    discard_folder,
    locked,
    make_room,
    mark_used,
    staged_folder,
    write_atomic,
)
from recsys.home import Home
from recsys.remote.bucket import PATIENT, QUICK, Bucket, OvertakenError, StoreAwayError, bucket_of
from recsys.remote.claims import check_time, putting
from recsys.remote.listing import (
    ADAPTERS,
    FILES,
    GENERATIONS,
    OWN,
    ROOMS,
    SNAPSHOTS,
    TABLES,
    Listing,
    folder_of,
    key_of,
    known,
    read_kept,
    read_known,
)

AT_ONCE = 8  # files that are brought or put
Named = TypeVar("Named")


def push(home: Home, room: str, name: str) -> None:
    """Put a committed folder into the store, if the home has one, unless it is there; its listing comes last.

    Raises:
        ArtifactError: this machine has only a part of it, and the store no longer has the rest.
        StoreError: the store does not take it; what it has taken is found by the next call.
    """
    if home.store is None:
        return
    bucket, folder = bucket_of(home.store), folder_of(home, room, name)
    kept = read_kept(bucket, room, name)
    if kept is None:
        before = read_known(home, room, name)
        if before is not None and before.missing(folder):
            raise ArtifactError(f"{folder} was deleted from {bucket.url} by somebody else. Make it again.")
        with putting(home):
            kept = Listing.of(folder)
            by_hash = {sha: one for one, sha in kept.files.items()}
            at_once(lambda sha: _put(bucket, sha, folder / by_hash[sha]), by_hash)
            with suppress(OvertakenError):  # another machine has put the same
                bucket.put(key_of(room, name), kept.content(), None)
            kept = read_kept(bucket, room, name) or kept
    if not known(home, room, name).is_file():
        _note(home, room, name, kept)


def fetch(home: Home, room: str, name: str) -> None:
    """Bring a folder from the store, if the home has one, unless it is here; every file is compared with its hash.

    A folder that the store lacks is left to its reader, who knows what to say.

    Raises:
        ArtifactError: a file in the store is gone or is not what was put there.
        StoreError: the store does not answer.
    """
    if home.store is None:
        return
    folder, listing = folder_of(home, room, name), read_known(home, room, name)
    if listing is None and not folder.exists():
        listing = learn(home, room, name)
    if listing is None or not listing.missing(folder):
        mark_used(folder)
        return
    bucket, final = bucket_of(home.store), folder
    with locked(make_room(home.root / OWN) / f".{room}.lock"), staged_folder(home.root / room) as staging:
        missing = listing.missing(folder)
        shared = _shared(home, room, name, {listing.files[one] for one in missing})
        for one in missing:
            (staging / one).parent.mkdir(parents=True, exist_ok=True)
        at_once(lambda one: _bring(bucket, listing.files[one], staging / one, shared), missing)
        if room == TABLES and missing:
            if folder.exists():
                raise ArtifactError(f"{folder} lacks {missing[0]}. Remove the folder: it is brought again.")
            commit_folder(staging, final)
        elif missing:
            for one in missing:
                make_room((folder / one).parent)
                (staging / one).chmod(READABLE)
                replace(staging / one, folder / one)
    mark_used(folder)


def fetch_all(home: Home) -> None:
    """Bring all folders that the store of a home has, if it has one.

    Raises:
        ArtifactError, StoreError: as ``fetch``.
    """
    if home.store is not None:
        for room in ROOMS:
            for path in sorted(known(home, room, "x").parent.glob("*.json")):
                fetch(home, room, path.stem)


def found(home: Home, room: str, name: str) -> None:
    """Learn of a folder that this machine does not know yet, if the home has a store that answers at once.

    Raises:
        ArtifactError: its listing is none.
        StoreError: the store refuses.
    """
    if home.store is not None and not folder_of(home, room, name).exists():
        with suppress(StoreAwayError):  # it is known another time
            learn(home, room, name, QUICK)


def learn(home: Home, room: str, name: str, patience: timedelta = PATIENT) -> Listing | None:
    """Note what the store has of a folder, with its small JSON files; return the listing, or None where it has none.

    Raises:
        ArtifactError: the listing is none.
        StoreError: the store does not answer.
    """
    listing = read_kept(bucket_of(str(home.store), patience), room, name)
    if listing is not None:
        if room != TABLES:
            folder = folder_of(home, room, name)
            for one, text in listing.heads.items():
                if not (folder / one).exists():
                    write_atomic(make_room((folder / one).parent) / Path(one).name, text.encode())
        _note(home, room, name, listing)
    return listing


def withdraw(home: Home, room: str, name: str) -> None:
    """Take a folder from the store, if the home has one: nobody finds it there any more. Its files go by ``sweep``.

    Raises:
        StoreError: the store does not say that it has.
    """
    if home.store is not None:
        check_time()
        bucket_of(home.store).delete([key_of(room, name)])
        known(home, room, name).unlink(missing_ok=True)


def discard_stored(home: Home, room: str, name: str) -> None:
    """Delete a stored folder: from the store, if the home has one, and then here."""
    withdraw(home, room, name)
    discard_folder(folder_of(home, room, name))


def push_generation(home: Home, generation_id: str, snapshot: str, adapters: Iterable[str], table: str) -> None:
    """Put a generation into the store after all that it stands on.

    Raises:
        ArtifactError: as ``push``.
        StoreError: as ``push``.
    """
    if home.store is None:
        return
    with putting(home):
        push(home, SNAPSHOTS, snapshot)
        for adapter in adapters:
            push(home, ADAPTERS, adapter)
        push(home, TABLES, table)
        push(home, GENERATIONS, generation_id)


def _put(bucket: Bucket, sha: str, path: Path) -> None:
    if bucket.size(f"{FILES}/{sha}") != path.stat().st_size:
        bucket.put(f"{FILES}/{sha}", path)


def _bring(bucket: Bucket, sha: str, path: Path, shared: dict[str, Path]) -> None:
    if sha in shared:
        link(shared[sha], path)
        if digest_file(path) == sha:
            return
        path.unlink()
    bucket.download(f"{FILES}/{sha}", path, sha)


def _shared(home: Home, room: str, name: str, wanted: set[str]) -> dict[str, Path]:
    """Return files of other folders of a room, by hash, that need not be brought again: segments are many's."""
    found: dict[str, Path] = {}
    for path in known(home, room, "x").parent.glob("*.json"):
        if path.stem != name:
            folder = folder_of(home, room, path.stem)
            for one, sha in Listing.read(path).files.items():
                if sha in wanted and (folder / one).is_file():
                    found[sha] = folder / one
    return found


def _note(home: Home, room: str, name: str, listing: Listing) -> None:
    path = known(home, room, name)
    write_atomic(make_room(path.parent) / path.name, listing.content())


def at_once(do: Callable[[Named], object], names: Iterable[Named]) -> None:
    """Do something with each of some names, a few at a time; the first error is raised."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(do, names):
            pass
