"""Numbers of 64 bits, more than memory holds: put aside as they come, and given back in order, each once."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.data.segments.room import Room

Numbers = NDArray[np.uint64]
Number = TypeVar("Number", bound=np.integer)
MOST_HELD = 16 << 20  # bytes in memory
_BUCKETS = 6  # bits


class Keys:
    """Takes numbers in any order.

    Args:
        room: where files are written, if any must be.
        name: of their folder.
    """

    def __init__(self, room: Room, name: str) -> None:
        self._room = room
        self._name = name
        self._held: list[Numbers] = []
        self._bytes = 0
        self._files: list[tuple[Path, NDArray[np.int64]]] = []  # each with where its buckets end

    def add(self, numbers: Numbers) -> None:
        """Take some numbers."""
        self._held.append(numbers)
        self._bytes += numbers.nbytes
        if self._bytes > MOST_HELD:
            self._flush()

    def _flush(self) -> None:
        """Write what is in memory, by bucket: in order it is cheaper put later, a bucket at a time."""
        numbers = np.concatenate(self._held)
        buckets = (numbers >> np.uint64(64 - _BUCKETS)).astype(np.uint8)
        path = self._room.folder(self._name) / f"{len(self._files):06}"
        with path.open("wb") as file:
            file.write(numbers[np.argsort(buckets, kind="stable")].data)
        self._files.append((path, np.cumsum(np.bincount(buckets, minlength=1 << _BUCKETS))))
        self._held, self._bytes = [], 0

    def distinct(self) -> Iterator[Numbers]:
        """Yield all numbers in order, each once, in parts."""
        if not self._files:
            if self._bytes:
                yield in_order(np.concatenate(self._held))
            return
        if self._bytes:
            self._flush()
        for bucket in range(1 << _BUCKETS):
            parts = []
            for path, ends in self._files:
                start = int(ends[bucket - 1]) if bucket else 0
                parts.append(np.fromfile(path, np.uint64, int(ends[bucket]) - start, offset=8 * start))
            found = np.concatenate(parts)
            if len(found):
                yield in_order(found)


def in_order(numbers: NDArray[Number]) -> NDArray[Number]:
    """Return numbers in order, each once."""
    ordered = np.sort(numbers)
    return ordered[changes(ordered)]


def changes(numbers: NDArray[Number]) -> NDArray[np.bool_]:
    """Return where a number differs from the one before it."""
    found = np.ones(len(numbers), dtype=bool)
    found[1:] = numbers[1:] != numbers[:-1]
    return found
