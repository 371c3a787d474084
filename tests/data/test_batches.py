"""A table read in batches is the table read in one go: types, ids, numbers of rows, and what is wrong with it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from test_segments import made, small

from recsys.config import LimitsConfig
from recsys.data import batches
from recsys.data.batches import read_batches
from recsys.data.limits import Budget
from recsys.data.locations import Sources
from recsys.data.notation import PLAIN
from recsys.data.since import Since
from recsys.data.sources import Source, SourceError, read_table

ROWS = 500
# each holds one kind of value in most rows, and one that is none of it in the row before the last
COLUMNS = {
    "whole": ([str(n) for n in range(ROWS)], "NA"),
    "mostly_whole": ([str(n) for n in range(ROWS)], "x"),
    "float": ([str(n) for n in range(ROWS)], "0.25"),
    "written": ([f"{n}.50" for n in range(ROWS)], "soon"),
    "flag": (["true"] * ROWS, "perhaps"),
    "nothing": ([""] * ROWS, "7"),
    "code": ([f"00{n}" for n in range(ROWS)], "1"),
    "comma": ([f"1.{n % 900 + 100},5" for n in range(ROWS)], "1,25"),
    "thousands": ([f"1,{n % 900 + 100}" for n in range(ROWS)], "one"),
}


def table() -> pl.DataFrame:
    columns = {name: [*most[:-2], odd, most[-1]] for name, (most, odd) in COLUMNS.items()}
    ids = {
        "user_id": [*(f"{n % 9}.0" for n in range(ROWS - 2)), "a1", "3.0"],
        "item_id": [f"{n % 7}.0" for n in range(ROWS)],
    }
    return pl.DataFrame(ids | {"timestamp": [str(1_700_000_000 + n) for n in range(ROWS)]} | columns)


@pytest.mark.parametrize("form", ["csv", "tsv", "ndjson", "parquet"])
def test_types_are_those_of_the_whole_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    path, rows = tmp_path / f"e.{form}", table()
    if form in ("csv", "tsv"):
        rows.write_csv(path, separator="\t" if form == "tsv" else ",")
    else:
        getattr(rows, f"write_{form}")(path)
    whole = read_table(path, "events")
    small(monkeypatch, batch=60)
    parts = list(read_batches(path, {}, LimitsConfig(), Sources.from_environment()))
    assert len(parts) > 3
    assert pl.concat(parts).equals(whole)


def test_a_table_that_needs_no_memory_is_still_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    table().write_parquet(tmp_path / "e.parquet")
    with pytest.raises(SourceError, match="raise max_bytes in limits of the ingest settings"):
        list(read_batches(tmp_path / "e.parquet", {}, LimitsConfig(max_bytes=100), Sources.from_environment()))
    (tmp_path / "d.parquet").write_bytes((tmp_path / "e.parquet").read_bytes()[:-40])
    with pytest.raises(SourceError, match=r"d\.parquet cannot be read as Parquet"):
        list(read_batches(tmp_path / "d.parquet", {}, LimitsConfig(), Sources.from_environment()))


def test_files_of_a_folder_are_read_as_they_are_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table().select("user_id", "item_id", "timestamp", "whole", "flag", "float")
    folder = tmp_path / "e"
    folder.mkdir()
    rows.write_csv(folder / "a.csv")
    rows.with_columns(whole=pl.lit(""), flag=pl.lit("12"), float=pl.lit(None)).write_csv(folder / "b.csv")
    rows.with_columns(pl.col("timestamp").cast(pl.Int64)).write_parquet(folder / "c.parquet")
    whole = read_table(folder, "events")
    small(monkeypatch, batch=90)
    assert pl.concat(read_batches(folder, {}, LimitsConfig(), Sources.from_environment())).equals(whole)


def dated(rows: int, unit: str = "us", zone: str | None = "UTC") -> pl.DataFrame:
    """Events by time, an hour apart, one without a time."""
    hours = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(rows)]
    times = pl.Series(hours, dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(zone or "UTC")
    times = times if zone else times.dt.replace_time_zone(None)
    frame = pl.DataFrame({"user_id": ["u1"] * rows, "item_id": ["i1"] * rows, "when": times.dt.cast_time_unit(unit)})
    return frame.with_columns(when=pl.when(pl.int_range(rows) != 3).then("when"))


@pytest.mark.parametrize(
    ("unit", "zone", "read"), [("us", "UTC", 151), ("ns", "Asia/Tokyo", 151), ("ms", "UTC", 151), ("us", None, 199)]
)
def test_what_is_older_than_wanted_is_not_read_from_parquet_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str, zone: str | None, read: int
) -> None:
    small(monkeypatch, batch=60)
    folder = tmp_path / "e"
    folder.mkdir()
    rows = dated(400, unit, zone)
    rows[:200].write_parquet(folder / "a.parquet", row_group_size=50)
    rows[200:].write_parquet(folder / "b.parquet", row_group_size=50)
    since = Since(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=250))
    given = ({"timestamp": "when"}, LimitsConfig(), Sources.from_environment())
    found = pl.concat(read_batches(folder, *given, since=since))
    assert (found.height, since.passed_over) == (read, 400 - read)
    assert found["timestamp"].null_count() == 1
    assert found.filter(pl.col("__file") == "b.parquet")["__row"].to_list() == list(range(202 - read, 201))
    wanted = since.remain(found)
    assert (wanted.height, since.passed_over) == (151, 249)
    nothing = Since(datetime(2040, 1, 1, tzinfo=UTC))
    (tmp_path / "f.parquet").write_bytes((folder / "b.parquet").read_bytes())
    assert not list(read_batches(tmp_path / "f.parquet", *given, since=nothing))
    assert nothing.passed_over == 200


def test_rows_of_an_object_store_keep_their_numbers_where_the_first_are_left_out(tmp_path: Path) -> None:
    rows = dated(300).drop_nulls()
    rows[:100].write_parquet(tmp_path / "a.parquet", row_group_size=50)
    rows[100:].write_parquet(tmp_path / "b.parquet", row_group_size=50)
    source, budget = Source(str(tmp_path / "*.parquet"), "b", "Parquet", remote=True), Budget(LimitsConfig())
    since = Since(rows["when"][180])
    file = batches._File.of(source, {"timestamp": "when"}, PLAIN, budget)
    found = pl.concat(file.batches(budget, since))
    assert found["__row"].to_list() == list(range(81, 200))
    assert since.passed_over == 180


@pytest.mark.parametrize("form", ["parquet", "csv", "ndjson"])
def test_bad_rows_that_are_older_than_wanted_are_passed_over_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    small(monkeypatch, batch=60)
    rows = dated(200).rename({"when": "timestamp"})
    rows = rows.with_columns(
        item_id=pl.when(pl.int_range(200).is_in([20, 120])).then(pl.lit("gone")).otherwise("item_id")
    )
    getattr(rows, f"write_{form}")(tmp_path / f"e.{form}")
    since = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=100)
    found = made(str(tmp_path / f"e.{form}"), tmp_path / "home", since=since)
    assert (found.manifest.counts.events, found.manifest.counts.quarantined) == (99, 2)
    assert found.quarantine()["reason"].to_list() == ["missing", "unknown item"]
    assert found.quarantine()["row"].to_list() == [4, 121]
