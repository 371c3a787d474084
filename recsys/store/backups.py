"""Backups of a home: a folder each below one place, with every file's SHA-256 in ``backup.json``.

A backup is written beside its place and renamed into it, so that one that was cut short looks like none. What has not
changed since the one before is another name of the same file: a backup costs the disk what is new. Each is whole by
itself, and any of them may be deleted. What is open in a service or a training is copied as it is.
"""

import fcntl
import shutil
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from recsys.artifacts import (
    MANIFEST,
    PRIVATE,
    ArtifactError,
    canonical_json,
    commit_folder,
    digest,
    digest_file,
    discard_folder,
    locked,
    now,
    remove_staging,
    staged_folder,
    write_atomic,
    write_json,
)
from recsys.callbacks import Progress, StageProgress, stage
from recsys.database.copies import Contents, contents, copy_database, copy_sqlite
from recsys.database.salt import CHECK
from recsys.errors import SettingError
from recsys.home import ALONE, Home
from recsys.record import Record
from recsys.remote.folders import fetch_all
from recsys.store.backup_files import StoredFile, copy_file, files, hold, link_file, parts
from recsys.store.generations import current_id
from recsys.store.pointer import pointer_lock
from recsys.store.retention import LOCK as PRUNING

BACKUP, FORMAT = "backup.json", 1
DATABASE = "events.db"  # of a backup, whatever kind of database it is a copy of
KEPT_ROOMS = ("snapshots", "adapters", "generations", "lance")  # what is in a folder of theirs does not change
LOCK = ".backup.lock"
SQLITE = ".db"


@dataclass(frozen=True, kw_only=True)
class Backup(Record):
    """What is in a backup.

    Attributes:
        format: of backups; a later one may hold what this version would leave out.
        recsys: the version that wrote it.
        made: when it was begun (UTC).
        served: id of the generation that the home served; None: none.
        events: live events in the database.
        forgotten: tombstones in the database.
        salt: what the database says of the salt of its tombstones, a digest; None: nothing yet.
        files: by their path in the home, and in the backup.
        digest: the SHA-256 over everything else.
    """

    format: int = FORMAT
    recsys: str
    made: str
    served: str | None
    events: int = 0
    forgotten: int = 0
    salt: str | None = None
    files: dict[str, StoredFile] = field(default_factory=dict)
    digest: str = ""

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(one.bytes for one in self.files.values())

    @property
    def sealed_digest(self) -> str:
        """What its digest must be."""
        return digest(canonical_json({name: value for name, value in self.to_dict().items() if name != "digest"}))


@dataclass(frozen=True)
class Made:
    """A backup that was just made.

    Attributes:
        path: its folder.
        backup: what is in it.
        copied: bytes that the disk has now and had not before.
        removed: names of older backups that went.
    """

    path: Path
    backup: Backup
    copied: int
    removed: tuple[str, ...]


def back_up(
    home: Home,
    place: Path,
    salt: Path | None = None,
    keep: int | None = None,
    progress: StageProgress | None = None,
) -> Made:
    """Write a backup of a home and its database into a folder below a place, while both are used.

    Args:
        home: where state lives; what an object store has of it is brought first.
        place: a folder for backups, outside of the home; made where it is missing.
        salt: where a copy of the tombstones' salt goes: outside of ``place``.
        keep: how many of the newest backups stay, this one counted; None: all.
        progress: called with bytes done and all.

    Raises:
        SettingError: ``place`` or ``salt`` lies where it may not, or ``keep`` is below 1.
        ArtifactError: there is nothing to back up, another backup is being written there, or the disk is too small.
        OSError: something cannot be read or written; nothing that looks like a backup is left.
    """
    place = _place(home, place)
    if keep is not None and keep < 1:
        raise SettingError(f"keep is {keep}; the backup that is made stays, so it takes at least 1.")
    if salt is not None and salt.absolute().is_relative_to(place):
        raise SettingError(f"{salt} lies among the backups; the salt must not lie beside the hashes. Name another.")
    if next(parts(home), None) is None and not home.events_database.exists():
        raise ArtifactError(f"There is nothing to back up in {home.root}. Name the home by --home or RECSYS_HOME.")
    fetch_all(home)
    place.mkdir(mode=ALONE, parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(place / LOCK, operation=fcntl.LOCK_EX | fcntl.LOCK_NB, mode=PRIVATE))
        except BlockingIOError:
            raise ArtifactError(f"Another backup is being written into {place}. Wait for its end.") from None
        remove_staging(place)
        before = list_backups(place)
        with staged_folder(place) as staging:
            backup, copied = _fill(home, staging, before[-1] if before else None, progress)
            write_json(staging / BACKUP, backup.to_dict())
            if salt is not None:
                _copy_salt(home, salt)
            path = commit_folder(staging, place / _name(backup), private=True)
        old = [] if keep is None else [one for one, _ in before[: max(0, len(before) + 1 - keep)]]
        for one in old:
            discard_folder(one)
    return Made(path, backup, copied, tuple(one.name for one in old))


