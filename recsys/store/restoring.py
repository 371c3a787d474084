"""A home from a backup: compared with its hashes, put into an empty home in one step, and nobody forgotten comes back.

A backup is as old as it is. Whoever was forgotten since stays so if a later backup beside it knows: their tombstones
are taken over, and what the older database still holds of them is deleted. Whoever was forgotten after the last backup
is known to nobody; ``Restored.forgotten_until`` says from when on.
"""

import os
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sql

from recsys.artifacts import (
    PRIVATE,
    ArtifactError,
    commit_folder,
    digest,
    discard_folder,
    locked,
    remove_staging,
    staged_folder,
    write_atomic,
)
from recsys.callbacks import StageProgress, stage
from recsys.database.copies import SALT as SALTS
from recsys.database.copies import is_unused, load, tombstones
from recsys.database.engine import URL, Database
from recsys.database.events import EventStore
from recsys.database.impressions import ImpressionStore
from recsys.database.salt import CHECK
from recsys.database.tenancy import schema_of
from recsys.database.tombstones import Deletion, Tombstones
from recsys.database.user_attributes import AttributeStore
from recsys.errors import SettingError
from recsys.home import ALONE, SALT, TENANT, TENANTS, Home
from recsys.store.backup_files import copy_file
from recsys.store.backups import BACKUP, DATABASE, Backup, list_backups, read_backup, verify

LOCK = ".restore.lock"
FINISHING = ".restored"  # of a home: whole, and not yet in its place
_OTHERS = ("prefect", "cache", TENANTS, TENANT)  # what a command makes in any home, and no backup has
_PEOPLE = ("events", "impressions", "user_attributes")  # tables with a column user_id


@dataclass(frozen=True)
class Restored:
    """What was restored, or would be.

    Attributes:
        path: of the backup.
        backup: what is in it.
        forgotten_since: users that later backups know as forgotten, and this one does not.
        forgotten_until: when the last backup was made that knows who was forgotten (UTC).
    """

    path: Path
    backup: Backup
    forgotten_since: int
    forgotten_until: str


@dataclass(frozen=True)
class _Later:
    """What the backups beside one know that it does not.

    Attributes:
        times: of tombstones, by hash of the user id.
        until: when the last of them was made (UTC).
        salt: what they say of the salt of all tombstones; None: nobody has needed one.
    """

    times: dict[str, int]
    until: str
    salt: str | None


def find_backup(source: Path) -> tuple[Path, Backup]:
    """Return the backup that a path is, or the newest of those below it.

    Raises:
        ArtifactError: there is none, or it cannot be read.
    """
    whole = source.expanduser().absolute()
    if (whole / BACKUP).exists():
        return whole, read_backup(whole)
    found = list_backups(whole)
    if not found:
        raise ArtifactError(f"There is no backup in {whole}. Name what `recsys backup` was given, or a backup in it.")
    return found[-1]


def check(source: Path, progress: StageProgress | None = None) -> Restored:
    """Compare every file of a backup with its hash, and say what a restore would bring.

    Raises:
        ArtifactError: there is none, or it is not what was written.
    """
    path, backup = find_backup(source)
    verify(path, backup, stage(progress, "Verify"))
    later = _later(path, backup)
    return Restored(path, backup, len(later.times), later.until)


def restore(source: Path, home: Home, salt: Path | None = None, progress: StageProgress | None = None) -> Restored:
    """Fill an empty home, and an unused database, from a backup.

    A restore that was cut short leaves the home empty, or whole and to be ended by the next one.

    Args:
        source: a backup, or a place of backups: the newest of these.
        home: without anything in it. The database is the one of ``RECSYS_DATABASE_URL``, or else lies in it.
        salt: a copy of the tombstones' salt; needed where somebody is forgotten.
        progress: called with bytes done and all.

    Raises:
        SettingError: the home is on an object store, or the salt is missing, or the database's URL is of a SQLite file.
        ArtifactError: the backup is broken, the salt another's, or home or database hold something; nothing changed.
        OSError: the home cannot be written to; nothing changed.
    """
    if os.environ.get(URL, "").startswith("sqlite"):
        raise SettingError(f"{URL} names a SQLite file. A restore puts one into the home: leave the variable out.")
    if home.store is not None:
        raise SettingError(f"Restore into a folder, not {home.store}: --home FOLDER. It is served from there.")
    path, backup = find_backup(source)
    later = _later(path, backup)
    finishing = home.make().root / FINISHING
    with locked(home.root / LOCK, mode=PRIVATE):  # of two at once the second finds a home that is not empty
        if finishing.exists():
            if (finishing / BACKUP).read_text() != backup.digest:
                raise ArtifactError(f"A restore of another backup into {home.root} was cut short. Give that one first.")
        else:
            _stage(path, backup, later, home, salt, progress)
        _finish(home, finishing, backup, progress)
    return Restored(path, backup, len(later.times), later.until)


def _stage(
    path: Path, backup: Backup, later: _Later, home: Home, salt: Path | None, progress: StageProgress | None
) -> None:
    """Put all of a backup into a folder of the home, which has another name only when it is whole."""
    remove_staging(home.root)
    _refuse_used(home)
    secret = _salt(backup, later, salt)
    with staged_folder(home.root) as staging:
        _copy(path, backup, staging, progress)
        if secret is not None:
            write_atomic(staging / SALT, secret, PRIVATE)
        if DATABASE in backup.files:
            _forget(staging, later.times)
        (staging / BACKUP).write_text(backup.digest)
        commit_folder(staging, home.root / FINISHING, private=True)


