"""What is shown of an item can be put back, whatever its columns hold, and is shown the same again."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import series

from recsys.artifacts import canonical_json
from recsys.data.ingest import ingest
from recsys.database.live_items import LiveItem
from recsys.home import Home
from recsys.serving.live_columns import ItemError, check_columns, live_frame
from recsys_client.schemas.items import ItemAnswer, PutItemRequest

SCALARS: list[pl.DataType] = [
    *(
        pl.String(),
        pl.Boolean(),
        pl.Date(),
        pl.Time(),
        pl.Duration("us"),
        pl.Duration("ns"),
        pl.Float32(),
        pl.Float64(),
    ),
    *(pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64()),
    *(pl.Datetime(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "UTC", "Europe/Berlin")),
]
KINDS = [
    *SCALARS,
    *(pl.List(kind) for kind in SCALARS),
    *(pl.List(pl.List(pl.Int16())), pl.Array(pl.Float64(), 2), pl.Array(pl.Date(), 1)),
]


def shown(items: pl.DataFrame, row: int = 0) -> dict[str, Any]:
    """Return an item's columns as GET shows them."""
    fields = {name: value for name, value in items.row(row, named=True).items() if name != "item_id"}
    answer = ItemAnswer(
        item_id="x", fields=fields, source="catalogue", version=None, changed_at=None, recommendable=True
    )
    found: dict[str, Any] = json.loads(answer.model_dump_json())["fields"]
    return found


def put_back(fields: dict[str, Any], items: pl.DataFrame) -> pl.DataFrame:
    """Return the row that PUT makes of columns."""
    columns = PutItemRequest.model_validate_json(json.dumps(fields)).model_dump(exclude_unset=True)
    assert columns == fields
    check_columns(columns, items.schema)
    stored = json.loads(canonical_json(columns))
    assert stored == fields
    return live_frame([LiveItem("x", 1, stored)], items.schema)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_shown_can_be_put_back(kind: pl.DataType, data: st.DataObject) -> None:
    drawn = series(dtype=kind, min_size=1, max_size=1, allow_null=True, allow_nan=False, allow_infinity=False)
    values = data.draw(drawn).alias("column")
    try:
        cells = values.explode().to_list() if isinstance(kind, pl.List) else values.to_list()
    except (OverflowError, ValueError):  # a year that Python has no date for
        return
    moments = [cell for cell in cells if isinstance(cell, datetime)]
    # before 1893 Berlin was 53 minutes and 28 seconds ahead, and JSON tells no seconds of it
    assume(not any((one.utcoffset() or timedelta()).seconds % 60 for one in moments))
    assume(not any(one.year == 1677 for one in moments))  # of what nanoseconds hold the very first is rounded
    items = pl.DataFrame({"item_id": ["x"], "title": ["A title"]}).with_columns(values)
    again = put_back(shown(items), items)
    assert again.schema == items.schema
    assert shown(again) == shown(items)


def test_all_that_an_ingest_takes_can_be_put_back(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 31, 12, 30, 1, 250_000, tzinfo=UTC)
    columns = {
        "available": [None, False],
        "updated_at": [moment, None],
        "day": [date(2026, 1, 31), None],
        "clock": [time(12, 30, 1, 250_000), None],
        "length": [timedelta(days=-1, hours=3, microseconds=5), None],
        "stamps": [[moment, None], []],
        "days": [[date(2026, 1, 31), None], None],
        "tags": [["a", None, ""], []],
        "ratings": [[1.5, None, float("nan")], [2]],
        "price": [Decimal("12.50"), None],
        "mood": pl.Series(["calm", None], dtype=pl.Categorical),
        "size": pl.Series(["S", "M"], dtype=pl.Enum(["S", "M"])),
        "corner": pl.Series([[0.5, 1.5], None], dtype=pl.Array(pl.Float32, 2)),
        "large": pl.Series([2**64 - 1, 0], dtype=pl.UInt64),
        "largest": [1.7e308, -1.7e308],
        "empty": pl.Series([None, None]),
    }
    table = pl.DataFrame({"item_id": ["x", "y"], "title": ["A title", "Another"], **columns}, strict=False)
    events = pl.DataFrame({"user_id": ["u"], "item_id": ["x"], "timestamp": [moment]})
    items = ingest(events, table, Home.of(tmp_path)).items()
    for row in range(2):
        assert shown(put_back(shown(items, row), items)) == shown(items, row)


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (pl.Date(), "2026-02-30", "a date such as 2026-01-31"),
        (pl.Time(), "12:30:00Z", "a time of day such as 12:30:00"),
        (pl.Duration("us"), "P", "a duration such as P1DT2H30M"),
        (pl.Duration("us"), "PT1Y", "a duration"),
        (pl.Datetime("ns"), "9999-01-01", "a date and time"),
        (pl.List(pl.Date()), ["2026-01-31", "soon"], "a list of dates of at most 1,000 members"),
        (pl.Array(pl.Float64(), 2), [1.0], "a list of numbers of 2 members"),
        (pl.UInt64(), 2**64, "from 0 to 18,446,744,073,709,551,615"),
        (pl.Float64(), 10**400, "a number"),
    ],
)
def test_what_no_column_holds_is_refused_in_words(kind: pl.DataType, value: Any, wanted: str) -> None:
    with pytest.raises(ItemError, match=wanted):
        check_columns({"title": "A title", "column": value}, {"title": pl.String(), "column": kind})
    frame = live_frame([LiveItem("x", 1, {"column": value})], {"column": kind})
    assert frame["column"].to_list() == [None]
