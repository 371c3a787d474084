"""What earlier releases have left on disk is opened, read and gone on from; ``write.py`` made it with their code."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.doctor import checks
from recsys.artifacts import read_json
from recsys.config import ModelConfig
from recsys.data.snapshot import open_snapshot
from recsys.database import schema
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.exposures import ExposureStore
from recsys.database.impressions import ImpressionStore
from recsys.database.live_items import ItemStore
from recsys.database.live_tables import read_live
from recsys.database.tombstones import Tombstones
from recsys.database.user_attributes import AttributeStore
from recsys.health.findings import examine
from recsys.home import Home
from recsys.store.adapters import read_card, verify_adapter
from recsys.store.generations import current_id, generation_snapshot, read_generation
from recsys.store.index import map_vectors, open_index
from recsys.store.names import ADAPTER, meant
from recsys.store.promotions import read_log
from services.edge.keys import read_keys

RELEASES = sorted(path.parent.name for path in Path(__file__).parent.glob("*/expected.json"))
MOST_BYTES = 200_000  # of a release
MODES = {"keys.json": 0o600, "forgotten.salt": 0o600}  # which git does not keep


@dataclass(frozen=True)
class Left:
    """A copy of what a release has left, and what is in it."""

    home: Home
    expected: dict[str, Any]


@pytest.fixture(params=RELEASES)
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Left:
    folder = Path(__file__).with_name(request.param)
    home = Home(Path(shutil.copytree(folder / "home", tmp_path / "home")))
    home.root.chmod(0o700)
    for name, mode in MODES.items():
        (home.root / name).chmod(mode)
    with closing(sqlite3.connect(home.events_database)) as database:
        database.executescript((folder / "events.sql").read_text())
    home.events_database.chmod(0o600)
    return Left(home, read_json(folder / "expected.json"))


def test_there_is_one_a_release_and_each_is_small() -> None:
    assert "0.1.0" in RELEASES
    for release in RELEASES:
        files = [path for path in Path(__file__).with_name(release).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_snapshots_are_what_they_were(left: Left) -> None:
    formats = set()
    for snapshot_id, events in left.expected["snapshots"].items():
        snapshot = open_snapshot(left.home, snapshot_id)  # every value is hashed
        assert snapshot.events().height == snapshot.manifest.counts.events == events
        assert len(snapshot.sequences().items) == events
        formats.add(snapshot.manifest.format)
    assert formats == {1, 2}


def test_adapter_generation_pointer_and_names_are_read(left: Left) -> None:
    generation_id, adapter = left.expected["generation"], left.expected["adapter"]
    assert current_id(left.home) == generation_id
    _, manifest = read_generation(left.home, generation_id, verify=True)
    assert manifest.adapter == adapter
    assert isinstance(manifest.config, ModelConfig)
    assert generation_snapshot(left.home, manifest).id in left.expected["snapshots"]
    assert verify_adapter(left.home, adapter).name == read_card(left.home, adapter).id == adapter
    assert meant(left.home, ADAPTER, "champion") == adapter
    assert [one.generation for one in read_log(left.home)] == [generation_id]
    keys = read_keys(left.home)
    assert keys is not None
    assert [key.scopes for key in keys] == [("recommend",)]


def test_the_index_is_searched(left: Left) -> None:
    reference = read_generation(left.home, left.expected["generation"])[1].index
    table = open_index(left.home.lance, reference)
    assert map_vectors(left.home.lance, table, reference).shape == (reference.rows, reference.dimensions)
    found = table.search("item-3", query_type="fts").limit(1).to_list()
    assert [row["item_id"] for row in found] == ["item-3"]


def test_the_database_keeps_every_row_and_goes_on(left: Left) -> None:
    database = Database.of(left.home)
    try:
        with database.engine.connect() as connection:
            assert schema.version(connection) == schema.revisions()[-1]
            rows = {
                name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()
                for name in left.expected["rows"]
            }
        assert rows == left.expected["rows"]
        events, tombstones = EventStore(database), Tombstones(database)
        assert next((one.item_id, one.context) for one in events.history("ann")) == ("item-0", {"device": "phone"})
        assert tombstones.read().when("gone") is not None
        answer = ImpressionStore(database, tombstones).find("answer")
        assert answer is not None
        assert [item["item_id"] for item in answer.items] == ["item-0"]
        assert {item.item_id: item.columns for item in ItemStore(database).changed()} == {
            "new": {"title": "A new one"}, "item-2": None,
        }  # fmt: skip
        known = AttributeStore(database).find("ann")
        assert known is not None
        assert known.values == {"age": 30}
        assert ExposureStore(database).read() == {"new": (4, 0)}
        again = Event("ann", "item-0", datetime(2026, 3, 1, 12, tzinfo=UTC), "of ann", "view", 2.5, 3, "answer")
        added = events.add([again, Event("ann", "item-9", datetime(2026, 4, 1, tzinfo=UTC))], "key")
        assert (added.accepted, added.duplicates) == (1, 1)
        assert read_live(database).events.height == left.expected["rows"]["events"] + 1
    finally:
        database.close()


def test_the_doctor_finds_nothing_but_what_the_next_start_does(left: Left) -> None:
    about = ("home", "snapshots", "adapters", "generations", "index", "pointer", "database", "keys")
    found = examine([check for check in checks(left.home) if check.name in about])
    assert [(one.name, one.state) for one in found if one.state != "ok"] == [("database", "warning")]
    Database.of(left.home).close()
    found = examine([check for check in checks(left.home) if check.name in about])
    assert [one for one in found if one.state != "ok"] == []
