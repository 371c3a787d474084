"""The keys of what a snapshot's events have: users, pairs, ids; in order on disk, so that a day looks up its own few.

They lie in the cache of the home, below the snapshot's id, and are made from the segments whenever they are not there.
Each day adds a file of its new keys to those before, which snapshots share; small ones become one. Whoever deletes a
snapshot discards them.
"""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import (
    ArtifactError,
    commit_folder,
    digest_file,
    digest_folder,
    discard_folder,
    make_room,
    read_json,
    verify_folder,
    write_json,
)
from recsys.data.segments.keys import Numbers
from recsys.data.segments.leaf import share
from recsys.home import Home

FOLDER, MEANING = "counted", "meaning.json"
USERS, TYPED, PAIRS = "users", "typed", "pairs"  # keys of users, of users and types, of users, items and types
NAMES = "names"  # keys of ids of events
TYPE_BITS = 12  # the last ones of a key, which say the type
_FORMAT = 1  # another number: other keys, or of other events
_MOST_MERGED = 32 << 20  # bytes of files that become one
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Counted:
    """The keys of a snapshot's events.

    Attributes:
        folder: where they lie.
        types: of events, by the number that keys have, from 1.
        digests: the SHA-256 of each file, by its name; in each keys are in order, and no two files share one.
    """

    folder: Path
    types: tuple[str, ...]
    digests: Mapping[str, str]

    def files(self, name: str) -> list[Path]:
        """Return the files of ``USERS``, ``TYPED``, ``PAIRS`` or ``NAMES``, from the oldest."""
        return [self.folder / one for one in sorted(self.digests) if one.startswith(f"{name}-")]

    def holds(self, name: str, keys: Numbers, of_any_type: bool = False) -> NDArray[np.bool_]:
        """Return which of some keys in order are there.

        Args:
            name: as of ``files``.
            keys: to look up.
            of_any_type: with whatever type.
        """
        shift = np.uint64(TYPE_BITS if of_any_type else 0)
        found = np.zeros(len(keys), dtype=bool)
        for path in self.files(name):
            there = np.memmap(path, np.uint64, "r")
            places = np.searchsorted(there, keys >> shift << shift)
            inside = places < len(there)
            found[inside] |= there[places[inside]] >> shift == keys[inside] >> shift
        return found


class Written:
    """Writes keys in order as a further file beside those that are there, which the new folder shares.

    Args:
        folder: where; None: nothing is written.
        name: as of ``Counted.files``.
        there: what the keys join, none of which are in it; None: nothing.
    """

    def __init__(self, folder: Path | None, name: str, there: Counted | None) -> None:
        self._folder, self._name = folder, name
        self._there = [] if there is None else there.files(name)
        self._file: BinaryIO | None = None
        self._path = Path()

    def __enter__(self) -> "Written":
        if self._folder is not None:
            last = self._there[-1].name.rpartition("-")[2] if self._there else "0"
            self._path = self._folder / f"{self._name}-{int(last) + 1:06}"
            self._file = self._path.open("wb")
        return self

    def add(self, keys: Numbers) -> None:
        """Write some keys, greater than those before."""
        if self._file is not None:
            self._file.write(np.ascontiguousarray(keys).data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        self._file.close()
        if kind is None:
            self._merge()

    def _merge(self) -> None:
        """Put the last files together as long as the one before is not much larger; keep the others as they are."""
        files, size = list(self._there), self._path.stat().st_size
        together = [self._path]
        while files and files[-1].stat().st_size <= 2 * size and size + files[-1].stat().st_size <= _MOST_MERGED:
            size += files[-1].stat().st_size
            together.append(files.pop())
        if len(together) > 1:
            keys = np.sort(np.concatenate([np.fromfile(one, np.uint64) for one in together]))
            self._path.write_bytes(keys.data)
        if not size:
            self._path.unlink()
        for one in files:
            share(one, self._path.parent / one.name)


def keep_counted(home: Home, snapshot_id: str, content: str, made: Counted) -> None:
    """Keep the keys of a snapshot in the cache of its home; what of them cannot be kept is counted again.

    Args:
        home: where the snapshot lies.
        snapshot_id: its name.
        content: the digest of what it holds.
        made: the keys, with the digests that are known; their folder goes.
    """
    place = _place(home, snapshot_id)
    try:
        if _read(place, content) is not None:
            return
        make_room(place.parent)
        discard_counted(home, snapshot_id)
        files = digest_folder(made.folder, made.digests)
        meaning = {"content": content, "types": made.types, **_made_by(), "files": files}
        write_json(made.folder / MEANING, meaning)
        commit_folder(made.folder, place)
    except OSError as error:  # a home that is full
        _LOG.warning("What was counted of snapshot %s is not kept in %s: %s", snapshot_id, place, error)


def read_counted(home: Home, snapshot_id: str, content: str) -> Counted | None:
    """Return the keys of a snapshot, given the digest of what it holds; None: they are not there, or not as they were.

    Every file is read once, to compare it with its digest.
    """
    place = _place(home, snapshot_id)
    found = _read(place, content)
    try:
        if found is not None:
            verify_folder(place, {**found.digests, MEANING: digest_file(place / MEANING)})
    except (ArtifactError, OSError):
        return None
    return found


def discard_counted(home: Home, snapshot_id: str) -> None:
    """Delete what is kept of a snapshot's keys, if anything is."""
    with contextlib.suppress(FileNotFoundError):
        discard_folder(_place(home, snapshot_id))


def _read(place: Path, content: str) -> Counted | None:
    try:
        meaning = read_json(place / MEANING)
        if meaning["content"] == content and {name: meaning[name] for name in _made_by()} == _made_by():
            return Counted(place, tuple(meaning["types"]), dict(meaning["files"]))
    except (ArtifactError, OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _made_by() -> dict[str, Any]:
    """Return what keys are, and what texts are hashed to: another version of Polars, or machine, may hash otherwise."""
    return {"format": _FORMAT, "hashed by": pl.Series(["", "recsys", "recommendations"]).hash().to_list()}


def _place(home: Home, snapshot_id: str) -> Path:
    return home.cache / FOLDER / snapshot_id
