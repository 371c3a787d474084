"""The doctor's look at a database: a SQLite, and a PostgreSQL with its rights, versions and clocks."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from recsys.artifacts import ArtifactError
from recsys.database import schema
from recsys.database.engine import URL, Database
from recsys.database.tombstones import Tombstones
from recsys.health import database as health
from recsys.health.database import look_at_database
from recsys.health.findings import Seen
from recsys.home import Home
from recsys.tenants import create_tenant


@pytest.fixture
def home(database: Database, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """The home of the database, in which somebody is forgotten."""
    monkeypatch.setenv(URL, url)
    Tombstones(database).forget("gone", [])
    database.close()
    yield Home(tmp_path)
    database.close()


def wrong(home: Home) -> list[Seen]:
    return [one for one in look_at_database(home, quick=False) if one.state != "ok"]


def test_one_that_is_well_is_told_with_its_version(home: Home, database: Database) -> None:
    (found,) = look_at_database(home, quick=True)
    assert found.state == "ok"
    assert f"version {schema.revisions()[-1]}" in found.found


def test_versions_and_salt_are_looked_at(home: Home, database: Database) -> None:
    home.salt.unlink()
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0099'")
    database.close()
    with pytest.raises(ArtifactError, match="version 0099"):
        wrong(home)
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE {schema.VERSION_TABLE}")
    database.close()
    assert [one.state for one in wrong(home)] == ["warning", "failed"]


def test_rights_and_clocks_of_a_postgresql(home: Home, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has neither")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS visitor")
        connection.exec_driver_sql("CREATE ROLE visitor LOGIN")
        connection.exec_driver_sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO visitor")
    database.close()
    monkeypatch.setenv(URL, database.engine.url.set(username="visitor").render_as_string(hide_password=False))
    (lacking,) = wrong(home)
    assert (lacking.state, "INSERT on changes" in lacking.found) == ("failed", True)
    monkeypatch.setenv(URL, database.engine.url.render_as_string(hide_password=False))

    class Ahead(health.datetime):  # type: ignore[misc, name-defined]
        @classmethod
        def now(cls, zone: object = None) -> object:
            return super().now(zone) + timedelta(minutes=1)

    monkeypatch.setattr(health, "datetime", Ahead)
    (apart,) = wrong(home)
    assert apart.found == "Its clock and this one are 60 s apart."
    monkeypatch.setenv(URL, database.engine.url.set(port=1).render_as_string(hide_password=False))
    (away,) = wrong(home)
    assert (away.state, "cannot be reached" in away.found) == ("failed", True)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP OWNED BY visitor")
        connection.exec_driver_sql("DROP ROLE visitor")
    database.close()


def test_of_a_tenant_its_own_schema_is_looked_at(home: Home, database: Database, tmp_path: Path) -> None:
    if database.is_sqlite:
        pytest.skip("tenants do not share one")
    tenant = create_tenant(Home(tmp_path / "house"), "acme")
    Database.of(tenant).close()
    with database.engine.begin() as connection:  # of which the tenant has nothing
        connection.exec_driver_sql(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0099'")
    (found,) = look_at_database(tenant, quick=True)
    assert f"version {schema.revisions()[-1]}" in found.found
