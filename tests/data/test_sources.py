"""Reading tables from files, folders and globs, and what is said when that fails."""

import gzip
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.parsing import infer_type, parse_flags, parse_integers, parse_numbers, parse_timestamps
from recsys.data.sources import FILE, ROW, SourceError, read_table

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)
CSV = "user_id,item_id,timestamp,score,zip\n007,1,2024-01-01,1.5,01234\n8,2,2024-01-02,2,99999\n"


@pytest.fixture
def frame() -> pl.DataFrame:
    return pl.DataFrame({"user_id": ["007", "8"], "item_id": ["1", "2"], "timestamp": ["2024-01-01", "2024-01-02"]})


def test_every_format_gives_the_same_table(tmp_path: Path, frame: pl.DataFrame) -> None:
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    frame.write_csv(tmp_path / "t.tsv", separator="\t")
    frame.write_ndjson(tmp_path / "t.jsonl")
    for name in ("t.csv", "t.tsv", "t.jsonl"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for name in ("t.parquet", "t.csv", "t.tsv", "t.jsonl", "t.csv.gz", "t.tsv.gz", "t.jsonl.gz"):
        table = read_table(tmp_path / name, "events")
        assert table.drop(FILE, ROW).equals(frame), name
        assert table[FILE].to_list() == [name, name]
        assert table[ROW].to_list() == [1, 2]


def test_csv_keeps_ids_and_codes_and_makes_numbers_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(CSV)
    table = read_table(tmp_path / "e.csv", "events")
    assert table["user_id"].to_list() == ["007", "8"]
    assert table["score"].to_list() == [1.5, 2.0]
    assert table["zip"].to_list() == ["01234", "99999"]


@pytest.mark.parametrize("ids", [[7, 8], [7.0, 8.0]])
def test_numeric_ids_become_strings(tmp_path: Path, ids: list[float]) -> None:
    pl.DataFrame({"item_id": ids, "title": ["a", "b"]}).write_parquet(tmp_path / "i.parquet")
    assert read_table(tmp_path / "i.parquet", "items")["item_id"].to_list() == ["7", "8"]


def test_a_folder_and_a_glob_hold_many_files_of_many_formats(tmp_path: Path, frame: pl.DataFrame) -> None:
    (tmp_path / "deep").mkdir()
    frame.with_columns(timestamp=pl.lit(NEW_YEAR)).write_parquet(tmp_path / "a.parquet")
    frame.with_columns(timestamp=1_704_067_200).write_parquet(tmp_path / "b.parquet")
    frame.write_csv(tmp_path / "deep" / "c.csv")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".hidden.csv").touch()
    table = read_table(tmp_path, "events")
    assert table[FILE].unique().sort().to_list() == ["a.parquet", "b.parquet", "deep/c.csv"]
    assert table.group_by(FILE).agg(ROW).sort(FILE)[ROW].to_list() == [[1, 2]] * 3
    assert parse_timestamps(table["timestamp"]).to_list() == [NEW_YEAR] * 5 + [NEW_YEAR + timedelta(days=1)]
    assert set(read_table(f"{tmp_path}/*.parquet", "events")[FILE]) == {"a.parquet", "b.parquet"}
    assert set(read_table(f"file://{tmp_path}/**/*.csv", "events")[FILE]) == {"deep/c.csv"}


def test_a_name_with_brackets_is_a_file_not_a_glob(tmp_path: Path, frame: pl.DataFrame) -> None:
    frame.write_csv(tmp_path / "events[1].csv")
    assert read_table(tmp_path / "events[1].csv", "events").height == 2


