"""Events in segments: their content alone decides what these are, and what is read back is what went in."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import IngestConfig
from recsys.data import batches
from recsys.data.identity import content_id
from recsys.data.ingest import ingest
from recsys.data.segments import names, spill, trie
from recsys.data.segments.trie import Node, node_named, nodes_of, shared_bits
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.home import Home

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANYTHING = IngestConfig(max_quarantined_share=0.9)
ITEMS = pl.DataFrame({"item_id": [f"i{n}" for n in range(30)], "title": [f"Thing {n}" for n in range(30)]})


def some_events(rows: int = 1_000, seed: int = 0) -> pl.DataFrame:
    """Two years of events, a fifth of them in one hour, with bad rows, ids that come again and rows that do."""
    draw = np.random.default_rng(seed)
    hour, years = draw.integers(0, 3_600, rows), draw.integers(0, 60_000_000, rows)
    events = pl.DataFrame(
        {
            "user_id": [f"u{number}" for number in draw.integers(0, 60, rows)],
            "item_id": [f"i{number}" for number in draw.integers(0, 31, rows)],
            "timestamp": np.where(draw.random(rows) < 0.2, 1_650_000_000 + hour, 1_600_000_000 + years),
            "event_id": [f"e{number}" if number % 3 else None for number in draw.integers(0, 3 * rows, rows)],
            "event_type": draw.choice(["view", "buy"], rows),
            "value": draw.integers(1, 6, rows) / 2,
            "shelf": [None if number % 4 else f"s{number % 5}" for number in range(rows)],
        }
    )
    at_once = events[::50].with_columns(item_id=pl.lit("i5"), event_id=pl.lit(None, pl.String))
    return pl.concat([events, events[::40], at_once])


def small(monkeypatch: pytest.MonkeyPatch, leaf: int = 60, batch: int = 200) -> None:
    """Make leaves, batches and what is held in memory so small that few events need many of each."""
    monkeypatch.setattr(trie, "LEAF_ROWS", leaf)
    monkeypatch.setattr(batches, "BATCH_ROWS", batch)
    monkeypatch.setattr(batches, "SMALL_ROWS", 0)
    monkeypatch.setattr(batches, "SMALL_BYTES", 0)
    monkeypatch.setattr(spill, "MOST_HELD", 20_000)


def made(events: Any, place: Path, config: IngestConfig = ANYTHING, **more: Any) -> Snapshot:
    return ingest(events, ITEMS, Home(place), config, NOW, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The events in one file."""
    return made(some_events(), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("leaf", [700, 60, 12])
def test_segments_hold_what_one_file_holds(
    whole: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaf: int
) -> None:
    small(monkeypatch, leaf)
    tmp_path = tmp_path / "any [name]*?"
    found = made(some_events(), tmp_path)
    assert found.manifest.segments is not None
    assert found.segments is not None
    assert found.id != whole.id
    assert found.events().equals(whole.events())
    assert found.quarantine().equals(whole.quarantine())
    for name in ("counts", "quality", "repeats", "times_known", "schemas"):
        assert getattr(found.manifest, name) == getattr(whole.manifest, name), name
    assert open_snapshot(Home(tmp_path), found.id).manifest == found.manifest
    assert content_id(found.events(), found.items()) == found.id
    nodes = [node_named(one.node) for one in found.manifest.segments]
    assert sorted(one.node for one in found.manifest.segments) == [one.name for one in nodes]
    for part, node in zip(found.parts(), nodes, strict=True):
        paths = [trie.path_of(part[row]) for row in range(part.height)]
        assert all(node.holds(path) for path in paths)
        assert part.height <= leaf or len(set(paths)) == 1
    for seed in (None, 3):
        mine, theirs = found.sequences(tie_seed=seed), whole.sequences(tie_seed=seed)
        assert np.array_equal(mine.items, theirs.items)
        assert np.array_equal(mine.offsets, theirs.offsets)
        assert np.array_equal(mine.times, theirs.times)
    assert found.tied_events() == whole.tied_events() > 0
    assert found.user_ids() == whole.user_ids()
    assert found.event_schema == whole.event_schema
    assert found.scan().collect().sort(pl.all()).equals(whole.events().sort(pl.all()))
    assert found.events("value", "item_id").equals(whole.events().select("value", "item_id"))


def test_no_order_split_or_format_makes_another_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    events = some_events()
    told, quarantined = set(), set()
    for number, (cut, form) in enumerate([(1, "parquet"), (3, "csv"), (2, "ndjson"), (1, "csv")]):
        rows = events.sample(fraction=1.0, shuffle=True, seed=number)
        folder = tmp_path / f"e{number}"
        folder.mkdir()
        for part in range(cut):
            chosen = rows[part::cut]
            chosen = chosen.select(sorted(chosen.columns)) if part % 2 else chosen
            getattr(chosen, f"write_{form}")(folder / f"{part}.{form}")
        found = made(str(folder), tmp_path / f"h{number}")
        told.add(found.id)
        quarantined.add(found.manifest.counts.quarantined)
        assert open_snapshot(Home(tmp_path / f"h{number}"), found.id)
    assert (len(told), len(quarantined)) == (1, 1)


ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["i1", "i2"]), st.integers(-(2**33), 2**30), st.integers(0, 2)),
    min_size=1,
    max_size=40,
    unique=True,
)


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, leaf=st.integers(1, 12), held=st.sampled_from([1, 1_000, 1 << 30]), order=st.randoms())
def test_the_trie_depends_on_content_alone(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int, int]], leaf: int, held: int, order: Any
) -> None:
    names_ = ["user_id", "item_id", "timestamp", "position"]
    shuffled = order.sample(rows, len(rows))
    with pytest.MonkeyPatch.context() as patch:
        small(patch, leaf, batch=7)
        patch.setattr(spill, "MOST_HELD", held)
        one, other = (
            made(pl.DataFrame(some, schema=names_, orient="row"), tmp_path_factory.mktemp("home"))
            for some in (rows, shuffled)
        )
        assert one.id == other.id == content_id(one.events(), one.items())
        assert one.manifest.segments == other.manifest.segments
        assert one.events().height == len(rows)


