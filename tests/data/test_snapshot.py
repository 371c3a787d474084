"""Snapshots: a round trip, a name that stands for the content, and no silence about damage."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.artifacts import ArtifactError
from recsys.data.identity import content_id
from recsys.data.manifest import SnapshotCounts
from recsys.data.quality import QUARANTINE_SCHEMA, TableQuality
from recsys.data.snapshot import Snapshot, list_snapshots, open_snapshot, write_snapshot
from recsys.home import Home

NOTHING = pl.DataFrame(schema=QUARANTINE_SCHEMA)
START = datetime(2024, 1, 1, tzinfo=UTC)


def _events(rows: list[tuple[str, str, int]], **more: list[object]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "hours"], orient="row")
    frame = frame.with_columns(timestamp=START + pl.duration(hours="hours", time_unit="us")).drop("hours")
    return frame.with_columns(pl.Series(name, values) for name, values in more.items())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def snapshot(home: Home) -> Snapshot:
    events = _events([("b", "y", 3), ("a", "x", 2), ("b", "x", 1), ("a", "y", 1)])
    items = pl.DataFrame({"item_id": ["z", "y", "x"], "title": ["Z", "Y", "X"], "tags": [["t"], [], None]})
    return write_snapshot(home, events, items, NOTHING, (TableQuality("items", 4, 1, {"title: missing": 1}),))


def test_tables_come_back_sorted(home: Home, snapshot: Snapshot) -> None:
    again = open_snapshot(home, snapshot.id)
    assert again.events().columns == ["user_id", "item_id", "timestamp"]
    assert again.events().select("user_id", "item_id").rows() == [("a", "y"), ("a", "x"), ("b", "x"), ("b", "y")]
    assert again.events().schema["timestamp"] == pl.Datetime("us", "UTC")
    assert again.items().rows() == [("x", "X", None), ("y", "Y", []), ("z", "Z", ["t"])]
    assert again.quarantine().equals(NOTHING)
    assert again.user_ids() == ["a", "b"]
    assert again.item_ids() == ["x", "y", "z"]
    assert again.manifest.quality == {"items": TableQuality("items", 4, 1, {"title: missing": 1})}
    assert again.manifest.counts == SnapshotCounts(events=4, items=3, quarantined=0, users=2)
    assert again.manifest.schemas["items"] == {"item_id": "String", "title": "String", "tags": "List(String)"}


def test_sequences_are_indices_and_seconds(snapshot: Snapshot) -> None:
    sequences = snapshot.sequences()
    assert [list(sequences.row(user)) for user in range(2)] == [[1, 0], [0, 1]]
    assert sequences.times is not None
    seconds = int(START.timestamp())
    assert list(sequences.times) == [seconds + 3600 * hours for hours in (1, 2, 1, 3)]
    assert (sequences.items.dtype, sequences.offsets.dtype, sequences.times.dtype) == (np.int32, np.int64, np.int64)


def test_ties_are_broken_by_position_then_event_id_then_item(home: Home) -> None:
    rows = [("a", "p", 1), ("a", "q", 1), ("a", "r", 1), ("a", "s", 1), ("a", "t", 1)]
    events = _events(rows, position=[None, 2, 1, 1, None], event_id=["k", "a", "n", "m", "k2"])
    items = pl.DataFrame({"item_id": list("pqrst"), "title": list("pqrst")})
    snapshot = write_snapshot(home, events, items, NOTHING)
    assert snapshot.events()["item_id"].to_list() == ["s", "r", "q", "p", "t"]
    bare = write_snapshot(home, events[::-1].drop("position", "event_id"), items, NOTHING)
    assert bare.events()["item_id"].to_list() == ["p", "q", "r", "s", "t"]


def test_made_up_times_are_told(home: Home, snapshot: Snapshot) -> None:
    assert snapshot.times_known
    items = pl.DataFrame({"item_id": ["x"], "title": ["X"]})
    rows = [("a", "x", 1), ("b", "x", 2)]
    for known, expected in (([True, False], False), ([True, True], True), ([True, None], True)):
        events = _events(rows, timestamp_known=known)
        assert write_snapshot(home, events, items, NOTHING).times_known is expected


def test_events_of_made_up_times_can_be_left_out(home: Home) -> None:
    items = pl.DataFrame({"item_id": ["x", "y"], "title": ["X", "Y"]})
    rows = [("a", "x", 1), ("a", "y", 2), ("a", "x", 3), ("b", "y", 1), ("c", "x", 1)]
    some = write_snapshot(home, _events(rows, timestamp_known=[True, False, True, False, None]), items, NOTHING)
    assert some.unknown_times() == 2
    assert some.sequences().times is None
    timed = some.timed_sequences()
    assert [list(timed.row(user)) for user in range(3)] == [[0, 0], [], [0]]
    assert timed.times is not None
    assert list(timed.times - int(START.timestamp())) == [3600, 3 * 3600, 3600]
    known = write_snapshot(home, _events(rows), items, NOTHING)
    assert known.unknown_times() == 0
    assert np.array_equal(known.timed_sequences().items, known.sequences().items)


ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.booleans()), min_size=1, max_size=20)


@settings(max_examples=25)
@given(rows=ROWS, seed=st.integers(0, 5))
def test_shuffling_ties_moves_nothing_but_events_of_equal_known_times(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, bool]], seed: int
) -> None:
    ids = [f"i{number:02}" for number in range(len(rows))]
    events = _events(
        [(user, item, hours) for (user, hours, _), item in zip(rows, ids, strict=True)],
        timestamp_known=[known for *_, known in rows],
    )
    items = pl.DataFrame({"item_id": ids, "title": ids})
    snapshot = write_snapshot(Home(tmp_path_factory.mktemp("home")), events, items, NOTHING)
    plain, shuffled = snapshot.sequences(), snapshot.sequences(tie_seed=seed)
    assert np.array_equal(shuffled.items, snapshot.sequences(tie_seed=seed).items)
    table = snapshot.events().with_columns(
        after=pl.Series(np.array(ids)[shuffled.items]), row=pl.int_range(pl.len(), dtype=pl.Int64)
    )
    fixed = table.filter(~pl.col("timestamp_known"))
    assert fixed["item_id"].equals(fixed["after"], check_names=False)
    key = ["user_id", "timestamp", "timestamp_known"]
    tied = table.group_by(key).agg(pl.col("item_id").sort(), pl.col("after").sort())
    assert tied["item_id"].equals(tied["after"], check_names=False)
    assert np.array_equal(plain.offsets, shuffled.offsets)
    assert np.array_equal(snapshot.timed_sequences().times, snapshot.timed_sequences(tie_seed=seed).times)


def test_ties_are_counted_and_every_order_of_them_comes_up(home: Home) -> None:
    items = pl.DataFrame({"item_id": ["x", "y", "z"], "title": ["X", "Y", "Z"]})
    rows = [("a", "x", 1), ("a", "y", 1), ("a", "z", 2), ("b", "x", 2), ("b", "y", 3)]
    snapshot = write_snapshot(home, _events(rows), items, NOTHING)
    assert snapshot.tied_events() == 2
    orders = {tuple(snapshot.sequences(tie_seed=seed).items.tolist()) for seed in range(20)}
    assert orders == {(0, 1, 2, 0, 1), (1, 0, 2, 0, 1)}


def test_the_id_stays_the_same_over_versions() -> None:
    events = _events(
        [("ü", "y", 3), ("a", "x", 2)], value=[1.5, None], position=[None, 4], timestamp_known=[True, None]
    )
    items = pl.DataFrame({"item_id": ["x"], "title": ["X"], "tags": [["a", None, ""]], "price": [2.5], "n": [2**63]})
    items = items.with_columns(pl.col("n").cast(pl.UInt64))
    assert content_id(events, items) == "bbc7190ab527612f"


def test_values_next_to_each_other_do_not_run_together() -> None:
    items = pl.DataFrame({"item_id": ["x"], "title": ["X"]})
    pairs = [
        (["ab", "c"], ["a", "bc"]),
        (["", None], [None, ""]),
        ([["a"], ["b", "c"]], [["a", "b"], ["c"]]),
        ([[], None], [None, []]),
        ([[None], ["a"]], [["a"], [None]]),
        ([0, None], [None, 0]),
        ([0.1, 0.2], [0.1, 0.3]),
        ([True, None], [True, False]),
    ]
    for one, other in pairs:
        ids = {content_id(pl.DataFrame({"v": values}), items) for values in (one, other)}
        assert len(ids) == 2, (one, other)
        whole = pl.DataFrame({"v": one})
        assert content_id(pl.concat([whole[:1], whole])[1:], items) == content_id(whole, items)


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@settings(max_examples=25)
@given(
    rows=st.lists(
        st.tuples(TEXT, st.sampled_from(["x", "y"]), st.integers(0, 99)), min_size=1, max_size=20, unique=True
    ),
    extra=st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), min_size=20, max_size=20),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]], extra: list) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    events = _events(rows).with_columns(pl.Series("weight", extra[: len(rows)], pl.Float64))
    items = pl.DataFrame({"item_id": ["y", "x"], "title": ["Y", "X"]})
    snapshot = write_snapshot(home, events, items, NOTHING)
    read = open_snapshot(home, snapshot.id).events()
    key = ["user_id", "timestamp", "item_id"]
    assert read.equals(events.select(read.columns).sort(key))
    assert content_id(read, snapshot.items()) == snapshot.id


def test_large_tables_keep_their_order(home: Home) -> None:
    count = 600_000  # more than one slice to hash and one row group to write
    numbers = pl.int_range(count, eager=True)
    events = pl.DataFrame(
        {
            "user_id": "u" + (numbers % 999).cast(pl.String),
            "item_id": "i" + (numbers % 7).cast(pl.String),
            "timestamp": pl.select(START + pl.duration(seconds=numbers, time_unit="us")).to_series(),
        }
    )
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(7)], "title": ["t"] * 7})
    snapshot = write_snapshot(home, events.sample(fraction=1.0, shuffle=True, seed=1), items, NOTHING)
    assert snapshot.events().equals(events.sort("user_id", "timestamp").select(snapshot.events().columns))
    assert snapshot.id == content_id(snapshot.events(), snapshot.items())


@pytest.mark.parametrize("name", ["events.parquet", "items.parquet", "quarantine.parquet"])
def test_damage_is_found(home: Home, snapshot: Snapshot, name: str) -> None:
    path = snapshot.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name} has changed since.*ingest the same files again"):
        open_snapshot(home, snapshot.id)
    assert open_snapshot(home, snapshot.id, verify=False).id == snapshot.id
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        open_snapshot(home, snapshot.id)


def test_a_foreign_or_broken_manifest_is_refused(home: Home, snapshot: Snapshot) -> None:
    path = snapshot.path / "manifest.json"
    manifest = json.loads(path.read_text())
    counts = {name: count for name, count in manifest["counts"].items() if name != "users"}
    for content, said in (
        (manifest | {"id": "0" * 16}, "is not the manifest of snapshot"),
        (manifest | {"format": 99}, "is not the manifest of snapshot"),
        ([], "it holds no object"),
        (manifest | {"counts": counts}, r"counts\.users is missing\. Delete the folder"),
        (manifest | {"times_known": "yes"}, "times_known is 'yes', not true or false"),
        (manifest | {"quality": {"items": {"table": "items"}}}, r"quality\.items\.rows is missing"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ArtifactError, match=said):
            open_snapshot(home, snapshot.id)
    path.write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        open_snapshot(home, snapshot.id)


def test_a_manifest_of_another_version_is_read(home: Home, snapshot: Snapshot) -> None:
    path = snapshot.path / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["quality"], manifest["config"]
    path.write_text(json.dumps(manifest | {"made_by": "a script"}))
    again = open_snapshot(home, snapshot.id).manifest
    assert (again.quality, again.config, again.further) == ({}, {}, {"made_by": "a script"})
    assert again.to_dict() == manifest | {"made_by": "a script"}


@pytest.mark.parametrize("name", ["../../etc", "", "ABCDEF0123456789", "0" * 15])
def test_an_id_is_no_path(home: Home, snapshot: Snapshot, name: str) -> None:
    with pytest.raises(ArtifactError, match="is no snapshot id"):
        open_snapshot(home, name)


def test_an_absent_snapshot_says_what_to_do(home: Home) -> None:
    with pytest.raises(ArtifactError, match=r"no snapshot 0123456789abcdef .*recsys ingest"):
        open_snapshot(home, "0123456789abcdef")


def test_snapshots_are_listed_oldest_first(home: Home, snapshot: Snapshot) -> None:
    (home.snapshots / ".staging-left-by-a-crash").mkdir()
    items = pl.DataFrame({"item_id": ["x"], "title": ["Other"]})
    second = write_snapshot(home, _events([("a", "x", 1)]), items, NOTHING)
    assert [found.id for found in list_snapshots(home)] == [snapshot.id, second.id]
    assert list_snapshots(Home(home.root / "empty")) == []


def test_a_failed_write_leaves_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    items = pl.DataFrame({"item_id": ["x"], "title": ["X"]})

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("recsys.data.snapshot.write_json", full)
    with pytest.raises(OSError, match="no space"):
        write_snapshot(home, _events([("a", "x", 1)]), items, NOTHING)
    assert list(home.snapshots.iterdir()) == []


def test_times_do_not_shift(home: Home) -> None:
    items = pl.DataFrame({"item_id": ["x"], "title": ["X"]})
    events = _events([("a", "x", -24 * 365 * 60), ("a", "x", 0)])
    sequences = write_snapshot(home, events, items, NOTHING).sequences()
    assert sequences.times is not None
    assert list(sequences.times) == [int((START - timedelta(days=365 * 60)).timestamp()), int(START.timestamp())]
