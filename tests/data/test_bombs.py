"""Small files that stand for more than memory holds: refused before it is taken, and honest ones read as ever."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config import LimitsConfig
from recsys.data.labelled import read_labelled
from recsys.data.limits import Budget
from recsys.data.sources import SourceError, read_columns, read_lines, read_table

MIB = 1 << 20
PEAK_MIB = 500  # of a process that looks at them all, its imports included; read, the least would take over 1,000
READER = r"""
import json, re, sys
from pathlib import Path
import polars, pyarrow.parquet
from recsys.data.sources import SourceError, read_table
from recsys.config import LimitsConfig
told = {}
for path in sys.argv[1:]:
    try:
        read_table(path, "events", limits=LimitsConfig(max_bytes=8 << 30))
        told[path] = "read"
    except SourceError as error:
        told[path] = str(error)
# Not getrusage's: that one begins with what the parent held.
peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps({"told": told, "peak": int(peak[1]) >> 10}))
"""


def rows_of_parquet(path: Path) -> None:
    """Thirty million rows, the same, in half a megabyte."""
    one = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), pa.array(["a"]))
    part = pa.table(dict.fromkeys(("user_id", "item_id", "timestamp"), one))
    with pq.ParquetWriter(path, part.schema, store_schema=False) as writer:
        for _ in range(30):
            writer.write_table(part)


def one_text_of_parquet(path: Path) -> None:
    """A text of a megabyte, a hundred thousand times."""
    folded = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array(["x" * MIB]))
    short = pa.array(["a"] * 100_000)
    pq.write_table(pa.table({"user_id": folded, "item_id": short, "timestamp": short}), path, store_schema=False)


def lists_of_parquet(path: Path) -> None:
    """Ten rows with a list of four million each."""
    values = pa.ListArray.from_arrays(
        np.arange(11, dtype=np.int32) * 4_000_000, pa.array(np.zeros(40_000_000, np.int8))
    )
    short = pa.array(["a"] * 10)
    pq.write_table(pa.table({"user_id": short, "item_id": short, "timestamp": short, "tags": values}), path)


def lines_of_gzip(path: Path) -> None:
    """420 megabytes of lines, the same, in one."""
    line = b"user,item,1700000000\n" * 50_000
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"user_id,item_id,timestamp\n")
        for _ in range(400):
            file.write(line)


def lines_of_zstd(path: Path) -> None:
    """The same, packed into less yet."""
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        file.write(b"user_id,item_id,timestamp\n")
        for _ in range(400):
            file.write(b"user,item,1700000000\n" * 50_000)


def short_lines(path: Path) -> None:
    """Nine hundred columns, of which each of a million rows has the first."""
    names = ["user_id", "item_id", "timestamp", *(f"c{number}" for number in range(900))]
    path.write_text(",".join(names) + "\n" + "a\n" * 1_000_000)


def wide(path: Path) -> None:
    names = ["user_id", "item_id", "timestamp", *(f"c{number}" for number in range(200_000))]
    path.write_text(",".join(names) + "\n" + "a,b,1\n")


def new_keys(path: Path) -> None:
    with path.open("w") as file:
        for number in range(20_000):
            file.write(f'{{"user_id": "a", "k{number}": 1}}\n')


def one_line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"user_id,item_id,timestamp\na,b,")
        file.truncate(2_000_000_000)  # a hole on the disk


def one_object(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'{"user_id": "')
        file.truncate(2_000_000_000)


def deep_objects(path: Path) -> None:
    path.write_text('{"user_id": "a", "o": ' + '{"a":' * 1_000 + "1" + "}" * 1_000 + "}\n")


def deep_lists(path: Path) -> None:
    path.write_text('{"user_id": "[[[[", "o": ' + "[" * 1_000 + "]" * 1_000 + "}\n")


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "rows.parquet": (rows_of_parquet, "max_expansion"),
    "text.parquet": (one_text_of_parquet, "max_bytes|max_expansion"),
    "lists.parquet": (lists_of_parquet, "max_expansion"),
    "lines.csv.gz": (lines_of_gzip, "max_expansion"),
    "lines.csv.zst": (lines_of_zstd, "max_expansion"),
    "hidden.csv": (lines_of_gzip, "max_expansion"),
    "short.csv": (short_lines, "max_expansion|max_bytes"),
    "wide.csv": (wide, "max_columns"),
    "keys.ndjson": (new_keys, "max_columns"),
    "line.csv": (one_line, "max_row_bytes"),
    "line.ndjson": (one_object, "max_row_bytes"),
    "deep.ndjson": (deep_objects, "nested deeper"),
    "lists.ndjson": (deep_lists, "nested deeper"),
    "deep.json": (deep_objects, "nested deeper"),
    "keys.json": (new_keys, "max_columns"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="its memory is read from /proc")
def test_bombs_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    paths = []
    for name, (make, _) in BOMBS.items():
        make(tmp_path / name)
        paths.append(str(tmp_path / name))
    assert (tmp_path / "rows.parquet").stat().st_size < MIB
    done = subprocess.run([sys.executable, "-c", READER, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    for name, (_, setting) in BOMBS.items():
        told = outcome["told"][str(tmp_path / name)]
        assert told.startswith(name), told
        assert any(word in told for word in setting.split("|")), told
    assert outcome["peak"] < PEAK_MIB, outcome["peak"]


def test_an_honest_table_of_many_rows_is_no_bomb(tmp_path: Path) -> None:
    """What is looked at is a ratio: thirty million pass as these do."""
    draw = np.random.default_rng(0)
    rows = 1_000_000
    events = pl.DataFrame(
        {
            "user_id": draw.zipf(1.3, rows) % 100_000,
            "item_id": draw.zipf(1.2, rows) % 20_000,
            "timestamp": np.sort(draw.integers(1_600_000_000, 1_700_000_000, rows)),
            "event_type": draw.choice(["view", "cart", "buy"], rows, p=[0.9, 0.07, 0.03]),
            "value": np.ones(rows),
        }
    ).with_columns(pl.col("user_id", "item_id").cast(pl.String))
    path = tmp_path / "events.parquet"
    events.write_parquet(path, compression="zstd")
    budget = Budget(LimitsConfig(max_bytes=8 << 30))
    budget.admit("events.parquet", path, "Parquet")
    held = budget._parquet("events.parquet", path)
    assert held / path.stat().st_size < LimitsConfig().max_expansion / 3
    assert read_table(path, "events").height == rows


def test_repetitive_files_below_the_floor_pass(tmp_path: Path) -> None:
    same = pl.DataFrame({"user_id": ["a"] * 500_000, "item_id": "b", "timestamp": 1})
    same.write_parquet(tmp_path / "e.parquet")
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress(b"user_id,item_id,timestamp\n" + b"a,b,1\n" * 500_000))
    for name in ("e.parquet", "e.csv.gz"):
        assert read_table(tmp_path / name, "events").height == 500_000


def test_a_setting_raises_each_limit(tmp_path: Path) -> None:
    names = ["user_id", "item_id", "timestamp", *(f"c{number}" for number in range(20))]
    (tmp_path / "e.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    pl.DataFrame({"user_id": ["a" * 2 * MIB], "item_id": "b", "timestamp": 1}).write_ndjson(tmp_path / "e.ndjson")
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.csv").write_text("user_id,item_id,timestamp\na,b,1\n")
    small = {"max_columns": 22, "max_bytes": 100, "max_row_bytes": MIB, "max_files": 2}
    cases = {"max_columns": "e.csv", "max_bytes": "e.csv", "max_row_bytes": "e.ndjson", "max_files": "folder"}
    for name, where in cases.items():
        limits = LimitsConfig(**{name: small[name]})
        with pytest.raises(SourceError, match=rf"raise {name} in limits of the ingest settings"):
            read_table(tmp_path / where, "events", limits=limits)
        read_table(tmp_path / where, "events", limits=LimitsConfig())
    with pytest.raises(SourceError, match="more than 2 files"):
        read_table(f"{folder}/*.csv", "events", limits=LimitsConfig(max_files=2))


def test_files_of_a_folder_are_counted_together(tmp_path: Path) -> None:
    for number in range(4):
        pl.DataFrame({"user_id": ["a"] * 1_000, "item_id": "b", "timestamp": 1}).write_parquet(
            tmp_path / f"{number}.parquet"
        )
    one = LimitsConfig(max_bytes=100_000)
    assert read_table(tmp_path / "0.parquet", "events", limits=one).height == 1_000
    with pytest.raises(SourceError, match="max_bytes"):
        read_table(tmp_path, "events", limits=one)


def test_a_frame_that_stands_for_more_is_refused() -> None:
    folded = pl.DataFrame(
        {"user_id": pl.Series(["x" * MIB]).gather(np.zeros(100, np.uint32)), "item_id": "i", "timestamp": 1}
    )
    with pytest.raises(SourceError, match="the frame of events would take 100 MiB"):
        read_table(folded, "events", limits=LimitsConfig(max_bytes=50 * MIB))


@pytest.mark.parametrize("magic", [b"\x78\x9c", b"\x78\x01", b"\x78\xda"])
def test_other_compressions_are_refused_by_name(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "e.csv").write_bytes(magic + b"\0" * 64)
    with pytest.raises(SourceError, match=r"e\.csv is compressed with zlib; gzip and zstd are read"):
        read_table(tmp_path / "e.csv", "events")


def test_texts_and_labels_are_looked_at_alike(tmp_path: Path) -> None:
    rows_of_parquet(tmp_path / "t.parquet")
    for read in (read_columns, read_labelled):
        with pytest.raises(SourceError, match=r"t\.parquet would take .* times its size"):
            read(tmp_path / "t.parquet")
    with (tmp_path / "t.txt").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    for read in (read_lines, read_labelled):
        with pytest.raises(SourceError, match=r"t\.txt would take .* or more in memory"):
            read(tmp_path / "t.txt")
