"""What a service has collected goes into the next snapshot: each event once, each item as it is, whoever is killed."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import IngestConfig
from recsys.data.ingest import ingest
from recsys.data.live import EVENTS, joined_events
from recsys.data.snapshot import Snapshot
from recsys.database import live_tables
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.live_items import ItemStore
from recsys.database.live_tables import EventExport, read_live
from recsys.database.tombstones import Tombstones
from recsys.home import Home
from recsys.serving.users import Users

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=300)
ITEMS = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["Ape", "Bee", "Cat"], "year": [2001, 2002, None]})


def event(number: int, item: str = "a", user: str = "ann", **given: Any) -> Event:
    """Return an event so many minutes after the start."""
    return Event(user, item, START + timedelta(minutes=number), event_id=f"live-{number:03}", **given)


def rows(*events: Event, **columns: Iterable[Any]) -> pl.DataFrame:
    """Return events as a source without ids and types holds them."""
    table = {name: [getattr(one, name) for one in events] for name in ("user_id", "item_id", "timestamp")}
    return pl.DataFrame(table | {name: list(values) for name, values in columns.items()})


def snapshot(home: Home, events: pl.DataFrame, database: Database | None, items: pl.DataFrame = ITEMS) -> Snapshot:
    return ingest(events, items, home, now=NOW, live=None if database is None else read_live(database))


def ids(snapshot: Snapshot) -> list[str]:
    return snapshot.events()["event_id"].drop_nulls().sort().to_list()


OLD = [event(number, "b", "bob") for number in range(3)]


def test_every_event_leaves_in_one_batch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_tables, "BATCH_ROWS", 2)
    store, export = EventStore(database), EventExport(database)
    assert export.close_batch() == 0
    store.add([event(number) for number in range(5)])
    first = export.close_batch()
    assert export.close_batch() == first
    assert export.read(first)["event_id"].to_list() == [f"live-{number:03}" for number in range(5)]
    store.add([event(1), event(5, value=2.5, position=3, context={"device": "phone"})])
    second = export.close_batch()
    assert second == first + 1
    (row,) = export.read(second, since=first).to_dicts()
    assert row == {
        "event_id": "live-005",
        "user_id": "ann",
        "item_id": "a",
        "timestamp": START + timedelta(minutes=5),
        "event_type": "interaction",
        "value": 2.5,
        "position": 3,
        "context": '{"device":"phone"}',
    }
    assert export.read(second).height == 6


def test_exports_at_the_same_time_part_the_events(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_tables, "BATCH_ROWS", 3)
    store, export = EventStore(database), EventExport(database)
    marks = [0]

    def work(worker: int) -> int:
        store.add([event(10 * worker + number) for number in range(10)])
        return export.close_batch()

    with ThreadPoolExecutor(4) as threads:
        marks += sorted(threads.map(work, range(8)))
    marks.append(export.close_batch())
    parts = [export.read(until, since)["event_id"].to_list() for since, until in itertools.pairwise(marks)]
    assert sorted(name for part in parts for name in part) == [f"live-{number:03}" for number in range(80)]


def test_a_file_of_events_is_one_that_an_ingest_reads(database: Database, tmp_path: Path) -> None:
    store, path, home = EventStore(database), tmp_path / "out" / "events.parquet", Home.of(tmp_path / "home")
    store.add([event(0, context={"device": "phone", "hour": 7}), event(1, "b", event_type="view")])
    written, batch = EventExport(database).write(path)
    assert (written, batch) == (2, 1)
    made = ingest(path, ITEMS, home, IngestConfig(context_columns=("device", "hour")), NOW)
    assert made.events()["device"].to_list() == ["phone", None]
    assert EventExport(database).write(path, since=batch) == (0, 1)
    assert pl.read_parquet(path).is_empty()
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_an_export_that_ends_early_leaves_the_file_as_it_was(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path, written = EventStore(database), tmp_path / "events.parquet", pl.DataFrame.write_parquet
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    store.add([Event("ann", "a", moment, event_id="first")])
    EventExport(database).write(path)
    before = path.read_bytes()

    def torn(frame: pl.DataFrame, file: Path) -> None:
        written(frame.tail(1), file)
        raise OSError("No space left on device")

    store.add([Event("ann", "b", moment, event_id="second")])
    monkeypatch.setattr(pl.DataFrame, "write_parquet", torn)
    with pytest.raises(OSError, match="No space left"):
        EventExport(database).write(path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert EventExport(database).write(path)[0] == 2


def test_without_anything_live_nothing_of_a_snapshot_changes(database: Database, tmp_path: Path) -> None:
    plain = snapshot(Home.of(tmp_path / "plain"), rows(*OLD), None)
    live = snapshot(Home.of(tmp_path / "live"), rows(*OLD), database)
    manifests = [one.manifest.to_dict() | {"made": None} for one in (plain, live)]
    assert manifests[0] == manifests[1]
    EventStore(database).add([event(7, "unheard of")])  # waits until there is such an item
    ItemStore(database).put("never there", None)
    assert snapshot(Home.of(tmp_path / "third"), rows(*OLD), database).manifest.live is None


def test_what_the_files_hold_too_counts_once_and_is_theirs(database: Database, tmp_path: Path) -> None:
    store = EventStore(database)
    store.add([event(0), event(1, "b"), event(2, "c", event_type="buy", value=1.5), event(3, context={"x": 1})])
    named = rows(*OLD, event(0, "c"), event_id=[None, None, "", "live-000"])
    made = snapshot(Home.of(tmp_path / "named"), named, database)
    assert ids(made) == ["live-000", "live-001", "live-002", "live-003"]
    theirs = made.events().filter(pl.col("event_id") == "live-000")
    assert theirs["item_id"].to_list() == ["c"]
    mark = made.manifest.live
    assert mark is not None
    assert (mark.events, mark.items, mark.batch) == (3, 0, 1)
    nameless = rows(*OLD, event(1, "b"), event(2, "c"), event(3, "b"))
    made = snapshot(Home.of(tmp_path / "nameless"), nameless, database)
    assert ids(made) == ["live-000", "live-003"]
    typed = rows(*OLD, event(1, "b"), event(2, "c"), event(2, "c"), event_type=[*4 * [None], "buy", "view"])
    made = snapshot(Home.of(tmp_path / "typed"), typed, database)
    assert ids(made) == ["live-000", "live-003"]
    assert made.events().filter(pl.col("event_type") == "view").height == 1
    made_up = rows(*OLD, event(1, "b"), timestamp_known=[*3 * [True], False])
    made = snapshot(Home.of(tmp_path / "made up"), made_up, database)
    assert len(ids(made)) == 4


def test_columns_come_only_with_what_they_say(database: Database, tmp_path: Path) -> None:
    store = EventStore(database)
    store.add([event(0)])
    made = snapshot(Home.of(tmp_path / "one"), rows(*OLD), database)
    assert made.events().columns == ["user_id", "item_id", "timestamp", "event_id"]
    store.add([event(1, event_type="view", value=0.5, context={"device": "phone", "age": 3})])
    source = rows(*OLD, device=["tv", None, "tv"])
    config = IngestConfig(context_columns=("device",))
    made = ingest(source, ITEMS, Home.of(tmp_path / "two"), config, NOW, live=read_live(database))
    (view,) = made.events().filter(pl.col("event_type") == "view").to_dicts()
    assert (view["value"], view["device"]) == (0.5, "phone")
    assert made.events()["event_type"].null_count() == 3


def test_a_later_ingest_holds_the_same_and_what_came_since(database: Database, tmp_path: Path) -> None:
    store, home = EventStore(database), Home.of(tmp_path / "home")
    store.add([event(number) for number in range(4)])
    first = snapshot(home, rows(*OLD), database)
    assert snapshot(home, rows(*OLD), database).id == first.id
    store.add([event(number) for number in range(2, 6)])
    second = snapshot(home, rows(*OLD), database)
    assert ids(second) == [f"live-{number:03}" for number in range(6)]
    assert second.manifest.live is not None
    assert (second.manifest.live.batch, second.manifest.live.events) == (2, 6)


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=30))
def test_each_event_is_in_the_tables_once(drawn: list[tuple[int, str, bool, bool]]) -> None:
    """An event is live, in the files, or both; whatever is told twice counts once."""
    by_id = {number: (item, in_files, is_live) for number, item, in_files, is_live in drawn if in_files or is_live}
    events = {number: event(number, item) for number, (item, *_) in by_id.items()}
    live = [events[number] for number, (_, _, is_live) in by_id.items() if is_live]
    filed = [events[number] for number, (_, in_files, _) in by_id.items() if in_files]
    for ids_known in (True, False):
        source = rows(*OLD, *filed)
        if ids_known:
            names = [*3 * [None], *(one.event_id for one in filed)]
            source = source.with_columns(pl.Series("event_id", names, dtype=pl.String))
        joined, fresh = joined_events(source.cast({"timestamp": EVENTS["timestamp"]}), table(live))
        assert joined.height == 3 + len(by_id)
        assert fresh == len(by_id) - len(filed)
        assert joined.filter(pl.col("user_id") == "ann")["timestamp"].n_unique() == len(by_id)


def table(events: list[Event]) -> pl.DataFrame:
    """Return events as they are read from a database."""
    return pl.DataFrame([{name: getattr(one, name) for name in EVENTS} for one in events], schema=EVENTS)


def test_who_is_forgotten_stays_so(database: Database, tmp_path: Path) -> None:
    users = Users(database)
    users.events.add([event(0), event(1, user="eve")])
    EventExport(database).close_batch()
    users.forget("eve")
    users.events.add([event(2, user="eve")])  # of before, told late
    home = Home.of(tmp_path / "home")
    forgotten = Tombstones(database).read()
    made = ingest(rows(*OLD), ITEMS, home, now=NOW, forgotten=forgotten, live=read_live(database))
    assert made.user_ids() == ["ann", "bob"]


def test_changed_items_are_as_they_were_changed(database: Database, tmp_path: Path) -> None:
    items = ItemStore(database)
    items.put("a", {"title": "Antelope", "year": 1999, "gone": "column"})
    items.put("b", None)
    items.put("new", {"title": "Newt", "year": "no number", "available": False})
    items.put("gone", None)
    source = rows(*OLD, event(5, "new"))
    made = snapshot(Home.of(tmp_path / "one"), source, database)
    assert made.items().to_dicts() == [
        {"item_id": "a", "title": "Antelope", "available": True, "year": 1999},
        {"item_id": "b", "title": "Bee", "available": False, "year": 2002},
        {"item_id": "c", "title": "Cat", "available": True, "year": None},
        {"item_id": "new", "title": "Newt", "available": False, "year": None},
    ]
    assert made.manifest.counts.quarantined == 0  # what was done with a new item, or a deleted one, counts
    mark = made.manifest.live
    assert mark is not None
    assert (mark.events, mark.items, mark.version) == (0, 3, 4)
    again = snapshot(Home.of(tmp_path / "one"), source, database)
    assert again.id == made.id


def test_a_newer_row_of_the_catalogue_wins(database: Database, tmp_path: Path) -> None:
    items = ItemStore(database)
    for item_id in ("a", "b"):
        items.put(item_id, {"title": "Changed"})
    items.put("c", None)
    changed = datetime.now(UTC)
    dated = ITEMS.with_columns(
        updated_at=pl.Series([changed - timedelta(days=1), changed + timedelta(days=1), changed + timedelta(days=1)])
    )
    made = snapshot(Home.of(tmp_path / "home"), rows(*OLD), database, dated).items()
    assert made["title"].to_list() == ["Changed", "Bee", "Cat"]
    assert "available" not in made.columns
    times = {item.item_id: item.time for item in items.changed()}
    assert made["updated_at"].dt.epoch("us").to_list()[0] == times["a"]


def test_a_release_gives_an_item_back(database: Database) -> None:
    items = ItemStore(database)
    version = items.put("a", {"title": "Changed"})
    items.put("b", None)

    def refuse(_: object) -> None:
        raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        items.release("a", refuse)
    assert items.version() == version + 1
    assert items.release("a") == version + 2
    assert items.find("a") is None
    assert items.release("a") is None
    assert [item.item_id for item in items.changed()] == ["b"]
    assert items.version() == version + 2


def test_what_was_said_of_users_is_part_of_their_table(database: Database, tmp_path: Path) -> None:
    users = Users(database)
    users.said.put("ann", {"age": 41, "plan": "gold", "else": 1})
    users.said.put("new", {"age": "no number", "plan": "basic"})
    users.said.put("eve", {"age": 7})
    said = read_live(database)
    users.forget("eve")  # after it was read
    forgotten = Tombstones(database).read()
    table = pl.DataFrame({"user_id": ["ann", "bob"], "age": [40, 50], "plan": [None, "gold"]})
    given = rows(*OLD), ITEMS, Home.of(tmp_path / "home")
    made = ingest(*given, now=NOW, forgotten=forgotten, users=table, live=said)
    found = made.users()
    assert found is not None
    assert found.rows() == [("ann", 41, "gold"), ("bob", 50, "gold"), ("new", None, "basic")]
    mark = made.manifest.live
    assert mark is not None
    assert (mark.events, mark.items, mark.users) == (0, 0, 2)
    later = table.with_columns(updated_at=pl.lit(datetime.now(UTC) + timedelta(days=1)))
    newer = ingest(*given, now=NOW, forgotten=forgotten, users=later, live=said).users()
    assert newer is not None
    assert newer.select("user_id", "age").rows() == [("ann", 40), ("bob", 50), ("new", None)]
    assert ingest(*given, now=NOW, forgotten=forgotten, live=said).manifest.live is None


KILLED = """
import os, signal, sys
import polars as pl
from pathlib import Path
from recsys.data import ingest as module
from recsys.database.engine import Database
from recsys.database.live_tables import read_live
from recsys.home import Home

