"""Structured filters against the same condition in plain Python, and what they refuse."""

import math
import operator
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.selection.filters import MAX_DEPTH, FilterError, compile_filter
from recsys.selection.values import in_words

ITEMS = pl.DataFrame(
    {
        "year": [1990, 1995, None, 2001, 1995],
        "title": ["Toy Story", "a.b*", "100% (yes)", None, ""],
        "genres": [["Comedy", "Drama"], ["Comedy"], [], None, ["War"]],
        "price": [1.5, -2.0, 0.0, None, 3.25],
        "new": [True, False, None, True, False],
        "day": [date(2024, 1, 1)] * 5,
        "time": [datetime(2024, 1, 1)] * 5,
    }
)
SCHEMA = {
    "year": pl.Int64,
    "count": pl.UInt64,
    "small": pl.Int8,
    "price": pl.Float64,
    "weight": pl.Float32,
    "title": pl.String,
    "new": pl.Boolean,
    "released": pl.Date,
    "updated": pl.Datetime("us"),
    "zoned": pl.Datetime("ms", "Europe/Berlin"),
    "genres": pl.List(pl.String),
    "sizes": pl.List(pl.Int64),
    "prices": pl.List(pl.Float64),
}
WORDS = st.sampled_from(["", "a", "ab", "a.b*", "100% (yes)", "ä", "A"])
FLOATS = st.one_of(st.sampled_from([0.0, -0.0, 0.1, 1.5, 2.0]), st.floats(-3, 3, width=32))
DAYS = st.dates(date(2024, 1, 1), date(2024, 1, 4))
TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2024, 1, 1, 0, 0, 2)).map(
    lambda time: time.replace(microsecond=time.microsecond // 500_000 * 500_000)
)
CELLS = {
    "year": st.one_of(st.integers(-2, 2), st.sampled_from([-(2**63), 2**63 - 1])),
    "count": st.one_of(st.integers(0, 2), st.just(2**64 - 1)),
    "small": st.one_of(st.integers(-2, 2), st.sampled_from([-128, 127])),
    "price": st.one_of(FLOATS, st.just(math.nan)),
    "weight": st.one_of(FLOATS, st.just(math.nan)),
    "title": WORDS,
    "new": st.booleans(),
    "released": DAYS,
    "updated": TIMES,
    "zoned": TIMES.map(lambda time: time.replace(tzinfo=UTC)),
    "genres": st.lists(st.none() | WORDS, max_size=3),
    "sizes": st.lists(st.none() | st.integers(-2, 2), max_size=3),
    "prices": st.lists(st.none() | FLOATS | st.just(math.nan), max_size=3),
}
NUMBERS = st.one_of(
    st.integers(-3, 3), FLOATS, st.sampled_from([127, 128, 2**63 - 1, 2**63, 2**64 - 1, -(10**40), 10**400])
)
ASKED = dict.fromkeys(["year", "count", "small", "price", "weight"], NUMBERS) | {
    "title": WORDS,
    "new": st.booleans(),
    "released": DAYS.map(date.isoformat),
    "updated": TIMES.map(datetime.isoformat),
    "zoned": TIMES.map(lambda time: time.replace(tzinfo=timezone(timedelta(hours=2))).isoformat()),
}
MEMBERS = {"genres": WORDS, "sizes": NUMBERS, "prices": NUMBERS, "title": WORDS}
ORDER = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le, "eq": operator.eq}


def one(kind, field, values):
    return values.map(lambda value: {"field": field, kind: value})


def depth(condition):
    inner = [*condition.get("all", []), *condition.get("any", [])] + ([condition["not"]] if "not" in condition else [])
    return 1 + max(map(depth, inner), default=0)


conditions = st.recursive(
    st.one_of(
        *[one(kind, field, ASKED[field]) for field in ASKED for kind in (*ORDER, "ne")],
        *[one(kind, field, st.lists(ASKED[field], max_size=3)) for field in ASKED for kind in ("in", "not_in")],
        *[one("contains", field, MEMBERS[field]) for field in MEMBERS],
        *[one("exists", field, st.booleans()) for field in SCHEMA],
        st.tuples(NUMBERS, NUMBERS).map(lambda pair: {"field": "price", "gte": pair[0], "lt": pair[1]}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda members: {"all": members}),
        st.lists(inner, min_size=1, max_size=3).map(lambda members: {"any": members}),
        inner.map(lambda member: {"not": member}),
    ),
    max_leaves=6,
).filter(lambda condition: depth(condition) < MAX_DEPTH)
catalogues = st.lists(st.fixed_dictionaries({name: st.none() | cells for name, cells in CELLS.items()}), max_size=8)