def _finish(home: Home, finishing: Path, backup: Backup, progress: StageProgress | None) -> None:
    """Move what is whole to its place; the generations, by which a home serves, are the last."""
    url = os.environ.get(URL)
    if url and (finishing / DATABASE).exists():
        with closing(Database(url, finishing / SALT, schema_of(home))) as database:
            load(finishing / DATABASE, database, f"restored-{backup.digest}", stage(progress, "Fill the database"))
        (finishing / DATABASE).unlink()
    for entry in sorted(finishing.iterdir(), key=lambda one: (one.name == home.generations.name, one.name)):
        if entry.name != BACKUP:
            os.replace(entry, home.root / entry.name)  # over an empty folder, where there is one
    discard_folder(finishing)


def _later(path: Path, backup: Backup) -> _Later:
    """Return who is forgotten by later backups beside one, and not by it."""
    own = tombstones(path / DATABASE) if DATABASE in backup.files else {}
    times, until, salt = dict[str, int](), backup.made, backup.salt
    for other, one in list_backups(path.parent):
        if one.made > backup.made and DATABASE in one.files and (salt is None or one.salt == salt):
            found = tombstones(other / DATABASE)
            times |= {user: time for user, time in found.items() if time > own.get(user, -1)}
            until, salt = one.made, one.salt
    return _Later(times, until, salt)


def _refuse_used(home: Home) -> None:
    """Check that nothing is in a home but what a command makes in any, and nothing in its database.

    Raises:
        ArtifactError: something is.
    """
    for path in sorted(home.root.rglob("*")):
        first = path.relative_to(home.root).parts[0]
        if path.is_file() and first not in _OTHERS and not first.startswith("."):
            raise ArtifactError(
                f"{home.root} is not empty: {path} is there. Restore into another home (--home), and keep this one "
                "until you have looked at the result."
            )
    if os.environ.get(URL):
        with closing(Database.of(home)) as database:
            if not is_unused(database):
                raise ArtifactError(
                    f"The database of {URL} is in use: somebody's events, lists or items are in it. Make a new one, "
                    "and name that."
                )


def _salt(backup: Backup, later: _Later, salt: Path | None) -> bytes | None:
    """Return the content of the salt's file, or None where none is needed: nobody is forgotten yet.

    Raises:
        SettingError: it is needed and not given.
        ArtifactError: it is another database's.
    """
    if salt is None:
        if backup.forgotten or later.times:
            raise SettingError(
                "Users are forgotten in this backup, and without the salt nobody would find them. Give the copy of "
                "forgotten.salt that was kept elsewhere: --salt FILE."
            )
        return None
    try:
        content = salt.expanduser().read_bytes()
    except FileNotFoundError:
        raise SettingError(f"{salt} is missing. Name the copy of forgotten.salt that was kept.") from None
    if later.salt not in (None, CHECK + digest(content.strip())):
        raise ArtifactError(f"{salt} is not the salt of this backup. Name the file of the home that it was made of.")
    return content


def _copy(path: Path, backup: Backup, staging: Path, progress: StageProgress | None) -> None:
    """Copy all files into an empty folder, comparing each with its hash on the way.

    Raises:
        ArtifactError: one is missing or has changed, or the disk is too small.
    """
    free = shutil.disk_usage(staging).free
    if backup.bytes > free:
        raise ArtifactError(
            f"The backup holds {backup.bytes / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free below "
            f"{staging.parent}. Nothing was restored."
        )
    tell, done = stage(progress, "Restore"), 0
    for name, stored in backup.files.items():
        source = path / name
        if ".." in Path(name).parts or not source.is_relative_to(path):
            raise ArtifactError(f"{path / BACKUP} names {name!a}, which lies elsewhere. Restore another backup.")
        if source.is_symlink() or not source.is_file():
            raise ArtifactError(f"{source} is missing. Nothing was restored. Restore another backup.")
        if copy_file(source, staging / name).sha256 != stored.sha256:
            raise ArtifactError(
                f"{source} has changed since it was written. Nothing was restored. Restore another backup."
            )
        os.utime(staging / name, ns=(stored.mtime_ns, stored.mtime_ns))
        done += stored.bytes
        if tell is not None:
            tell(done, backup.bytes)
    with suppress(FileNotFoundError):
        (staging / Home(staging).runs.name).chmod(ALONE)


def _forget(staging: Path, later: dict[str, int]) -> None:
    """Bring a copy of a database to this version, and take out of it who was forgotten after it was made."""
    if not (staging / SALT).exists():  # nobody is forgotten, so any salt will do
        with closing(Database.at(staging / DATABASE)) as database, database.engine.begin() as connection:
            if sql.inspect(connection).has_table(SALTS):
                connection.execute(sql.delete(sql.table(SALTS)))
    with closing(Database.at(staging / DATABASE)) as database:
        known = Tombstones(database)
        if later:
            known.join(later, _users(database), _deletions(database, known))


def _users(database: Database) -> list[str]:
    """Return the ids of all users that a database holds something of."""
    found: set[str] = set()
    with database.engine.connect() as connection:
        for name in _PEOPLE:
            user_id = sql.column("user_id", sql.String)
            ids = sql.select(user_id).select_from(sql.table(name)).distinct()
            found.update(one for one in connection.execute(ids).scalars() if one is not None)
    return sorted(found)


def _deletions(database: Database, known: Tombstones) -> list[Deletion]:
    """Return how each that keeps something of a user forgets it."""
    events, impressions, attributes = EventStore(database), ImpressionStore(database, known), AttributeStore(database)
    return [events.forget, impressions.forget, attributes.forget]
