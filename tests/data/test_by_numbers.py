"""What is done by numbers in an ingest is what looking at each text would do: order, plain ids, rows that repeat."""

from datetime import UTC, datetime

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.data import sifting
from recsys.data.content import ORDER, canonical
from recsys.data.signal_kinds import distinct_kinds, further_kinds

LONG = "customer-of-the-shop-"
IDS = st.sampled_from(["", "a", "ab", "a\0", "é", "e\u0301", "中", LONG, f"{LONG}1", f"{LONG}12", f"{LONG}2", "😀" * 3])
TIMES = st.integers(-5, 5) | st.sampled_from([-(2**61), 2**61])  # so far apart that user and time are no one number
ROWS = st.lists(st.tuples(IDS, TIMES, st.sampled_from("xyz"), st.sampled_from(["view", "buy", None])))


@given(rows=ROWS, prefix=st.sampled_from(["", "u", LONG, "ü" * 9]))
@example(rows=[], prefix="")
@example(rows=[(f"{LONG}2", 0, "x", None), (f"{LONG}1", 1, "x", None), ("a", 0, "x", None)], prefix="")
def test_numbers_sort_events_as_their_keys_do(rows: list[tuple[str, int, str, str | None]], prefix: str) -> None:
    schema = {"user_id": pl.String, "timestamp": pl.Int64, "item_id": pl.String, "event_type": pl.String}
    events = pl.DataFrame(rows, schema, orient="row").unique(maintain_order=True)
    events = events.with_columns(
        pl.lit(prefix) + pl.col("user_id"), pl.col("timestamp").cast(pl.Datetime("us", "UTC")), value=pl.lit(1.5)
    )
    keys = [name for name in ORDER["events"] if name in events.columns]
    assert canonical(events, "events").equals(canonical(events.sort(keys, nulls_last=True), "events"))
    assert canonical(events, "events").select(keys).equals(events.sort(keys, nulls_last=True).select(keys))


VALUES = st.tuples(st.sampled_from(["view", "buy", None]), st.integers(0, 40) | st.none())


@given(parts=st.lists(st.lists(VALUES, max_size=60), min_size=1, max_size=4), typed=st.booleans())
def test_kinds_found_part_by_part_are_those_of_all(
    parts: list[list[tuple[str | None, int | None]]], typed: bool
) -> None:
    time = pl.lit(datetime(2024, 1, 1, tzinfo=UTC)).alias("timestamp")
    schema = {"event_type": pl.String, "value": pl.Int64}
    frames = [pl.DataFrame(part, schema, orient="row").with_columns(time) for part in parts]
    frames = frames if typed else [frame.drop("event_type") for frame in frames]
    found = None
    for frame in frames:
        found = further_kinds(found, frame)
    assert found is not None
    assert found.equals(distinct_kinds(pl.concat(frames)))


SOME_IDS = st.text(st.sampled_from("aZ0~! \t\x7f\x85é中"), max_size=3) | st.sampled_from(["x" * 256, "x" * 257, None])


@given(ids=st.lists(SOME_IDS, min_size=1, max_size=6))
def test_ids_that_need_no_second_look_would_pass_it(ids: list[str | None]) -> None:
    rows = pl.DataFrame({"user_id": ids}, {"user_id": pl.String})
    bad = rows.select(pl.any_horizontal(check.bad for check in sifting._id_checks("user_id"))).to_series()
    plain = sifting._plain(rows, "user_id")
    assert not (plain and bad.fill_null(True).any())
    assert plain or not all(one and one.isascii() and one.isalnum() and len(one) <= 256 for one in ids)


@given(numbers=st.lists(st.integers(0, 9)))
def test_hashes_that_come_twice_are_found(numbers: list[int]) -> None:
    hashes = pl.Series(numbers, dtype=pl.UInt64)
    assert sifting._twice(hashes).to_list() == hashes.is_duplicated().to_list()