def list_backups(place: Path) -> list[tuple[Path, Backup]]:
    """Return the backups below a place with their folders, the oldest first; what is none is left out."""
    found = []
    for path in place.glob(f"[!.]*/{BACKUP}"):
        with suppress(ArtifactError):
            found.append((path.parent, read_backup(path.parent)))
    return sorted(found, key=lambda one: (one[1].made, one[0].name))


def read_backup(folder: Path) -> Backup:
    """Return what is in a backup.

    Raises:
        ArtifactError: the folder is none, what says so was changed, or a later version of recsys has written it.
    """
    path = folder / BACKUP
    backup = Backup.read(path, "Take another backup.")
    if backup.format > FORMAT:
        raise ArtifactError(
            f"{folder} was written by recsys {backup.recsys}, whose backups have more in them than "
            f"{version('recsys')} knows. Install that version, or a later one."
        )
    if backup.digest != backup.sealed_digest:
        raise ArtifactError(f"{path} has changed since it was written. Take another backup.")
    return backup


def verify(folder: Path, backup: Backup, progress: Progress | None = None) -> None:
    """Compare every file of a backup with its hash.

    Raises:
        ArtifactError: one is missing or has changed.
    """
    done = 0
    for name, stored in backup.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(f"{path} is missing. Take another backup.")
        if digest_file(path) != stored.sha256:
            raise ArtifactError(f"{path} has changed since it was written. Take another backup.")
        done += stored.bytes
        if progress is not None:
            progress(done, backup.bytes)


def _fill(
    home: Home, staging: Path, before: tuple[Path, Backup] | None, progress: StageProgress | None
) -> tuple[Backup, int]:
    """Copy or link everything; return what is there now, and how many bytes were copied."""
    from recsys.store.index import indexing  # brings LanceDB, for which a restore has no use

    made = now()
    stored: dict[str, StoredFile] = {}
    copied = 0
    with locked(home.root / PRUNING, mode=PRIVATE), indexing(home.lance):  # nothing is pruned, and no table dropped
        with pointer_lock(home):
            served = current_id(home)
            kept = {path.parent: hold(path.parent) for path in home.generations.glob(f"[!.]*/{MANIFEST}")}
            pointed = [path for path in home.generations.glob("[!.]*") if path.is_file()]
            stored |= {_inside(home, path): copy_file(path, staging / _inside(home, path)) for path in pointed}
        # a generation that is younger than the pointer is left to the next backup: nobody keeps what it stands on
        todo = [part for part in parts(home) if part.parent != home.generations or part in kept]
        total = _check_room(home, staging, todo, before)
        tell, done = stage(progress, "Copy"), 0
        for part in todo:
            held = hold(part)
            for path in files(part):
                name = _inside(home, path)
                with suppress(FileNotFoundError):  # of runs: somebody has removed it meanwhile
                    stored[name], new = _taken(home, path, staging, before)
                    copied += new
                    done += stored[name].bytes
                if tell is not None:
                    tell(done, max(total, done))
            del held
        kept.clear()
    found = Contents()
    # the last of all: who was forgotten meanwhile is forgotten in it
    if copy_database(home, staging / DATABASE, stage(progress, "Copy the database")):
        found = contents(staging / DATABASE)
        if found.salt is not None and not found.salt.startswith(CHECK):
            raise ArtifactError(
                "The database is of an older version, which has kept the salt of its tombstones beside them. Start "
                "the service once, which moves it to a file, and take the backup then."
            )
        stored[DATABASE] = _stored(staging / DATABASE)
        copied += stored[DATABASE].bytes
    backup = Backup(recsys=version("recsys"), made=made, served=served, files=stored, **asdict(found))
    return replace(backup, digest=backup.sealed_digest), copied


