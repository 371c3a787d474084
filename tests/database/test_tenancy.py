"""Tenants that share a PostgreSQL: each has a schema, sees it alone, and takes it along when it is deleted."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql

from recsys.database.copies import copy_database
from recsys.database.engine import URL, Database
from recsys.database.events import Event, EventStore
from recsys.database.tenancy import delete_tenant, schema_of
from recsys.errors import SettingError
from recsys.home import Home
from recsys.tenants import create_tenant


@pytest.fixture
def house(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose tenants share an empty database."""
    monkeypatch.setenv(URL, url)
    return Home(tmp_path / "house")


def schemas(url: str) -> set[str]:
    engine = sql.create_engine(url)
    try:
        return {name for name in sql.inspect(engine).get_schema_names() if name.startswith("tenant_")}
    finally:
        engine.dispose()


def test_each_sees_its_own_schema_alone(house: Home, url: str, tmp_path: Path) -> None:
    homes = [create_tenant(house, name) for name in ("a-b", "ab")]
    if url.startswith("sqlite"):
        with pytest.raises(SettingError, match="cannot share one SQLite"):
            Database.of(homes[0])
        return
    assert [schema_of(home) for home in homes] == ["tenant_a_b", "tenant_ab"]
    databases = [Database.of(home) for home in (*homes, house)]
    try:
        stores = [EventStore(database) for database in databases]
        for number, store in enumerate(stores):
            store.add([Event(user_id="u", item_id=f"item-{number}", timestamp=datetime(2026, 1, 2, tzinfo=UTC))])
        told = [[event.item_id for event in store.history("u")] for store in stores]
        assert told == [["item-0"], ["item-1"], ["item-2"]]
        assert len({database.salt for database in databases}) == 3
    finally:
        for database in databases:
            database.close()
    assert schemas(url) == {"tenant_a_b", "tenant_ab"}
    copy = tmp_path / "copy.db"
    assert copy_database(homes[1], copy)
    with closing(Database.at(copy)) as copied:
        assert [event.item_id for event in EventStore(copied).history("u")] == ["item-1"]
    delete_tenant(house, "a-b", url)
    assert schemas(url) == {"tenant_ab"}
    assert not homes[0].root.exists()
