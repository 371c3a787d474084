"""A full disk, told as such: by whichever library it was met, and with where, how much is left and what to do."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
_SAID = ("no space left on device", "disk quota exceeded", "database or disk is full")  # by Rust, SQLite and others
_FAILED = ("unable to open database file", "disk i/o error")  # by SQLite, where it cannot make its journal
MEGABYTE = 10**6


def full_disk(error: BaseException, home: Path) -> str | None:
    """Return what to say of an error that a full disk has caused, or None where none has.

    Args:
        error: with what led to it.
        home: the folder of all state, which is written to unless the error names another file.
    """
    for one in _chain(error):
        said = str(one).casefold()
        sure = (isinstance(one, OSError) and one.errno in FULL) or any(words in said for words in _SAID)
        if sure or any(words in said for words in _FAILED):
            named = one.filename if isinstance(one, OSError) and isinstance(one.filename, str) else None
            path = Path(named) if named else home
            there = next((place for place in (path, *path.parents) if place.is_dir()), Path("/"))
            free = shutil.disk_usage(there).free / MEGABYTE
            if sure or free < 1:
                return (
                    f"The disk of {path} is full: {free:,.0f} MB are free below {there}. Nothing that was stored is "
                    "lost. `recsys prune --dry-run` tells what of the home can go; then run the same again."
                )
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, and what was being handled then."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
