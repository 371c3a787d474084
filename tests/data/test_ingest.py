"""The laws of ingest: what it reads decides the snapshot, not how or in which order it is written down."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import IngestConfig
from recsys.data.ingest import ingest
from recsys.data.manifest import SnapshotCounts
from recsys.home import Home

ANYTHING = IngestConfig(max_quarantined_share=0.99)
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)

# Few users, items and times, so that duplicates and ties are common.
EVENT = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["a", "b", "é", None]),
        "item_id": st.sampled_from(["1", "2", "3", "?"]),
        "timestamp": st.sampled_from([1_700_000_000, 1_700_000_001, 1_600_000_000]),
        "position": st.sampled_from([0, 1, None]),
        "event_id": st.sampled_from(["x", "y", None, None, None]),
        "event_type": st.sampled_from(["view", "buy", None]),
        "value": st.sampled_from([1.0, 2.0, None]),
    }
)
ITEM = st.fixed_dictionaries(
    {
        "item_id": st.sampled_from(["1", "2", "3"]),
        "title": st.sampled_from(["One", "Two"]),
        "tags": st.sampled_from([[], ["red"], ["red", "blue"], None]),
        "updated_at": st.sampled_from([1_500_000_000, 1_500_000_001, None]),
    }
)
EVENTS_SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "timestamp": pl.Int64,
    "position": pl.Int64,
    "event_id": pl.String,
    "event_type": pl.String,
    "value": pl.Float64,
}
ITEMS_SCHEMA = {"item_id": pl.String, "title": pl.String, "tags": pl.List(pl.String), "updated_at": pl.Int64}
SURE_EVENT = dict.fromkeys(EVENTS_SCHEMA) | {"user_id": "z", "item_id": "9", "timestamp": 1_400_000_000}
SURE_ITEM = {"item_id": "9", "title": "Nine", "tags": ["x"], "updated_at": None}


def _write_parts(rows: list[dict[str, Any]], schema: dict[str, Any], folder: Path, cut: int) -> str:
    """Write rows as two Parquet files, their columns in different orders."""
    folder.mkdir()
    names = list(schema) if cut else sorted(schema, reverse=True)
    pl.DataFrame(rows[cut:], schema=schema).select(names).write_parquet(folder / "a.parquet")
    pl.DataFrame(rows[:cut], schema=schema).write_parquet(folder / "b.parquet")
    return str(folder)


@settings(max_examples=25)
@given(events=st.lists(EVENT, min_size=15, max_size=40), items=st.lists(ITEM, max_size=8), data=st.data())
def test_the_snapshot_depends_on_no_order_of_rows_files_or_columns(
    events: list[dict[str, Any]], items: list[dict[str, Any]], data: st.DataObject
) -> None:
    events, items = [*events, SURE_EVENT], [*items, SURE_ITEM]
    shuffled_events, shuffled_items = data.draw(st.permutations(events)), data.draw(st.permutations(items))
    cut = data.draw(st.integers(0, len(events)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = ingest(
            _write_parts(events, EVENTS_SCHEMA, folder / "e", 0),
            _write_parts(items, ITEMS_SCHEMA, folder / "i", 0),
            Home(folder / "one"),
            ANYTHING,
            NOON,
        )
        second = ingest(
            _write_parts(shuffled_events, EVENTS_SCHEMA, folder / "e2", cut),
            _write_parts(shuffled_items, ITEMS_SCHEMA, folder / "i2", 1),
            Home(folder / "two"),
            ANYTHING,
            NOON,
        )
        assert first.id == second.id
        assert first.events().equals(second.events())
        assert first.items().equals(second.items())
        assert first.quarantine().height == second.quarantine().height
        assert first.manifest.counts.events + first.quarantine().filter(table="events").height == len(events)
        times = first.events()["timestamp"].to_list()
        rows = zip(first.events()["user_id"].to_list(), times, strict=True)
        assert list(rows) == sorted(zip(first.events()["user_id"].to_list(), times, strict=True))
        sequences = first.sequences()
        ids, flat = first.item_ids(), first.events()["item_id"].to_list()
        assert [ids[code] for code in sequences.items] == flat
        assert len(sequences) == len(first.user_ids()) == first.manifest.counts.users


def test_formats_give_the_same_snapshot(
    tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    flat = good_items.drop("genres")
    text = good_events.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    good_events.write_parquet(tmp_path / "e.parquet")
    text.write_csv(tmp_path / "e.csv")
    text.write_ndjson(tmp_path / "e.ndjson")
    flat.write_parquet(tmp_path / "i.parquet")
    flat.write_csv(tmp_path / "i.csv")
    flat.write_ndjson(tmp_path / "i.ndjson")
    ids = {
        ingest(tmp_path / f"e.{suffix}", tmp_path / f"i.{suffix}", Home(tmp_path / suffix), now=now).id
        for suffix in ("parquet", "csv", "ndjson")
    }
    assert len(ids) == 1


def test_a_second_ingest_finds_the_first_and_only_says_that_it_is_used(
    tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    good_events.write_parquet(tmp_path / "e.parquet")
    good_items.write_parquet(tmp_path / "i.parquet")
    home = Home(tmp_path / "home")
    first = ingest(tmp_path / "e.parquet", tmp_path / "i.parquet", home, now=now)
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*")}
    used = before.pop(first.path)
    (tmp_path / "e.parquet").rename(tmp_path / "other.parquet")
    second = ingest(tmp_path / "other.parquet", tmp_path / "i.parquet", home, now=now)
    assert (second.id, second.manifest) == (first.id, first.manifest)
    after = {path: path.stat().st_mtime_ns for path in home.root.rglob("*")}
    assert after.pop(first.path) > used  # by which it is young, and not pruned
    assert after == before


def test_one_changed_value_gives_another_snapshot(
    tmp_path: Path, good_events: pl.DataFrame, good_items: pl.DataFrame, now: datetime
) -> None:
    good_events.write_parquet(tmp_path / "e.parquet")
    title = pl.when(pl.col("item_id") == "i5").then(pl.lit("Renamed")).otherwise("title").alias("title")
    genres = pl.when(pl.col("item_id") == "i5").then(pl.lit(["Drama"])).otherwise("genres").alias("genres")
    ids = set()
    for name, change in (("a", pl.col("title")), ("b", title), ("c", genres), ("d", pl.col("year") + 1)):
        good_items.with_columns(change).write_parquet(tmp_path / f"{name}.parquet")
        ids.add(ingest(tmp_path / "e.parquet", tmp_path / f"{name}.parquet", Home(tmp_path / "home"), now=now).id)
    assert len(ids) == 4


def test_movielens_is_whole_and_clean(tmp_path: Path, movielens: tuple[Path, Path]) -> None:
    snapshot = ingest(*movielens, Home(tmp_path))
    assert snapshot.manifest.counts == SnapshotCounts(users=943, items=1682, events=100_000, quarantined=0)
    assert snapshot.times_known
