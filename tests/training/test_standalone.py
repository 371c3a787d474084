"""The stand-alone reader gives what the ingest gives: the same histories, the same texts; bad files are named."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from synthetic import Dataset

from recsys.config import IngestConfig, TextConfig
from recsys.data.ingest import ingest
from recsys.data.text import item_texts
from recsys.home import Home
from recsys.training.standalone import read_behaviour


def test_two_files_are_read_as_the_ingest_reads_them(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(30)],
            "title": [f"Film  {number}" for number in range(30)],
            "code": [f"B00{number:04}" for number in range(30)],
            "maker": [None if number % 7 == 0 else f"Maker {number % 5}" for number in range(30)],
            "kind_of": [f"A rather long kind {number % 3}" for number in range(30)],
        }
    ).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame(
        {
            "user_id": [f"u{number % 9}" for number in range(90)],
            "item_id": [f"i{number}" for number in random.integers(30, size=90)],
            "timestamp": [1_700_000_000 + int(number) for number in random.integers(5, size=90)],
            "position": random.permutation(90),
        }
    ).with_columns(pl.from_epoch("timestamp").dt.replace_time_zone("UTC")).write_parquet(tmp_path / "events.parquet")
    snapshot = ingest(
        str(tmp_path / "events.parquet"), str(tmp_path / "items.parquet"), Home(tmp_path / "home"), IngestConfig()
    )
    sequences, ids, texts = read_behaviour(tmp_path / "events.parquet", tmp_path / "items.parquet")
    wanted = snapshot.sequences()
    np.testing.assert_array_equal(sequences.items, wanted.items)
    np.testing.assert_array_equal(sequences.offsets, wanted.offsets)
    assert ids == snapshot.item_ids()
    assert texts == item_texts(snapshot.items(), TextConfig())
    assert texts[1] == "Film 1 | maker: Maker 1 | kind of: A rather long kind 1"


def test_what_is_missing_is_named(dataset: Dataset, tmp_path: Path) -> None:
    items = pl.read_parquet(dataset.items)
    items.drop("title").write_parquet(tmp_path / "untitled.parquet")
    with pytest.raises(ValueError, match=r"untitled\.parquet has no column 'title'"):
        read_behaviour(Path(dataset.events), tmp_path / "untitled.parquet")
    items.filter(pl.col("item_id") != "i001").write_parquet(tmp_path / "fewer.parquet")
    with pytest.raises(ValueError, match="names the item 'i001'"):
        read_behaviour(Path(dataset.events), tmp_path / "fewer.parquet")
