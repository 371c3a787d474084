"""Repeats: counted as one would by hand, whatever the order, and told only where there are any."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.ingest import ingest, validate
from recsys.data.repeats import MOST_TYPES, Repeats, measure_repeats
from recsys.data.sequences import Sequences
from recsys.data.snapshot import open_snapshot
from recsys.home import Home

START = datetime(2024, 1, 1, tzinfo=UTC)
ITEMS = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"]})


def table(rows):
    """Return events of (user, item, type), an hour apart."""
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "event_type"], orient="row")
    return frame.with_columns(timestamp=pl.Series([START + timedelta(hours=place) for place in range(len(rows))]))


TWICE = table([("u", "a", "view"), ("u", "a", "buy"), ("u", "b", "view"), ("v", "a", "buy"), ("v", "a", "buy")])


def test_the_share_is_of_events_that_follow_others():
    found = measure_repeats(TWICE)
    assert found.share == pytest.approx(2 / 3)
    assert found.by_type == {"buy": 1.0}
    assert "66.7% of the events" in found.sentence
    assert "(buy after buy 100.0%)" in found.sentence  # the one that follows a look is none of those


def test_of_many_types_the_most_frequent_are_told():
    rows = [("u", "a", f"{kind:03}") for kind in range(30) for _ in range(2 + (kind == 7))]
    found = measure_repeats(table(rows)).by_type
    assert list(found) == ["007", *(f"{kind:03}" for kind in range(MOST_TYPES) if kind != 7)]


@given(st.lists(st.tuples(st.sampled_from("uv"), st.sampled_from("abc"), st.sampled_from(["x", None])), max_size=12))
def test_the_same_as_by_hand_in_any_order(rows):
    had, again, following = {"u": [], "v": []}, 0, 0
    for user, item, _ in rows:
        following += bool(had[user])
        again += item in had[user]
        had[user].append(item)
    found = measure_repeats(table(rows).sample(fraction=1, shuffle=True, seed=1))
    assert (found.share if found else 0) == pytest.approx(again / max(1, following))
    sequences = Sequences.from_lists([["abc".index(item) for item in items] for items in had.values()])
    assert np.count_nonzero(sequences.seen_before()) == again
    assert sequences.repeats() == (following > 0 and again >= following / 10)


def test_a_snapshot_and_a_report_tell_of_repeats_where_there_are_any(tmp_path):
    home = Home(tmp_path)
    assert validate(TWICE, ITEMS).repeats == measure_repeats(TWICE)
    snapshot = open_snapshot(home, ingest(TWICE, ITEMS, home).id)
    assert snapshot.manifest.repeats == Repeats(pytest.approx(2 / 3), {"buy": 1.0})
    once = ingest(TWICE.unique("item_id"), ITEMS, home)
    assert once.manifest.repeats is None
    assert "repeats" not in (once.path / "manifest.json").read_text()
