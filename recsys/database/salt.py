"""The salt of the tombstones: in a file of the machine, never in the database beside the hashes that it protects.

The database knows a digest of it. All machines that share a database need the same file, and one that has another, or
none, is told so: with a wrong salt nobody would be found among the forgotten.
"""

import secrets
from pathlib import Path

import sqlalchemy as sql

from recsys.artifacts import PRIVATE, ArtifactError, digest, locked, write_atomic
from recsys.database.engine import METADATA, TEXT, Database
from recsys.home import ALONE

SALT_BYTES = 32
CHECK = "sha256:"  # before the salt's digest, where older versions have kept the salt: they cannot read it, and stop
_LOCK = 0x73616C74  # any constant, as ``SCHEMA_LOCK``
_SALT = sql.Table("forgotten_salt", METADATA, sql.Column("id", sql.Integer, primary_key=True), sql.Column("salt", TEXT))


def agreed_salt(database: Database) -> bytes:
    """Return the salt of a database's tombstones, from the file that ``database.salt`` names.

    A new database takes the salt of the file, which is made where there is none. A salt that an older version left in
    the database is moved to the file, and its bytes are overwritten.

    Raises:
        ArtifactError: the file is missing or is not the salt of this database.
    """
    path = database.salt
    if database.read_only:
        return _agreed_to_read(database, path)
    path.parent.mkdir(mode=ALONE, parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock"), mode=PRIVATE):
        with database.engine.begin() as connection:
            said, salt = _said(database, connection), _read(path)
            moving = said is not None and not said.startswith(CHECK)
            if salt is None and (said is None or moving):
                salt = said or secrets.token_hex(SALT_BYTES)
                write_atomic(path, f"{salt}\n".encode(), PRIVATE)
            if salt is None or said not in (None, salt, _check(salt)):
                raise _disagreement(path, salt)
            if said != _check(salt):
                connection.execute(sql.delete(_SALT))
                connection.execute(sql.insert(_SALT).values(id=1, salt=_check(salt)))
        if moving:
            database.erase()
    return bytes.fromhex(salt)


def _agreed_to_read(database: Database, path: Path) -> bytes:
    """Return the salt where nothing can be written; a database that nobody has asked for one has any.

    Raises:
        ArtifactError: as ``agreed_salt``.
    """
    with database.engine.connect() as connection:
        said, salt = connection.execute(sql.select(_SALT.c.salt)).scalar_one_or_none(), _read(path)
    if said is None:
        return bytes.fromhex(salt or secrets.token_hex(SALT_BYTES))
    if salt is None or said not in (salt, _check(salt)):
        raise _disagreement(path, salt)
    return bytes.fromhex(salt)


def _disagreement(path: Path, salt: str | None) -> ArtifactError:
    return ArtifactError(
        f"{path} {'is missing' if salt is None else 'is not the salt of this database'}, without which nobody who "
        "asked to be forgotten is found. Copy the file, with mode 0600, from the home of a machine that uses the same "
        "database, or from a backup of one."
    )


def _check(salt: str) -> str:
    return CHECK + digest(salt.encode())


def _said(database: Database, connection: sql.Connection) -> str | None:
    """Return what the database says of its salt, and let nobody else ask until the transaction ends."""
    if database.is_sqlite:
        connection.execute(sql.update(_SALT).where(_SALT.c.id == 0).values(id=0))  # of no row: SQLite begins to write
    else:
        connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_LOCK)))
    return connection.execute(sql.select(_SALT.c.salt)).scalar_one_or_none()


def _read(path: Path) -> str | None:
    """Return the salt of a file, in hexadecimal digits, or None where there is no file.

    Raises:
        ArtifactError: the file holds something else.
    """
    try:
        salt = path.read_text().strip()
        if len(bytes.fromhex(salt)) != SALT_BYTES:
            raise ValueError
    except FileNotFoundError:
        return None
    except ValueError:
        raise ArtifactError(f"{path} is no salt of tombstones. Restore it from a backup, or copy it again.") from None
    return salt