url, salt, home, events, items = sys.argv[1:]
live = read_live(Database(url, Path(salt)))
module.write_snapshot = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
module.ingest(events, items, Home.of(home), live=live)
"""


def test_killed_between_export_and_snapshot_loses_and_doubles_nothing(
    database: Database, url: str, tmp_path: Path
) -> None:
    store, events, items = EventStore(database), tmp_path / "events.parquet", tmp_path / "items.parquet"
    store.add([event(number) for number in range(4)])
    rows(*OLD).write_parquet(events)
    ITEMS.write_parquet(items)
    home = tmp_path / "home"
    given = [url, str(database.salt), str(home), str(events), str(items)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *given], env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    store.add([event(3), event(4)])
    made = ingest(events, items, Home.of(home), live=read_live(database))
    assert ids(made) == [f"live-{number:03}" for number in range(5)]
    assert [path.name for path in (home / "snapshots").iterdir()] == [made.id]


def test_two_ingests_at_once_make_one_snapshot(database: Database, tmp_path: Path) -> None:
    store, home = EventStore(database), Home.of(tmp_path / "home")
    store.add([event(number) for number in range(40)])
    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda _: snapshot(home, rows(*OLD), database), range(2)))
    assert made[0].id == made[1].id
    assert made[0].events()["event_id"].drop_nulls().len() == 40
