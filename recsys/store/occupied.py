"""Bytes on disk: a file that has several names, as snapshots share segments, counts once, and is free with the last."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG


@dataclass(frozen=True)
class Link:
    """A name of a file.

    Attributes:
        file: which one, of which device.
        size: its bytes.
        names: how many it had.
    """

    file: tuple[int, int]
    size: int
    names: int


def links_of(path: Path) -> list[Link]:
    """Return the names of files at a path and below it; what goes meanwhile has none."""
    found = []
    with suppress(FileNotFoundError):
        for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
            with suppress(FileNotFoundError):
                status = one.lstat()
                if S_ISREG(status.st_mode):
                    found.append(Link((status.st_dev, status.st_ino), status.st_size, status.st_nlink))
    return found


def freed(places: Sequence[Sequence[Link]]) -> list[int]:
    """Return the bytes that become free as each of some places goes, one after the other."""
    names: dict[tuple[int, int], int] = {}
    for link in (link for place in places for link in place):
        names[link.file] = max(names.get(link.file, 0), link.names)
    bytes_ = []
    for place in places:
        total = 0
        for link in place:
            names[link.file] -= 1
            total += link.size if not names[link.file] else 0
        bytes_.append(total)
    return bytes_


def held(places: Sequence[Sequence[Link]]) -> list[int]:
    """Return the bytes of each of some places that none before it holds."""
    seen: set[tuple[int, int]] = set()
    bytes_ = []
    for place in places:
        own = {link.file: link.size for link in place if link.file not in seen}
        seen |= own.keys()
        bytes_.append(sum(own.values()))
    return bytes_
