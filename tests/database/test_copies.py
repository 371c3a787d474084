"""A database of either kind as one SQLite file, and back into either."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql

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
