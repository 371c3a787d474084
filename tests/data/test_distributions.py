"""Distributions of a snapshot: every event, user and item is in one class, and what is new since another is counted."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as some

from recsys.data.distributions import MOST_ROWS, Change, changes, distributions, doubling, over_time, previous
from recsys.data.snapshot import Snapshot, list_snapshots, write_snapshot
from recsys.home import Home

START = datetime(2024, 1, 1, 12, tzinfo=UTC)


def events(rows: list[tuple[str, str, int]], types: list[str | None] | None = None) -> pl.DataFrame:
    """Return events of user, item and day."""
    table = {
        "user_id": [user for user, _, _ in rows],
        "item_id": [item for _, item, _ in rows],
        "timestamp": [START + timedelta(days=day) for _, _, day in rows],
    }
    frame = pl.DataFrame(table, schema_overrides={"timestamp": pl.Datetime("us", "UTC")})
    return frame if types is None else frame.with_columns(pl.Series("event_type", types))


def snapshot(home: Home, rows: list[tuple[str, str, int]], types: list[str | None] | None = None) -> Snapshot:
    items = sorted({item for _, item, _ in rows} | {"unsold"})
    catalogue = pl.DataFrame({"item_id": items, "title": [f"The {item}" for item in items]})
    return write_snapshot(home, events(rows, types), catalogue, pl.DataFrame())


@given(some.lists(some.integers(0, 10**9), max_size=50))
def test_each_number_is_in_the_class_that_says_so(numbers: list[int]) -> None:
    counted = doubling(pl.Series(numbers, dtype=pl.Int64))
    assert sum(counted.values()) == len(numbers)
    bounds = [tuple(int(end.replace(",", "")) for end in name.split("–")) for name in counted]
    assert all(later[0] == earlier[-1] + 1 for earlier, later in pairwise(bounds))
    for (low, *high), count in zip(bounds, counted.values(), strict=True):
        assert count == sum(low <= number <= (high or [low])[0] for number in numbers)


@pytest.mark.parametrize(
    ("days", "unit", "first", "last"),
    [
        (30, "day", "2024-01-01", "2024-01-31"),
        (31, "week", "2024-01-01", "2024-01-29"),
        (400, "month", "2024-01", "2025-02"),
        (2_000, "year", "2024", "2029"),
    ],
)
def test_time_is_parted_by_the_finest_unit_of_few_rows(days: int, unit: str, first: str, last: str) -> None:
    (found,) = over_time(events([("u", "i", 0), ("u", "j", days), ("v", "j", days)]))
    assert found.by == unit
    assert len(found.counts) <= MOST_ROWS
    assert (next(iter(found.counts)), [*found.counts][-1]) == (first, last)
    assert (found.counts[first], found.counts[last], sum(found.counts.values())) == (1, 2, 3)


def test_made_up_times_are_no_part_of_it() -> None:
    rows = events([("u", "i", 0), ("u", "j", 9_000)]).with_columns(timestamp_known=pl.Series([True, False]))
    (found,) = over_time(rows)
    assert found.counts == {"2024-01-01": 1}
    assert over_time(rows.with_columns(timestamp_known=False)) == []


def test_every_event_user_and_item_is_counted_once(tmp_path: Path) -> None:
    rows = [("u", "a", 0), ("u", "b", 1), ("u", "c", 2), ("v", "a", 3)]
    found = {(one.what, one.by): one for one in distributions(snapshot(Home(tmp_path), rows, ["x", "x", None, "y"]))}
    assert found["users", "events"].counts == {"1": 1, "2": 0, "3": 1}
    assert found["items", "events"].counts == {"0": 1, "1": 2, "2": 1}
    assert found["items", "characters of text"].counts == {"4–5": 3, "6–7": 0, "8–11": 1}
    assert found["events", "type"].counts == {"x": 2, "(none)": 1, "y": 1}
    assert found["events", "type"].shares == {"x": 0.5, "(none)": 0.25, "y": 0.25}


def test_what_is_other_than_in_the_last_snapshot_is_counted(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = snapshot(home, [("u", "a", 0), ("v", "b", 1)])
    second = snapshot(home, [("u", "a", 0), ("w", "c", 1), ("w", "d", 2)])
    assert previous([], first) is None
    assert [previous(list_snapshots(home), one) for one in (first, second)] == [None, list_snapshots(home)[0]]
    assert changes(first, second) == [
        Change("events", 2, 3),
        Change("users", 2, 2),
        Change("users that the other has not", 1, 1),
        Change("items", 3, 4),
        Change("items that the other has not", 1, 2),
        Change("rows set aside", 0, 0),
    ]
