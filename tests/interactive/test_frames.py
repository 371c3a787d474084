"""Tables as they come: whatever speaks Arrow gives the snapshot that the files give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from synthetic import Dataset

import recsys
from recsys.config import IngestConfig
from recsys.data.quality import QualityError
from recsys.data.sources import SourceError
from recsys.interactive.frames import as_ids
from recsys.serving.answers import Recommendation
from recsys.serving.frames import ranked


class Foreign:
    """A table of a library that polars has never heard of."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


FORMS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "lazy": lambda frame: frame.lazy(),
    "pyarrow": lambda frame: frame.to_arrow(),
    "another": lambda frame: Foreign(frame.to_arrow()),
    "pandas": lambda frame: frame.to_pandas(),
}


@pytest.mark.parametrize("form", FORMS)
def test_frames_give_the_snapshot_of_the_files(dataset: Dataset, tmp_path: Path, form: str) -> None:
    frames = [FORMS[form](pl.read_parquet(path)) for path in (dataset.events, dataset.items)]
    snapshot = recsys.ingest(*frames, home=tmp_path)
    assert snapshot.id == recsys.ingest(dataset.events, dataset.items, home=tmp_path).id
    assert snapshot.path.is_relative_to(tmp_path)


def test_a_value_that_pandas_has_not_is_none(dataset: Dataset, tmp_path: Path) -> None:
    items = pl.read_parquet(dataset.items).with_columns(pl.when(pl.col("year") > 1990).then("year"), note=None)
    kept = recsys.ingest(dataset.events, items.to_pandas(), home=tmp_path).items()
    assert kept["year"].null_count() == items["year"].null_count() > 0
    assert kept["note"].null_count() == len(items)


def test_what_is_wrong_with_a_frame_is_said_with_its_row(dataset: Dataset, tmp_path: Path) -> None:
    events, items = pl.read_parquet(dataset.events), pl.read_parquet(dataset.items)
    with pytest.raises(SourceError, match=r"The events are builtins's list\. Give a path, or a frame of Polars"):
        recsys.ingest([1, 2], items, home=tmp_path)
    with pytest.raises(SourceError, match=r"the frame of events has no column 'user_id'.*event_columns="):
        recsys.ingest(events.rename({"user_id": "who"}), items, home=tmp_path)
    with pytest.raises(SourceError, match="the frame of items holds no rows of items"):
        recsys.ingest(events, items.clear(), home=tmp_path)
    bad = events.with_columns(pl.when(pl.int_range(pl.len()) != 4).then("item_id").alias("item_id"))
    with pytest.raises(QualityError, match=r"the frame of events, row 5, column item_id"):
        recsys.ingest(bad, items, IngestConfig(max_quarantined_share=0.0), home=tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))
    renamed = recsys.ingest(
        events.rename({"user_id": "who"}), items, IngestConfig(event_columns={"user_id": "who"}), home=tmp_path
    )
    assert renamed.id == recsys.ingest(events, items, home=tmp_path).id


def test_ids_of_any_kind_are_strings_once_each() -> None:
    assert as_ids("u1") == as_ids(["u1", "u1"]) == as_ids(pl.Series(["u1"])) == ["u1"]
    assert as_ids(7) == as_ids(pl.Series([7, 7])) == ["7"]
    assert as_ids([]) == []


def test_a_field_whose_name_is_taken_is_told_apart_and_types_stay() -> None:
    items = pl.DataFrame({"item_id": ["a"], "score": [0.5], "genres": [["x"]], "title": ["A"]})
    one = Recommendation("a", 2.0, (), {"score": 0.5, "genres": ["x"], "title": "A"})
    fields = ("score", "genres", "item_id", "title")
    full, empty = (ranked("user_id", {"u": found}, items, fields) for found in ([one], []))
    assert full.rows() == [("u", 1, "a", 2.0, 0.5, ["x"], "A")]
    assert full.columns == ["user_id", "rank", "item_id", "score", "item_score", "genres", "title"]
    assert empty.is_empty()
    assert empty.schema == full.schema
