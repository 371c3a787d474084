"""What of a home goes into a backup: all that nobody could make again; and how a file of it gets there.

Left out are locks and what is half written; what is made from the rest when it is missing (the cache, exported
encoders, files of vectors); checkpoints, logs, and lists of people that forgetting does not reach; Prefect's own
state; and the salt of the tombstones, which never lies beside their hashes. The database is copied by other means.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recsys.artifacts import ArtifactError, Hold, make_room, refuse_links
from recsys.home import MARK, SALT, TENANT, TENANTS, Home
from recsys.remote.listing import OWN

CHUNK = 1 << 20  # bytes
_MADE_AGAIN = ("cache", "encoders", "prefect")  # rooms
_PASSING = (
    "service-",
    "batch-",
    "evaluate-",
    "promotions",
)  # how names below ``runs`` begin that are logs, lists or attempts
_ENDS = (".checkpoint", ".npy", "-wal", "-shm", "-journal")
_NO_LINKS = (errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.EXDEV)  # a file has too many, or a file system knows none


@dataclass(frozen=True)
class StoredFile:
    """A file of a backup.

    Attributes:
        sha256: of its content.
        bytes: its size.
        mtime_ns: when the home's was last changed, in nanoseconds since 1970.
    """

    sha256: str
    bytes: int
    mtime_ns: int

    def is_of(self, status: os.stat_result) -> bool:
        """Tell whether a file is, by its size and date, the one that was copied."""
        return (self.bytes, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


def parts(home: Home) -> Iterator[Path]:
    """Yield folders and files of a home in the order in which they are copied: what stands on others before these.

    What is made meanwhile may be missing from a backup, but nothing that stands in it stands on what is not there.
    """
    rooms = (home.generations, home.adapters, home.lance, home.snapshots, home.runs)
    for room in rooms:
        for path in sorted(room.glob("[!.]*")):
            passing = room == home.runs and path.name.startswith(_PASSING)
            if not passing and not path.name.endswith(_ENDS):
                yield path
    # a tenant's backup is its own; of a cache the backup is of what the store has, and no cache
    left_out = {*(room.name for room in rooms), *_MADE_AGAIN, TENANTS, TENANT, MARK, OWN}
    for path in sorted(home.root.glob("[!.]*")):
        private = path.name.startswith((home.events_database.name, SALT.partition(".")[0]))
        if path.name not in left_out and not private:
            yield path


def files(part: Path) -> list[Path]:
    """Return the files of a part, sorted; what goes meanwhile is left out.

    Raises:
        ArtifactError: one of them is a link.
    """
    found = sorted(part.rglob("*")) if part.is_dir() else [part]
    refuse_links(part, *found)
    hidden = [path for path in found if any(name.startswith(".") for name in path.relative_to(part).parts)]
    return [path for path in found if path not in hidden and path.is_file() and not path.name.endswith(_ENDS)]


def hold(part: Path) -> Hold | None:
    """Keep a folder from being deleted for as long as the result lives; None for a file, or where it has gone."""
    if part.is_dir():
        with suppress(ArtifactError):
            return Hold(part)
    return None


def copy_file(source: Path, target: Path) -> StoredFile:
    """Copy a file with its mode; return what was copied.

    Raises:
        OSError: it cannot be read or written; a full disk names ``target``.
    """
    make_room(target.parent)
    sha256 = hashlib.sha256()
    with source.open("rb") as reading, target.open("xb") as writing:
        status = os.fstat(reading.fileno())
        os.fchmod(writing.fileno(), status.st_mode & 0o777)
        size = 0
        try:
            while part := reading.read(CHUNK):
                sha256.update(part)
                writing.write(part)
                size += len(part)
            writing.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from None
    return StoredFile(sha256.hexdigest(), size, status.st_mtime_ns)


def link_file(source: Path, target: Path) -> bool:
    """Give a file another name; return whether that is done: not where it is gone, or its file system has no links."""
    make_room(target.parent)
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True