def test_nodes_are_the_children_of_what_neighbours_share() -> None:
    top = 1 << (trie.BITS - 1)
    assert nodes_of([0]) == [trie.ROOT]
    assert nodes_of([0, top]) == [Node(1, 0), Node(1, 1)]
    found = nodes_of([0, top, top + 1])
    assert found == [Node(1, 0), Node(trie.BITS, top), Node(trie.BITS, top + 1)]
    assert [node_named(one.name) for one in found] == found
    assert shared_bits(top, top + 1) == trie.BITS - 1
    for wrong in ("", "0-1x", "00-3", found[1].name[1:]):
        with pytest.raises(ValueError, match=r".*"):
            node_named(wrong)


def test_the_hash_of_a_user_stays_the_same_over_versions() -> None:
    assert trie.users_hashed(pl.Series(["ü", "a", "ü"])).tolist() == [
        6192904641445441335,
        4681665781835383343,
        6192904641445441335,
    ]


def test_an_event_id_counts_once_however_far_its_events_lie_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 86_400
    events = pl.DataFrame(
        {
            "user_id": [f"u{number % 7}" for number in range(200)],
            "item_id": [f"i{number % 9}" for number in range(200)],
            "timestamp": [1_600_000_000 + number * day for number in range(200)],
            "event_id": [f"e{number % 150}" for number in range(200)],
        }
    )
    for name, held in (("one", None), ("many", 200)):
        if held:
            small(monkeypatch, leaf=10, batch=30)
            monkeypatch.setattr(names, "_MOST_HELD", held)
        found = made(events.sample(fraction=1.0, shuffle=True, seed=1), tmp_path / name)
        assert found.events().height == 150
        assert found.events()["timestamp"].max() == datetime.fromtimestamp(1_600_000_000 + 149 * day, UTC)
        assert set(found.quarantine()["column"]) == {"event_id"}
        assert found.manifest.quality["events"].reasons == {"event_id: duplicate event": 50}


def test_an_unfinished_ingest_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("recsys.data.segments.building.write_leaf", full)
    with pytest.raises(OSError, match="no space"):
        made(some_events(), tmp_path)
    assert list((tmp_path / "snapshots").iterdir()) == []