def test_columns_are_mapped(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("who,what,ts,timestamp\na,b,5,never\n")
    mapping = {"user_id": "who", "item_id": "what", "timestamp": "ts"}
    row = read_table(tmp_path / "e.csv", "events", mapping).to_dicts()[0]
    assert row == {"user_id": "a", "item_id": "b", "timestamp": "5", FILE: "e.csv", ROW: 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv", b"", r"e\.csv is empty \(0 bytes\)"),
        ("e.csv", b"user_id,item_id,timestamp\n", r"holds no rows of events"),
        (
            "e.csv",
            b"user_id,timestamp\na,1\n",
            r"e\.csv has no column 'item_id'.*It has user_id, timestamp.*event_columns",
        ),
        ("e.csv", b"user_id,item_id,timestamp\na,b,1\na,b,1,x\n", r"e\.csv .*line 3 has 4 fields, the header 3"),
        ("e.csv", b"user_id,item_id,timestamp\na,\xff,1\n", r"e\.csv .*line 2 is not UTF-8"),
        ("e.csv", b'user_id,item_id,timestamp\na,"b,1\n', r"e\.csv cannot be read as CSV"),
        ("e.csv.gz", gzip.compress(CSV.encode() * 999)[:-30], r"e\.csv\.gz cannot be read as CSV"),
        ("e.ndjson", b'{"user_id": "a"}\n{"user_id": \n', r"e\.ndjson .*line 2 is not valid JSON"),
        ("e.ndjson", b'{"user_id":1,"item_id":2,"timestamp":3,"o":{"x":{}}}', r"column 'o' holds Struct.*Flatten"),
        ("e.ndjson", b'{"user_id":["a"],"item_id":2,"timestamp":3}', r"column 'user_id' holds List.*text can be kept"),
        ("e.parquet", b"PAR1 is not enough", r"e\.parquet cannot be read as Parquet.*Write it again"),
        ("e.txt", b"user_id", r"e\.txt has no suffix known for a table"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_table(tmp_path / name, "events")


def test_a_truncated_parquet_is_named(tmp_path: Path, frame: pl.DataFrame) -> None:
    frame.write_parquet(tmp_path / "good.parquet")
    whole = (tmp_path / "good.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"cut\.parquet cannot be read as Parquet: .*truncated.* Write it again"):
        read_table(tmp_path, "events")


def test_absent_places_and_columns_are_named(tmp_path: Path, frame: pl.DataFrame) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        read_table(tmp_path / "absent.csv", "events")
    with pytest.raises(SourceError, match="holds no table of items"):
        read_table(tmp_path, "items")
    with pytest.raises(SourceError, match="holds no table of items"):
        read_table(f"{tmp_path}/*.parquet", "items")
    frame.write_csv(tmp_path / "e.csv")
    with pytest.raises(SourceError, match=r"e\.csv has no column 'who', which event_columns names for 'user_id'"):
        read_table(tmp_path / "e.csv", "events", {"user_id": "who"})


SPELLINGS = [
    "2024-01-01",
    " 2024-01-01T00:00 ",
    "2024-01-01 00:00:00",
    "2024-01-01 00:00:00.000",
    "2024-01-01T00:00:00Z",
    "2024-01-01t00:00Z",
    "2024-01-01 00:00:00 UTC",
    "2024-01-01T02:00:00+02:00",
    "2024-01-01T02:00+02:00",
    "2024-01-01 02:00:00 +0200",
    "2023-12-31T20:30:00.0-03:30",
    "2024-01-01T02:00:00+02",
    "1704067200",
    "1704067200.0",
    "1704067200000",
    "1704067200000000",
    "1704067200000000000",
]


@pytest.mark.parametrize(
    "values",
    [
        SPELLINGS,
        [1_704_067_200, 1_704_067_200_000, 1_704_067_200_000_000, 1_704_067_200_000_000_000],
        [1_704_067_200.0],
        [date(2024, 1, 1)],
        [datetime(2024, 1, 1)],
        [datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))],
    ],
)
def test_times_are_read_in_every_spelling(values: list[object]) -> None:
    parsed = parse_timestamps(pl.Series("t", values))
    assert parsed.dtype == pl.Datetime("us", "UTC")
    assert parsed.to_list() == [NEW_YEAR] * len(values)


@pytest.mark.parametrize(
    "values",
    [
        ["", "soon", "2024-13-01", "2024-02-30", "01/02/2024", "nan", "inf", "1e300", None],
        [float("nan")],
        [True],
        [None],
    ],
)
def test_what_is_no_time_becomes_null(values: list[object]) -> None:
    assert parse_timestamps(pl.Series("t", values)).null_count() == len(values)


@given(st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1)))
def test_a_time_survives_each_spelling(time: datetime) -> None:
    aware = time.replace(tzinfo=UTC)
    microseconds = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    texts = [time.isoformat(), time.isoformat(" "), aware.isoformat(), str(microseconds)]
    assert parse_timestamps(pl.Series(texts)).to_list() == [aware] * 4
    assert parse_timestamps(pl.Series([microseconds])).to_list() == [aware]


def test_numbers_and_flags() -> None:
    assert parse_integers(pl.Series(["1", "2.0", "1.5", "", "x", None])).to_list() == [1, 2, None, None, None, None]
    assert parse_integers(pl.Series([1.0, 1.5, float("nan")])).to_list() == [1, None, None]
    assert parse_numbers(pl.Series([" 1.5", "x", None])).to_list() == [1.5, None, None]
    assert parse_flags(pl.Series(["TRUE", "0", "maybe", None])).to_list() == [True, False, None, None]
    assert parse_flags(pl.Series([1, 0, 2])).to_list() == [True, False, None]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["1", "-2", None], pl.Int64),
        (["1.5", "2"], pl.Float64),
        (["true", "False"], pl.Boolean),
        (["01", "2"], pl.String),
        (["1e5"], pl.String),
        (["1", *["2"] * 200, "x"], pl.String),
        ([None], pl.String),
    ],
)
def test_types_of_csv_columns(values: list[str | None], dtype: pl.DataType) -> None:
    assert infer_type(pl.Series(values, dtype=pl.String)).dtype == dtype
