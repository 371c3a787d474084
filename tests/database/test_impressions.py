"""Impressions: what a request leaves on disk, however much it asks for, and what older versions have left."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sql

from recsys.database.engine import Database
from recsys.database.events import EventStore
from recsys.database.impressions import (
    MAX_IDS_BYTES,
    MAX_OPTIONS_BYTES,
    Impression,
    ImpressionStore,
    Options,
    ShownItem,
)
from recsys.database.tombstones import Tombstones

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def tombstones(database: Database) -> Tombstones:
    return Tombstones(database)


@pytest.fixture
def store(database: Database, tombstones: Tombstones) -> ImpressionStore:
    return ImpressionStore(database, tombstones)


def shown(item_ids: Sequence[str], propensity: float = 1.0) -> list[ShownItem]:
    return [{"item_id": item_id, "score": 0.5, "propensity": propensity} for item_id in item_ids]


def impression(rec_id: str, options: Options, user_id: str | None = "u", time: datetime = NOON) -> Impression:
    return Impression(rec_id, time, user_id, "g", "a", options=options, history=["i1"], items=shown(["i2"]))


def stored(database: Database) -> int:
    """Return the characters that really lie in the tables."""
    with database.engine.connect() as connection:
        tables = (("impressions", "record"), ("impression_options", "coalesce(content, '')"))
        return sum(
            connection.execute(sql.text(f"SELECT coalesce(sum(length({column})), 0) FROM {table}")).scalar_one()
            for table, column in tables
        )


def test_what_a_batch_asks_for_is_stored_once(database: Database, store: ImpressionStore) -> None:
    options = Options({"exclude_ids": [f"{number:0100}" for number in range(500)]})
    store.add([impression(str(number), options) for number in range(256)])
    assert stored(database) == store.size() < 256 * 300 + 2 * len(options.text)
    store.add([impression("again", Options(dict(options.content or {})))])
    assert store.size() < 257 * 300 + 2 * len(options.text)
    found = store.find("255")
    assert found is not None
    assert found.request == {**(options.content or {}), "user_id": "u", "history": None}


def test_of_what_is_too_large_the_hash_is_kept(store: ImpressionStore) -> None:
    options = Options({"exclude_ids": ["i" * MAX_OPTIONS_BYTES]})
    store.add([impression("r", options)])
    found = store.find("r")
    assert found is not None
    assert (found.request, found.options.hash) == (None, options.hash)
    assert store.size() < 300


@pytest.mark.parametrize("letter", ["a", "ü", "\U0001f600", '"'])
def test_a_record_is_bounded_whatever_its_ids_are(store: ImpressionStore, letter: str) -> None:
    ids = [f"{number:04}" + letter * 252 for number in range(1_000)]
    given = Impression("r", NOON, None, "g", "a", history=ids, items=shown(ids[:200]))
    store.add([given, replace(given, rec_id="s", history=ids[:3], items=shown(ids[:3]))])
    assert store.size() < 4 * MAX_IDS_BYTES + 4_000
    found, whole = store.find("r"), store.find("s")
    assert found is not None
    assert whole is not None
    assert found.history == ids[-len(found.history) :]  # the newest
    assert [item["item_id"] for item in found.items] == ids[: len(found.items)]  # the best
    assert found.left_out == {"history": 1_000 - len(found.history), "items": 200 - len(found.items)}
    assert found.request is None  # what was given is not known whole
    assert (whole.left_out, whole.request) == ({}, {"user_id": None, "history": ids[:3]})


def test_what_is_known_of_events_goes_with_those_that_are_kept(store: ImpressionStore) -> None:
    ids = [f"{number:04}" + "a" * 252 for number in range(200)]
    known = {"times": list(range(200)), "event_types": [None, "buy"] * 100}
    given = Impression("r", NOON, "u", "g", "a", history=ids, known=known)
    store.add([given, replace(given, rec_id="s", known={"event_types": ["é" * 256] * 200})])
    found, large = store.find("r"), store.find("s")
    assert found is not None
    assert large is not None
    count = len(found.history)
    assert 0 < count < 200
    assert found.known == {name: values[-count:] for name, values in known.items()}
    assert large.known == {}
    assert large.left_out == {"history": 200 - count, "known": count}


def test_propensities_come_back(store: ImpressionStore) -> None:
    store.add([Impression("r", NOON, "u", "g", "a", items=shown(["i1", "i2"], propensity=0.25))])
    found = store.find("r")
    assert found is not None
    assert found.items == shown(["i1", "i2"], propensity=0.25)


def test_the_whole_is_bounded_and_the_oldest_go_first(
    database: Database, store: ImpressionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.database.impressions.PURGE_ROWS", 10)
    for number in range(100):
        time = NOON + timedelta(seconds=number)
        store.add([impression(f"{number:03}", Options({"k": number}), time=time)])
    assert stored(database) == store.size()
    half = store.size() // 2
    assert store.shrink(half) >= 50
    assert stored(database) == store.size() <= half
    assert store.find("099") is not None
    assert store.find("000") is None
    left = store.count()
    assert store.shrink(0) == left
    assert stored(database) == store.size() == 0


def test_who_is_forgotten_takes_along_what_only_they_asked_for(
    database: Database, store: ImpressionStore, tombstones: Tombstones
) -> None:
    own, common = Options({"exclude_ids": ["their secret"]}), Options({"k": 5})
    store.add([impression("1", own, "gone"), impression("2", common, "gone"), impression("3", common, "stays")])
    store.add([impression("4", common, None)])
    assert tombstones.forget("gone", [EventStore(database).forget, store.forget]).rows == (0, 2)
    with database.engine.connect() as connection:
        left = connection.execute(sql.text("SELECT content FROM impression_options")).scalars().all()
    assert left == [common.text]
    assert stored(database) == store.size()
    assert store.find("3") is not None


def test_what_an_older_version_wrote_is_read_and_counted(older: Callable[..., Database]) -> None:
    request = {"user_id": None, "history": ["i1"], "k": 7}
    record = {"lineage": {}, "request": request, "history": ["i1"], "items": shown(["i2"]), "fallback": None}
    insert = sql.text("INSERT INTO impressions VALUES ('old', :time, NULL, 'g', 'a', :record)")
    row = {"time": int(NOON.timestamp() * 1e6), "record": json.dumps(record)}
    database = older(
        "CREATE TABLE impressions (rec_id TEXT PRIMARY KEY, time BIGINT NOT NULL, user_id TEXT, "
        "generation TEXT NOT NULL, adapter TEXT NOT NULL, record TEXT NOT NULL)",
        "CREATE INDEX impressions_by_user ON impressions (user_id)",
        lambda connection: connection.execute(insert, row),
    )
    tombstones = Tombstones(database)
    store = ImpressionStore(database, tombstones)
    ImpressionStore(database, tombstones)  # as another worker does
    found = store.find("old")
    assert found is not None
    assert (found.request, found.items, found.shown, found.key) == (request, shown(["i2"]), True, None)
    assert store.size() == stored(database) > 100
    store.add([impression("new", Options({"k": 1}))])
    assert store.purge(NOON + timedelta(days=1)) == 2
    assert store.size() == stored(database) == 0
