"""A database of either kind as one SQLite file, and back into either."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql
from small_home import make_all

from recsys.artifacts import ArtifactError
from recsys.database.copies import contents, copy_database, is_unused, load, tombstones
from recsys.database.engine import URL, Database
from recsys.database.events import Event, EventStore
from recsys.database.impressions import ImpressionStore
from recsys.database.live_items import ItemStore
from recsys.database.salt import CHECK
from recsys.database.tombstones import Tombstones
from recsys.database.user_attributes import AttributeStore
from recsys.errors import SettingError
from recsys.home import SALT, Home
from recsys.store.backups import back_up
from recsys.store.generations import promote
from recsys.store.restoring import restore

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def rows(database: Database) -> dict[str, list[tuple]]:
    """Return all rows of all tables that have some, in the order of their texts."""
    metadata = sql.MetaData()
    with database.engine.connect() as connection:
        metadata.reflect(connection)
        found = {name: connection.execute(sql.select(table)).all() for name, table in metadata.tables.items()}
    return {name: sorted(map(tuple, some), key=repr) for name, some in found.items() if some}


def filled(database: Database) -> Tombstones:
    """Put something of each kind into a database; return who is forgotten."""
    known = Tombstones(database)
    ImpressionStore(database, known)
    ItemStore(database)
    events, people = EventStore(database), AttributeStore(database)
    assert is_unused(database)
    events.add([Event("ä", "i", NOON, event_id="one", value=0.1), Event("gone", "i", NOON, position=3)], "key")
    people.put("ä", {"plan": "pro"})
    known.forget("gone", [events.forget, people.forget])
    assert not is_unused(database)
    return known


def test_a_copy_holds_every_row_and_leaves_the_database_alone(
    database: Database, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = filled(database)
    before = rows(database)
    copy = tmp_path / "copies" / "events.db"
    monkeypatch.setenv(URL, url)
    steps: list[tuple[int, int]] = []
    assert copy_database(Home(tmp_path), copy, lambda done, total: steps.append((done, total)))
    assert steps
    assert steps[-1][0] == steps[-1][1]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    found = contents(copy)
    assert (found.events, found.forgotten) == (1, 1)
    assert found.salt is not None
    assert found.salt.startswith(CHECK)
    assert tombstones(copy) == known.read().times
    (copy.parent / SALT).write_bytes(database.salt.read_bytes())
    with closing(Database.at(copy)) as copied:
        assert rows(copied) == before
        assert Tombstones(copied).read().when("gone") == known.read().when("gone")
        assert [one.event_id for one in EventStore(copied).history("ä")] == ["one"]
    assert rows(database) == before


def test_a_copy_goes_into_a_new_database_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.is_sqlite:
        pytest.skip("a copy is the SQLite file that a home has")
    other = Home(tmp_path / "other")
    with closing(Database.at(other.events_database)) as small:
        filled(small)
        monkeypatch.delenv(URL, raising=False)
        copy = tmp_path / "copy.db"
        assert copy_database(other, copy)
        database.salt.write_bytes(small.salt.read_bytes())
        known = Tombstones(database)
        ImpressionStore(database, known), ItemStore(database), EventStore(database), AttributeStore(database)
        load(copy, database, "restored")
        loaded = rows(database)
        assert ("restored", 1) in loaded["changes"]
        loaded["changes"].remove(("restored", 1))
        assert loaded == rows(small)
        assert Tombstones(database).read().when("gone")
        EventStore(database).add([Event("later", "i", NOON)])
        load(copy, database, "restored")  # whoever ends what was cut short changes nothing
        assert EventStore(database).count() == 2


def test_without_a_database_there_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL, raising=False)
    assert not copy_database(Home(tmp_path), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    monkeypatch.setenv(URL, "nothing://me:secret@host/name")
    with pytest.raises(SettingError, match="Install psycopg") as caught:
        copy_database(Home(tmp_path), tmp_path / "copy")
    assert "secret" not in str(caught.value)


def test_a_home_with_a_postgresql_comes_back_with_one_or_with_a_file(
    database: Database, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.is_sqlite:
        pytest.skip("tests of backups have a SQLite")
    home, salt = Home(tmp_path / "home"), tmp_path / "salt"
    promote(home, make_all(home, 1)[0])
    monkeypatch.setenv(URL, url)
    with closing(Database.of(home)) as used:
        filled(used)
        before = rows(used)
    made = back_up(home, tmp_path / "backups", salt)
    assert (made.backup.events, made.backup.forgotten) == (1, 1)
    with pytest.raises(ArtifactError, match="is in use"):
        restore(tmp_path / "backups", Home(tmp_path / "other"), salt)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS restored")
        connection.exec_driver_sql("CREATE DATABASE restored")
    monkeypatch.setenv(URL, f"{url.rpartition('/')[0]}/restored")
    other = Home(tmp_path / "other")
    restore(tmp_path / "backups", other, salt)
    assert not other.events_database.exists()
    with closing(Database.of(other)) as restored:
        found = rows(restored)
        assert Tombstones(restored).read().when("gone")
    found["changes"] = [row for row in found["changes"] if not row[0].startswith("restored-")]
    assert found == before
    monkeypatch.setenv(URL, "sqlite:///elsewhere.db")
    with pytest.raises(SettingError, match="leave the variable out"):
        restore(tmp_path / "backups", Home(tmp_path / "third"), salt)
    monkeypatch.delenv(URL)
    restore(tmp_path / "backups", Home(tmp_path / "third"), salt)
    with closing(Database.of(Home(tmp_path / "third"))) as file:
        assert rows(file) == before