def plain(value):
    """Written differently, compared alike: text that is a date or a time as what it says; NaN is missing."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, str) and value.startswith("2024-"):
        value = datetime.fromisoformat(value) if "T" in value else date.fromisoformat(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def matches(condition, row):
    if "all" in condition:
        return all(matches(member, row) for member in condition["all"])
    if "any" in condition:
        return any(matches(member, row) for member in condition["any"])
    if "not" in condition:
        return not matches(condition["not"], row)
    found = plain(row[condition["field"]])
    return all(holds(kind, found, value) for kind, value in condition.items() if kind != "field")


def holds(kind, found, value):
    if kind == "exists":
        return (found is not None) == value
    if found is None:
        return False
    if kind in ("in", "not_in"):
        return (found in [plain(member) for member in value]) == (kind == "in")
    if kind == "contains":
        return value in found
    if kind == "ne":
        return found != plain(value)
    return ORDER[kind](found, plain(value))


@settings(max_examples=300)
@given(catalogues, conditions)
def test_a_filter_agrees_with_plain_python(rows, condition):
    items = pl.DataFrame(rows, schema=SCHEMA)
    expression = compile_filter(condition, items.schema)
    found = items.select(expression.alias("found"))["found"].to_list()
    assert found == [matches(condition, row) for row in items.to_dicts()]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"field": "colour", "eq": 1}, "no item field 'colour'"),
        ({"field": "year", "eq": "1990"}, "'year' is a whole number; '1990' is no value"),
        ({"field": "year", "eq": True}, "no value of that type"),
        ({"field": "title", "gt": 3}, "no value of that type"),
        ({"field": "year", "like": "19"}, "no operator 'like'"),
        ({"field": "year"}, "has no operator"),
        ({"field": "year", "contains": 1}, "takes a text and a field of texts or a list; 'year' is a whole number"),
        ({"field": "year", "in": 1990}, "takes a list"),
        ({"all": []}, "at least one filter"),
        ({"all": [{"field": "year", "eq": 1}], "any": []}, "stands alone"),
        ({}, "is an object"),
        ([], "is an object"),
        ({"field": ["year"], "eq": 1}, "no item field"),
        ({"field": "year", "exists": 1}, "true or false"),
        ({"field": "genres", "eq": "War"}, "'genres' is a list of texts, which cannot be compared"),
        ({"field": "genres", "contains": 1}, "no value of that type"),
        ({"field": "price", "gt": math.nan}, "no value of that type"),
        ({"field": "price", "gt": math.inf}, "no value of that type"),
        ({"field": "title", "eq": "\ud800"}, "no value of that type"),
        ({"field": "title", "contains": "\ud800"}, "no value of that type"),
        ({"field": "title", "in": [None]}, "no value of that type"),
        ({"field": "day", "eq": "yesterday"}, "Write it like 2026-01-31"),
        ({"field": "time", "gt": "0001-01-01T00:00:00+14:00"}, "Write it like 2026-01-31T12:00:00Z"),
        ({"field": "year", "in": [1] * 1001}, "at most 1,000"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(condition, message):
    with pytest.raises(FilterError, match=message):
        compile_filter(condition, ITEMS.schema)


def test_a_filter_may_not_nest_without_end():
    condition = {"field": "year", "eq": 1990}
    for _ in range(MAX_DEPTH):
        condition = {"not": condition}
    with pytest.raises(FilterError, match="nest"):
        compile_filter(condition, ITEMS.schema)


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        ({"field": "year", "gte": "1990"}, ("gte",)),
        ({"field": "colour", "eq": 1}, ("field",)),
        ({"all": [{"field": "year", "eq": 1}, {"not": {"any": [{"field": "year", "like": 1}]}}]},
         ("all", 1, "not", "any", 0, "like")),
        ({"all": [{"field": "year", "eq": 1}, {}]}, ("all", 1)),
        ({}, ()),
    ],
)  # fmt: skip
def test_an_error_tells_where_in_the_filter_it_is(condition, place):
    with pytest.raises(FilterError) as refused:
        compile_filter(condition, ITEMS.schema)
    assert refused.value.place == place


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (pl.String, "a text"),
        (pl.Categorical, "a text"),
        (pl.Int8, "a whole number"),
        (pl.UInt64, "a whole number"),
        (pl.Float32, "a number"),
        (pl.Decimal(10, 2), "a number"),
        (pl.Boolean, "true or false"),
        (pl.Date, "a date"),
        (pl.Datetime("us", "UTC"), "a date and time"),
        (pl.List(pl.String), "a list of texts"),
        (pl.List(pl.Int64), "a list of whole numbers"),
        (pl.List(pl.List(pl.Boolean)), "a list of lists"),
        (pl.Struct({"x": pl.Int64}), "something that JSON has no word for"),
    ],
)
def test_types_are_told_in_words(kind, words):
    assert in_words(pl.DataFrame(schema={"column": kind}).schema["column"]) == words
