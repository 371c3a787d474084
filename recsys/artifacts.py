"""Content hashes and atomic writes: what makes an id stand for its content and a crash leave no half file.

A folder is prepared beside its final place and renamed into it; a file likewise. Readers see the old state or the new.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ID_DIGITS = 16
STAGING_PREFIX = ".staging-"
_LOG = logging.getLogger(__name__)
READABLE = 0o644  # a temporary file is private; a service under another user must be able to read the final one


class ArtifactError(Exception):
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


def digest_folder(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its path relative to the folder, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in files}


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


def verify_folder(folder: Path, expected: dict[str, str]) -> None:
    """Check that a folder holds exactly the expected files.

    Raises:
        ArtifactError: a file is missing, changed, a link, or one too many.
    """
    links = [path for path in (folder, *folder.rglob("*")) if path.is_symlink()]
    if links:
        raise ArtifactError(f"{links[0]} is a link; stored folders hold plain files only. Build it again.")
    found = digest_folder(folder)
    for name, expected_digest in expected.items():
        if name not in found:
            raise ArtifactError(f"{folder / name} is missing. Publish again, or roll back to a whole generation.")
        if found[name] != expected_digest:
            raise ArtifactError(f"{folder / name} has changed since it was written. Publish again, or roll back.")
    surplus = sorted(set(found) - set(expected))
    if surplus:
        raise ArtifactError(f"{folder / surplus[0]} does not belong there. Remove it, or build the folder again.")


def write_atomic(path: Path, content: bytes, mode: int = READABLE) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=STAGING_PREFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: Path, value: Any, mode: int = READABLE) -> None:
    """Write a value as indented JSON, atomically, with sorted keys."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text.encode() + b"\n", mode)


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


def read_each(parent: Path, name: str, read: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
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


@contextmanager
def staged_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty folder below ``parent``; whatever is not moved out by ``commit_folder`` is removed at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=parent))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def commit_folder(staging: Path, final: Path) -> Path:
    """Move a finished staging folder to its final place in one step; an existing folder of that name stays."""
    if final.exists():
        return final
    for path in staging.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    os.chmod(staging, 0o755)  # mkdtemp makes it private; a service under another user must be able to read it
    try:
        os.replace(staging, final)
    except OSError:
        if not final.exists():  # another process may have committed the same content first
            raise
    _sync_folder(final.parent)
    return final


def discard_folder(folder: Path) -> None:
    """Delete a folder that is listed by its place: moved out of sight in one step, then removed file by file."""
    doomed = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder.parent))
    os.replace(folder, doomed)  # over the empty folder
    shutil.rmtree(doomed)


def remove_staging(parent: Path) -> int:
    """Remove what crashed writers left below a folder; return how many entries went."""
    leftovers = list(parent.glob(f"{STAGING_PREFIX}*")) if parent.exists() else []
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(leftovers)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
