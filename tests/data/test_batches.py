"""A table read in batches is the table read in one go: types, ids, numbers of rows, and what is wrong with it."""

from pathlib import Path

import polars as pl
import pytest
from test_segments import small

from recsys.config import LimitsConfig
from recsys.data.batches import read_batches
from recsys.data.locations import Sources
from recsys.data.sources import SourceError, read_table

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
