"""Each kind of bad row: refused with file, row and column when there are too many, set aside below the share."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.config import IngestConfig
from recsys.data.ingest import ingest, validate
from recsys.data.quality import QualityError
from recsys.home import Home

STRICT = IngestConfig(max_quarantined_share=0.0)
LENIENT = IngestConfig(max_quarantined_share=0.1)
GOOD = {"user_id": "u1", "item_id": "i1", "timestamp": "2024-02-01T00:00:00Z", "event_type": "view"}

BAD_EVENTS: list[tuple[dict[str, Any], str, str]] = [
    ({"user_id": None}, "user_id", "missing"),
    ({"user_id": "  "}, "user_id", "missing"),
    ({"item_id": ""}, "item_id", "missing"),
    ({"user_id": "a\x00b"}, "user_id", "control character in an id"),
    ({"item_id": "i1\n"}, "item_id", "control character in an id"),
    ({"user_id": "x" * 257}, "user_id", "id longer than 256 characters"),
    ({"timestamp": None}, "timestamp", "missing"),
    ({"timestamp": "yesterday"}, "timestamp", "unparsable timestamp"),
    ({"timestamp": "2024-06-01T00:05:01Z"}, "timestamp", "timestamp in the future"),
    ({"item_id": "nowhere"}, "item_id", "unknown item"),
    ({"value": "much"}, "value", "not a number"),
    ({"value": "inf"}, "value", "not a finite number"),
    ({"position": "1.5"}, "position", "not a whole number"),
    ({"timestamp_known": "perhaps"}, "timestamp_known", "neither true nor false"),
    ({"event_id": "x" * 257}, "event_id", "id longer than 256 characters"),
    ({"weight": float("inf")}, "weight", "not a finite number"),
]

BAD_ITEMS: list[tuple[dict[str, Any], str, str]] = [
    ({"item_id": None}, "item_id", "missing"),
    ({"item_id": "a\tb"}, "item_id", "control character in an id"),
    ({"title": None}, "title", "missing"),
    ({"title": " "}, "title", "missing"),
    ({"available": "sometimes"}, "available", "neither true nor false"),
    ({"updated_at": "recently"}, "updated_at", "unparsable timestamp"),
    ({"price": float("inf")}, "price", "not a finite number"),
]


@pytest.fixture
def events(tmp_path: Path, good_events: pl.DataFrame) -> Path:
    return _write(good_events, tmp_path / "events.parquet")


@pytest.fixture
def items(tmp_path: Path, good_items: pl.DataFrame) -> Path:
    return _write(good_items, tmp_path / "items.parquet")


def _write(frame: pl.DataFrame, path: Path) -> Path:
    frame.write_parquet(path)
    return path


def _with_rows(good: pl.DataFrame, *rows: dict[str, Any]) -> pl.DataFrame:
    """Append rows; times become text, so that any value fits."""
    text = pl.selectors.datetime().dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return pl.concat([good.with_columns(text), pl.DataFrame(rows)], how="diagonal_relaxed")


def _refused(events: Path, items: Path, home: Home, now: datetime) -> str:
    with pytest.raises(QualityError) as refusal:
        ingest(events, items, home, STRICT, now)
    assert not home.snapshots.exists() or not list(home.snapshots.iterdir())
    return str(refusal.value)


@pytest.mark.parametrize(("change", "column", "reason"), BAD_EVENTS)
def test_a_bad_event(
    tmp_path: Path,
    good_events: pl.DataFrame,
    items: Path,
    now: datetime,
    change: dict[str, Any],
    column: str,
    reason: str,
) -> None:
    events = _write(_with_rows(good_events, GOOD | change), tmp_path / "clicks.parquet")
    message = _refused(events, items, Home(tmp_path / "home"), now)
    assert f"1 × {column}: {reason}" in message
    assert f"clicks.parquet, row 201, column {column}: {reason}" in message

    snapshot = ingest(events, items, Home(tmp_path / "home"), LENIENT, now)
    row = snapshot.quarantine().to_dicts()[0]
    assert (row["table"], row["file"], row["row"]) == ("events", "clicks.parquet", 201)
    assert (row["column"], row["reason"]) == (column, reason)
    assert json.loads(row["content"])["event_type"] == "view"
    assert snapshot.manifest.counts.events == 200
    assert snapshot.manifest.quality["events"].reasons == {f"{column}: {reason}": 1}


@pytest.mark.parametrize(("change", "column", "reason"), BAD_ITEMS)
def test_a_bad_item(
    tmp_path: Path,
    events: Path,
    good_items: pl.DataFrame,
    now: datetime,
    change: dict[str, Any],
    column: str,
    reason: str,
) -> None:
    row = {"item_id": "new", "title": "A new one", "genres": ["Comedy"], "year": 2000} | change
    items = _write(_with_rows(good_items, row), tmp_path / "films.parquet")
    message = _refused(events, items, Home(tmp_path / "home"), now)
    assert f"films.parquet, row 21, column {column}: {reason}" in message
    snapshot = ingest(events, items, Home(tmp_path / "home"), LENIENT, now)
    assert snapshot.quarantine()["reason"].to_list() == [reason]
    assert len(snapshot.item_ids()) == 20


def test_the_line_of_a_csv_is_named(tmp_path: Path, items: Path, now: datetime) -> None:
    events = tmp_path / "clicks.csv"
    events.write_text("user_id,item_id,timestamp\nu1,i1,2024-01-01\nu1,i2,never\n")
    message = _refused(events, items, Home(tmp_path / "home"), now)
    assert "clicks.csv, row 2 (line 3), column timestamp: unparsable timestamp" in message
    assert "50.00%" in message


def test_a_clock_may_run_ahead_by_the_tolerance(tmp_path: Path, items: Path, now: datetime) -> None:
    events = _write(pl.DataFrame([GOOD | {"timestamp": now + timedelta(seconds=300)}]), tmp_path / "e.parquet")
    assert ingest(events, items, Home(tmp_path / "home"), STRICT, now).manifest.counts.events == 1


def test_a_duplicate_event_names_the_one_that_stays(
    tmp_path: Path, good_events: pl.DataFrame, items: Path, now: datetime
) -> None:
    events = _write(pl.concat([good_events, good_events[5:6]]), tmp_path / "clicks.parquet")
    message = _refused(events, items, Home(tmp_path / "home"), now)
    assert "1 × item_id: duplicate event" in message
    assert (
        "clicks.parquet, row 201, column item_id: duplicate event: clicks.parquet, row 6 is the same and stays"
        in message
    )


def test_an_event_id_counts_once_and_its_earliest_event_stays(
    tmp_path: Path, good_events: pl.DataFrame, items: Path, now: datetime
) -> None:
    ids = [f"e{n}" for n in range(200)]
    ids[150], ids[7], ids[8] = "e3", "", ""  # an empty id is no id: those two are no duplicates
    events = _write(good_events.with_columns(event_id=pl.Series(ids)), tmp_path / "clicks.parquet")
    snapshot = ingest(events, items, Home(tmp_path / "home"), LENIENT, now)
    row = snapshot.quarantine().to_dicts()
    assert [(r["row"], r["column"]) for r in row] == [(151, "event_id")]
    assert row[0]["reason"] == "duplicate event: clicks.parquet, row 4 differs and stays"
    assert snapshot.events()["event_id"].null_count() == 2


def test_the_same_moment_twice_is_two_events_where_type_or_position_differ(
    tmp_path: Path, items: Path, now: datetime
) -> None:
    rows = [GOOD | {"position": 0}, GOOD | {"position": 1}, GOOD | {"position": 1, "event_type": "buy"}]
    events = _write(pl.DataFrame(rows), tmp_path / "e.parquet")
    assert ingest(events, items, Home(tmp_path / "home"), STRICT, now).manifest.counts.events == 3


def test_two_items_with_one_id_name_both_rows(
    tmp_path: Path, events: Path, good_items: pl.DataFrame, now: datetime
) -> None:
    items = _write(pl.concat([good_items, good_items[3:4]]), tmp_path / "films.parquet")
    message = _refused(events, items, Home(tmp_path / "home"), now)
    assert "films.parquet, row 21, column item_id: another row has this id: films.parquet, row 4 is the same" in message


def test_the_newest_description_of_an_item_stays(
    tmp_path: Path, events: Path, good_items: pl.DataFrame, now: datetime
) -> None:
    dated = good_items.with_columns(updated_at=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)))
    newer = dated[3:4].with_columns(title=pl.lit("Zz renamed"), updated_at=pl.lit(datetime(2024, 2, 1, tzinfo=UTC)))
    undated = dated[3:4].with_columns(title=pl.lit("Aa undated"), updated_at=pl.lit(None, pl.Datetime("us", "UTC")))
    items = _write(pl.concat([undated, dated, newer]), tmp_path / "films.parquet")
    snapshot = ingest(events, items, Home(tmp_path / "home"), LENIENT, now)
    assert snapshot.items().filter(item_id="i3")["title"].to_list() == ["Zz renamed"]
    assert snapshot.quarantine()["row"].to_list() == [1, 5]
    assert all("films.parquet, row 22 differs" in reason for reason in snapshot.quarantine()["reason"])


def test_events_of_a_quarantined_item_are_of_an_unknown_item(
    tmp_path: Path, events: Path, good_items: pl.DataFrame, now: datetime
) -> None:
    title = pl.when(pl.col("item_id") != "i3").then("title").alias("title")
    items = _write(good_items.with_columns(title), tmp_path / "films.parquet")
    snapshot = ingest(events, items, Home(tmp_path / "home"), LENIENT, now)
    assert snapshot.manifest.quality["events"].reasons == {"item_id: unknown item": 10}
    assert "i3" not in set(snapshot.events()["item_id"])


def test_no_good_row_is_refused_whatever_the_share(tmp_path: Path, events: Path, items: Path, now: datetime) -> None:
    strangers = _write(pl.DataFrame([GOOD | {"item_id": "nowhere"}]), tmp_path / "strangers.parquet")
    anything = IngestConfig(max_quarantined_share=1.0)
    with pytest.raises(QualityError, match="needs at least one good row"):
        ingest(strangers, items, Home(tmp_path / "home"), anything, now)
    untitled = _write(pl.DataFrame({"item_id": ["i1"], "title": [""]}), tmp_path / "untitled.parquet")
    with pytest.raises(QualityError, match=r"items: 1 of 1 rows are bad"):
        ingest(events, untitled, Home(tmp_path / "home"), anything, now)


def test_validate_reports_both_tables_and_writes_nothing(
    tmp_path: Path, good_events: pl.DataFrame, items: Path, now: datetime
) -> None:
    bad = [GOOD | {"user_id": None, "timestamp": f"x{n}"} for n in range(40)]
    events = _write(_with_rows(good_events, *bad), tmp_path / "clicks.parquet")
    before = sorted(tmp_path.rglob("*"))
    report = validate(events, items, now=now)
    assert sorted(tmp_path.rglob("*")) == before
    assert [(table.table, table.rows, table.quarantined) for table in report.tables] == [
        ("events", 240, 40),
        ("items", 20, 0),
    ]
    assert report.quarantine.height == 40
    refusal = report.refusal(examples=2)
    assert refusal is not None
    assert refusal.count("clicks.parquet, row") == 2
    assert [table.reasons for table in report.tables if table.table == "events"] == [{"user_id: missing": 40}]
    assert validate(events, items, IngestConfig(max_quarantined_share=0.2), now).refusal() is None