def _taken(home: Home, path: Path, staging: Path, before: tuple[Path, Backup] | None) -> tuple[StoredFile, int]:
    """Copy or link a file; return what it is, and how many bytes were copied."""
    name = _inside(home, path)
    if path.suffix == SQLITE:
        copy_sqlite(path, staging / name)
        stored = _stored(staging / name)
        return stored, stored.bytes
    known = _known(name, path, before)
    if known is not None and before is not None and link_file(before[0] / name, staging / name):
        return known, 0
    stored = copy_file(path, staging / name)
    return stored, stored.bytes


def _known(name: str, path: Path, before: tuple[Path, Backup] | None) -> StoredFile | None:
    """Return what the backup before has of a file that never changes, where it is still the same."""
    if before is None or name.partition("/")[0] not in KEPT_ROOMS or name.count("/") < 2:
        return None
    known = before[1].files.get(name)
    return known if known is not None and known.is_of(path.stat()) else None


def _check_room(home: Home, staging: Path, todo: list[Path], before: tuple[Path, Backup] | None) -> int:
    """Return how many bytes all files have.

    Raises:
        ArtifactError: what is new of them, and the database, are more than is free.
    """
    total = new = 0
    for path in [path for part in todo for path in files(part)]:
        with suppress(FileNotFoundError):
            size = path.stat().st_size
            total += size
            new += 0 if _known(_inside(home, path), path, before) else size
    if home.events_database.exists():
        new += home.events_database.stat().st_size
    free = shutil.disk_usage(staging).free
    if new > free:
        raise ArtifactError(
            f"The backup needs {new / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free below {staging.parent}. "
            "Make room there, such as by --keep, or name another place. Nothing was written."
        )
    return total


def _copy_salt(home: Home, target: Path) -> None:
    """Write a copy of the salt, for its owner alone; one that is there is not replaced by another.

    Raises:
        ArtifactError: another file is there.
    """
    if not home.salt.exists():
        return
    content = home.salt.read_bytes()
    if not target.exists():
        target.absolute().parent.mkdir(mode=ALONE, parents=True, exist_ok=True)
        write_atomic(target.absolute(), content, PRIVATE)
    elif target.read_bytes() != content:
        raise ArtifactError(f"{target} holds something else than the salt of {home.root}. Name another file.")


def _place(home: Home, place: Path) -> Path:
    if "://" in str(place) or ":/" in str(place):
        raise SettingError(f"{place} is a URL; backups go into a folder. Name one, such as where a store is mounted.")
    whole = place.expanduser().absolute()
    if whole.resolve().is_relative_to(home.root.resolve()):
        raise SettingError(f"{place} lies in the home, and would be lost with it. Name a place outside of {home.root}.")
    if whole.exists() and not whole.is_dir():
        raise SettingError(f"{place} is no folder. Name one for backups.")
    return whole


def _stored(path: Path) -> StoredFile:
    status = path.stat()
    return StoredFile(digest_file(path), status.st_size, status.st_mtime_ns)


def _inside(home: Home, path: Path) -> str:
    return path.relative_to(home.root).as_posix()


def _name(backup: Backup) -> str:
    """Return what a backup's folder is called: the time, to the microsecond, as every file system takes it."""
    return f"{datetime.fromisoformat(backup.made).astimezone(UTC):%Y%m%dT%H%M%S.%fZ}"
