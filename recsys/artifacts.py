"""Content hashes and atomic writes: what makes an id stand for its content and a crash leave no half file.

A folder is prepared beside its final place and renamed into it; a file likewise. Readers see the old state or the new.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO, TypeVar

from recsys.errors import RecsysError

ID_DIGITS = 16
MANIFEST = "manifest.json"  # of a snapshot, and of a generation
STAGING_PREFIX = ".staging-"
_LOG = logging.getLogger(__name__)
Read = TypeVar("Read")
# The home is closed to everybody else (see ``recsys.home``). What lies in it can be read by the group that an operator
# opens the home to, but for what is private. Nobody else may ever write, whatever the umask is.
READABLE, FOLDER, PRIVATE = 0o644, 0o755, 0o600


# From this size on, files that a service answers from are mapped: its workers share one copy of them in memory. But a
# mapped file that somebody cuts short ends whoever reads it (SIGBUS), which nothing can catch.
MAPPED_FROM = 1 << 24  # bytes


class ArtifactError(RecsysError):
    """A stored file is missing or is not what its manifest says. The message names the file and the way out."""


def canonical_json(value: Any) -> bytes:
    """Return the one JSON spelling of a value: sorted keys, no spaces, UTF-8, finite numbers only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(folder: Path, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its path relative to the folder, sorted.

    ``known``: digests that somebody has made already, by path.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: (known or {}).get(name) or digest_file(path) for name, path in files.items()}


def check_id(name: str, kind: str) -> None:
    """Check that a name can be an id's, before a path is made of it.

    Raises:
        ArtifactError: ids do not look like that.
    """
    if not re.fullmatch(f"[0-9a-f]{{{ID_DIGITS}}}", name):
        raise ArtifactError(f"{name[:40]!a} is no {kind} id; one has {ID_DIGITS} hexadecimal digits.")


def short_id(*parts: Any) -> str:
    """Return a short id for some JSON values: the same values give the same id."""
    return digest(canonical_json(parts))[:ID_DIGITS]


def now() -> str:
    """Return the time (UTC) as it is written beside what is stored: copied files have new dates, and this stays."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def made_at(written: object, path: Path) -> datetime:
    """Return when something stored was made (UTC): as was written, or as its file is dated where nothing was.

    Args:
        written: what ``now`` gave; anything else counts as nothing, as older versions wrote it.
        path: of the file.
    """
    try:
        found = datetime.fromisoformat(str(written))
    except ValueError:
        found = datetime.fromtimestamp(path.stat().st_mtime_ns / 1e9, UTC)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def refuse_links(*paths: Path) -> None:
    """Check that nothing stored is a link: what it leads to can be another thing by the time it is read.

    Raises:
        ArtifactError: one of them is.
    """
    for path in paths:
        if path.is_symlink():
            raise ArtifactError(f"{path} is a link; stored are plain files and folders only. Put there what it means.")


def verify_folder(folder: Path, expected: dict[str, str], repair: str = "Publish again, or roll back.") -> None:
    """Check that a folder holds exactly the expected files, and that neither it nor anything in it is a link.

    Args:
        folder: what was stored.
        expected: the SHA-256 of each file by its path in the folder.
        repair: what to do about a folder that is not as it was.

    Raises:
        ArtifactError: a file is missing, changed, a link, or one too many.
    """
    refuse_links(folder, *folder.rglob("*"))
    found = digest_folder(folder)
    for name, expected_digest in expected.items():
        if name not in found:
            raise ArtifactError(f"{folder / name} is missing. {repair}")
        if found[name] != expected_digest:
            raise ArtifactError(f"{folder / name} has changed since it was written. {repair}")
    surplus = sorted(set(found) - set(expected))
    if surplus:
        raise ArtifactError(f"{folder / surplus[0]} does not belong there. Remove it, or build the folder again.")


def write_atomic(path: Path, content: bytes, mode: int = READABLE) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    stream_atomic(path, lambda file: file.write(content), mode)


def stream_atomic(path: Path, write: Callable[[BinaryIO], object], mode: int = READABLE) -> None:
    """Write a file likewise, by what writes into it: what is large need not stand in memory as bytes."""
    with staged_file(path.parent) as staging:
        with staging.open("wb") as file:
            os.fchmod(file.fileno(), mode)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, path)
    _sync_folder(path.parent)


def write_json(path: Path, value: Any, mode: int = READABLE) -> None:
    """Write a value as indented JSON, atomically, with sorted keys."""
    write_atomic(path, as_json(value), mode)


def as_json(value: Any) -> bytes:
    """Return a value as ``write_json`` writes it."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtifactError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing.") from None
    except (ValueError, RecursionError) as error:  # also brackets without an end
        raise ArtifactError(f"{path} is not valid JSON ({error}). Restore it, or build it again.") from None


def read_each(parent: Path, name: str, read: Callable[[str], Read]) -> list[Read]:
    """Return what is read of every folder below ``parent`` that holds a file ``name``, sorted by folder.

    One that cannot be read, whoever put it there, must not hide the others: it is logged and left out.
    """
    found = []
    for path in sorted(parent.glob(f"[!.]*/{name}")):
        try:
            found.append(read(path.parent.name))
        except ArtifactError as error:
            _LOG.warning("%s is left out. %s", path.parent, error)
    return found


