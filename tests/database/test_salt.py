"""The salt of the tombstones: in a file alone, one for all who share a database, and never lost in silence."""

import secrets
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql

from recsys.artifacts import ArtifactError
from recsys.data.forgetting import hash_user
from recsys.database.engine import Database
from recsys.database.moments import microseconds
from recsys.database.tombstones import Tombstones
from recsys.home import SALT, Home
from services import serve

NOW = microseconds(datetime(2026, 1, 2, tzinfo=UTC))
OPENERS = 8


def with_salt_inside(database: Database) -> str:
    """Leave a database as version 0.1.0 has: somebody is forgotten, and the salt of the hash lies beside it."""
    salt = secrets.token_hex(32)
    rows = {"salt": salt, "hash": hash_user(bytes.fromhex(salt), "gone"), "time": NOW}
    with database.engine.begin() as connection:
        connection.execute(sql.text("INSERT INTO forgotten_salt VALUES (1, :salt)"), rows)
        connection.execute(sql.text("INSERT INTO forgotten VALUES (:hash, :time)"), rows)
        connection.execute(sql.text("INSERT INTO changes VALUES ('forgotten', 1)"))
    return salt


def stored(database: Database) -> list[str]:
    with database.engine.connect() as connection:
        return list(connection.execute(sql.text("SELECT salt FROM forgotten_salt")).scalars())


@contextmanager
def elsewhere(database: Database, url: str, folder: Path) -> Iterator[Database]:
    """Another machine's view of the same database."""
    folder.mkdir(exist_ok=True)
    other = Database(url, folder / SALT)
    other.salt = folder / SALT  # also of a SQLite, which has none elsewhere
    try:
        yield other
    finally:
        other.close()


def test_a_new_database_has_its_salt_in_a_private_file(database: Database) -> None:
    Tombstones(database).forget("gone", [])
    salt = database.salt.read_text().strip()
    assert len(bytes.fromhex(salt)) == 32
    assert stat.S_IMODE(database.salt.stat().st_mode) == 0o600
    assert salt not in stored(database)[0]
    assert Tombstones(database).read().when("gone") is not None


def test_an_older_database_gives_its_salt_up(database: Database, tmp_path: Path) -> None:
    salt = with_salt_inside(database)
    tombstones = Tombstones(database)
    assert tombstones.read().when("gone") == NOW
    assert database.salt.read_text().strip() == salt
    (check,) = stored(database)
    with pytest.raises(ValueError, match="hexadecimal"):  # an older version stops instead of forgetting nobody
        bytes.fromhex(check)
    if database.is_sqlite:
        others = [path for path in tmp_path.iterdir() if path != database.salt]
        assert [path.name for path in others if salt.encode() in path.read_bytes()] == []
    assert Tombstones(database).read().when("gone") == NOW


@pytest.mark.parametrize("older", [False, True])
def test_whoever_is_first_makes_it_for_all(url: str, tmp_path: Path, older: bool) -> None:
    databases = [Database(url, tmp_path / SALT) for _ in range(OPENERS)]
    if older:
        with_salt_inside(databases[0])
    with ThreadPoolExecutor(OPENERS) as threads:
        opened = list(threads.map(Tombstones, databases))
    opened[0].forget("also gone", [])
    for tombstones in opened:
        assert tombstones.read().when("also gone") is not None
        assert (tombstones.read().when("gone") is not None) == older
    for database in databases:
        database.close()


def test_another_machine_is_told_which_file_it_needs(database: Database, url: str, tmp_path: Path) -> None:
    Tombstones(database).forget("gone", [])
    with elsewhere(database, url, tmp_path / "other") as other:
        for content, said in ((None, "is missing"), (secrets.token_hex(32), "is not the salt of this database")):
            if content:
                other.salt.write_text(content)
            with pytest.raises(ArtifactError, match=rf"{other.salt} {said}.*Copy the file, with mode 0600"):
                Tombstones(other)
            assert other.salt.exists() == bool(content)
        other.salt.write_text("not a salt")
        with pytest.raises(ArtifactError, match="is no salt of tombstones"):
            Tombstones(other)
        other.salt.write_bytes(database.salt.read_bytes())
        assert Tombstones(other).read().when("gone") is not None


def test_a_lost_salt_is_not_silent(database: Database) -> None:
    Tombstones(database).forget("gone", [])
    kept = database.salt.read_bytes()
    database.salt.unlink()
    with pytest.raises(ArtifactError, match="nobody who asked to be forgotten is found"):
        Tombstones(database)
    database.salt.write_bytes(kept)
    assert Tombstones(database).read().when("gone") is not None


def test_an_older_database_does_not_take_another_salt(database: Database) -> None:
    database.salt.write_text(secrets.token_hex(32))
    salt = with_salt_inside(database)
    with pytest.raises(ArtifactError, match="is not the salt of this database"):
        Tombstones(database)
    assert stored(database) == [salt]


def test_a_new_database_beside_an_old_salt_takes_it(tmp_path: Path) -> None:
    first = Database.at(tmp_path / "events.db")
    Tombstones(first)
    salt = first.salt.read_bytes()
    first.close()
    (tmp_path / "events.db").unlink()
    second = Database.at(tmp_path / "events.db")
    Tombstones(second)
    assert second.salt.read_bytes() == salt
    second.close()


def test_a_service_without_the_salt_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECSYS_DATABASE_URL", raising=False)
    home = Home(tmp_path / "home")
    database = Database.of(home)
    Tombstones(database)
    database.close()
    home.salt.unlink()
    with pytest.raises(ArtifactError, match="Copy the file, with mode 0600"):
        serve.start(home, serve.free_port())
