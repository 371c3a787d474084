"""Events of a snapshot and those since: what both hold counts once, in its own time, as in the next snapshot."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.ingest import ingest
from recsys.data.snapshot import Snapshot
from recsys.database.engine import Database
from recsys.database.events import Event
from recsys.database.live_tables import read_live
from recsys.home import Home
from recsys.serving.users import LIVE, SNAPSHOT, SnapshotUsers, Users

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=300)
ITEMS = pl.DataFrame({"item_id": list("abcdef"), "title": list("ABCDEF")})


def event(item: str, seconds: float, name: str = "", **told: Any) -> Event:
    return Event("ann", item, START + timedelta(seconds=seconds), event_id=name, **told)


def snapshot(folder: Path, events: list[Event], live: Database | None = None, **columns: list[Any]) -> Snapshot:
    """Return a snapshot of events, with what the columns say of them."""
    table = {name: [getattr(one, name) for one in events] for name in ("user_id", "item_id", "timestamp")}
    frame = pl.DataFrame(table | columns, strict=False)
    return ingest(frame, ITEMS, Home.of(folder), now=NOW, live=None if live is None else read_live(live))


@pytest.fixture
def users(tmp_path: Path) -> Users:
    return Users(Database.at(tmp_path / "events.db"))


def told(users: Users, made: Snapshot) -> list[str]:
    """Return the history that an answer is made from; what a person is shown must agree with it."""
    known = SnapshotUsers.of(made)
    history = users.history(known, set(ITEMS["item_id"]), "ann")
    shown = users.past(known, "ann")
    assert [(one.item_id, one.event_type, one.value) for one in shown] == list(
        zip(history.item_ids, history.event_types, history.values, strict=True)
    )
    return list(history.item_ids)


def test_an_event_that_both_hold_counts_once_in_its_own_time(users: Users, tmp_path: Path) -> None:
    old = [event("a", 0, "1"), event("b", 10.5, "2"), event("c", 20, "3")]
    users.events.add([event("b", 10.5, "2"), event("d", 30, "4"), event("e", 15, "5"), event("f", -5, "6")])
    made = snapshot(tmp_path, old, event_id=["1", "2", "3"])
    assert told(users, made) == ["f", "a", "b", "e", "c", "d"]
    sources = [one.source for one in users.past(SnapshotUsers.of(made), "ann")]
    assert sources == [LIVE, SNAPSHOT, SNAPSHOT, LIVE, SNAPSHOT, LIVE]
    next_one = snapshot(tmp_path, old, users.database, event_id=["1", "2", "3"])
    assert told(users, next_one) == ["f", "a", "b", "e", "c", "d"]
    assert {one.source for one in users.past(SnapshotUsers.of(next_one), "ann")} == {SNAPSHOT}


def test_without_ids_item_time_and_type_tell_an_event(users: Users, tmp_path: Path) -> None:
    old = [event("a", 0), event("b", 10.25), event("b", 10.25)]
    users.events.add([event("b", 10.25, event_type="view"), event("b", 10.25, event_type="buy", value=2.0)])
    users.events.add([event("b", 10.5, event_type="view"), event("a", 0, event_type="view")])
    made = snapshot(tmp_path / "typed", old, event_type=["buy", "view", "cart"])
    known = SnapshotUsers.of(made)
    kinds = [(one.item_id, one.event_type) for one in users.past(known, "ann")]
    assert kinds == [("a", "view"), ("a", "buy"), ("b", "buy"), ("b", "cart"), ("b", "view"), ("b", "view")]
    untyped = snapshot(tmp_path / "untyped", old[:2])
    assert told(users, untyped) == ["a", "b", "b", "b"]  # one of the two at 10.25 is the file's


def test_what_comes_at_one_time_is_ordered_by_position_and_id(users: Users, tmp_path: Path) -> None:
    old = [event("a", 0), event("b", 0), event("c", 0)]
    users.events.add([event("d", 0, "3", position=2), event("e", 0, "2", position=1), event("f", 0, "9")])
    made = snapshot(tmp_path, old, event_id=["1", "8", None], position=[1, None, None])
    assert told(users, made) == ["a", "e", "d", "b", "f", "c"]
    assert told(
        users, snapshot(tmp_path, old, users.database, event_id=["1", "8", None], position=[1, None, None])
    ) == [*("a", "e", "d", "b", "f", "c")]


def test_where_times_are_made_up_what_is_since_comes_last(users: Users, tmp_path: Path) -> None:
    users.events.add([event("d", -100), event("a", 0)])
    made = snapshot(tmp_path, [event("b", 5), event("a", 0)], timestamp_known=[False, False])
    assert told(users, made) == ["a", "b", "d", "a"]


def test_of_who_was_forgotten_only_what_is_later_counts(users: Users, tmp_path: Path) -> None:
    users.events.add([event("a", 0, "1")])
    made = snapshot(tmp_path, [event("a", 0), event("b", 1)], event_id=["1", "2"])
    users.forget("ann")
    assert told(users, made) == []
    later = datetime.now(UTC) + timedelta(minutes=1)
    users.events.add([Event("ann", "c", later), event("a", 0, "3")])
    assert told(users, made) == ["c"]


KINDS = st.sampled_from(["view", "buy"])
DRAWN = st.tuples(st.sampled_from("abc"), st.integers(0, 2), KINDS, st.sampled_from([None, 1, 2]), st.integers(1, 3))


@given(st.lists(DRAWN, max_size=8), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_an_answer_knows_what_the_next_snapshot_will(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Any], named: bool, typed: bool
) -> None:
    """Live events beside a snapshot make the history that they make within the next one."""
    folder = tmp_path_factory.mktemp("next")
    given_events = {
        (item, time, kind): event(item, time, f"{number}", event_type=kind, position=position)
        for number, (item, time, kind, position, _) in enumerate(drawn)
    }
    events = list(given_events.values())
    where = {(item, time, kind): place for item, time, kind, _, place in drawn}
    filed = [event("f", 1, "file")] + [one for key, one in given_events.items() if where[key] & 1]
    users = Users(Database.at(folder / "events.db"))
    users.events.add(
        [
            one
            for one in events
            if where[one.item_id, int(one.timestamp.timestamp() - START.timestamp()), one.event_type] & 2
        ]
    )
    columns: dict[str, list[Any]] = {"position": [one.position for one in filed]}
    if named:
        columns["event_id"] = [one.event_id for one in filed]
    if typed or not named:
        columns["event_type"] = [one.event_type for one in filed]
    beside = told(users, snapshot(folder, filed, **columns))
    within = told(users, snapshot(folder, filed, users.database, **columns))
    assert beside == within
    assert len(within) == 1 + len(events)
    users.database.close()