class Hold:
    """Keeps a stored folder from being pruned for as long as this lives; the system takes it back where a process ends.

    Raises:
        ArtifactError: there is no such folder, or it was removed while this waited for it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            weakref.finalize(self, os.close, descriptor).atexit = False
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            same = os.path.samestat(os.fstat(descriptor), os.stat(folder))
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise ArtifactError(f"{folder} is missing; somebody has deleted it.")


@contextmanager
def unheld(folder: Path) -> Iterator[None]:
    """Keep a stored folder to oneself: whoever wants to hold it waits.

    Raises:
        BlockingIOError: a process holds it.
        FileNotFoundError: it is gone.
    """
    with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


def is_held(folder: Path) -> bool:
    """Tell whether a process holds a stored folder."""
    try:
        with unheld(folder):
            return False
    except BlockingIOError:
        return True
    except OSError:  # gone, or a link, which nobody holds
        return False


def mark_used(folder: Path) -> None:
    """Date a stored folder anew, since it was found and is to be used: what is young is not pruned."""
    with suppress(OSError):  # a home that cannot be written to is not pruned either
        os.utime(folder)


def last_used(folder: Path, made: datetime) -> datetime:
    """Return when a stored folder was made or, if later, marked as used (UTC)."""
    return max(made, datetime.fromtimestamp(folder.stat().st_mtime, UTC))


def stored_bytes(*paths: Path) -> int:
    """Return how many bytes some files, and all files below some folders, hold; what goes meanwhile counts nothing."""
    total = 0
    for path in paths:
        with suppress(FileNotFoundError):
            files = [path, *path.rglob("*")] if path.is_dir() else [path]
            for file in files:
                with suppress(FileNotFoundError):
                    status = file.lstat()
                    total += status.st_size if S_ISREG(status.st_mode) else 0
    return total


@contextmanager
def staged_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty folder below ``parent``; whatever is not moved out by ``commit_folder`` is removed at the end."""
    with _owned(parent, lambda: tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=parent)) as staging:
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def staged_file(parent: Path) -> Iterator[Path]:
    """Yield an empty file below ``parent``, which is removed at the end unless it was moved to its final place."""

    def make() -> str:
        descriptor, path = tempfile.mkstemp(prefix=STAGING_PREFIX, dir=parent)
        os.close(descriptor)
        return path

    with _owned(parent, make) as staging:
        try:
            yield staging
        finally:
            staging.unlink(missing_ok=True)


def commit_file(staging: Path, final: Path) -> None:
    """Move a finished staging file to its final place in one step, in the place of what is there."""
    with staging.open("rb") as file:
        os.fchmod(file.fileno(), READABLE)
        os.fsync(file.fileno())
    os.replace(staging, final)
    _sync_folder(final.parent)


def commit_folder(staging: Path, final: Path, private: bool = False) -> Path:
    """Move a finished staging folder to its final place in one step; an existing folder of that name stays.

    Others may read what is in it, unless it is private.
    """
    if final.exists():
        return final
    for path in staging.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    if not private:
        open_to_readers(staging)
    try:
        os.replace(staging, final)
    except OSError:
        if not final.exists():  # another process may have committed the same content first
            raise
    _sync_folder(final.parent)
    return final


def open_to_readers(folder: Path) -> None:
    """Give a finished folder and all in it the modes of what is stored: others wrote there by a umask of their own."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(FOLDER if path.is_dir() else READABLE)


def make_room(folder: Path) -> Path:
    """Make a folder of what is stored, and those above it, where they are missing; return it."""
    if not folder.is_dir():
        make_room(folder.parent)
        folder.mkdir(mode=FOLDER, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path, operation: int = fcntl.LOCK_EX, mode: int = READABLE) -> Iterator[None]:
    """Hold the lock of an empty file, which is made where it is missing.

    Raises:
        BlockingIOError: another holds it, and the operation does not wait.
        OSError: it is a link, through which somebody else's file would be opened.
    """
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def discard_folder(folder: Path) -> None:
    """Delete a folder that is listed by its place: moved out of sight in one step, then removed file by file."""
    with staged_folder(folder.parent) as doomed:
        os.replace(folder, doomed)  # over the empty folder


def remove_staging(parent: Path) -> int:
    """Remove what crashed writers left below a folder, and nothing of those at work; return how many entries went."""
    removed = 0
    for path in parent.glob(f"{STAGING_PREFIX}*"):
        with suppress(OSError), _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):  # else it has an owner, or is gone
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed += 1
    return removed


@contextmanager
def _owned(parent: Path, make: Callable[[], str]) -> Iterator[Path]:
    """Make something in staging and hold its lock, which the system takes back from a process that ends."""
    make_room(parent)
    with ExitStack() as stack:
        while True:
            path = Path(make())
            with suppress(FileNotFoundError):  # between the two somebody may have taken it for a crashed one's
                stack.enter_context(_locked(path, fcntl.LOCK_EX))
                if path.exists():
                    break
        yield path


@contextmanager
def _locked(path: Path, operation: int) -> Iterator[None]:
    """Hold a lock of a file or folder.

    Raises:
        BlockingIOError: another holds it, and the operation does not wait.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
