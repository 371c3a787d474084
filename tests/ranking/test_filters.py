"""Structured filters against the same condition in plain Python, and what they refuse."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.ranking.rules import MAX_DEPTH, FilterError, compile_filter

ITEMS = pl.DataFrame(
    {
        "year": [1990, 1995, None, 2001, 1995],
        "title": ["Toy Story", "a.b*", "100% (yes)", None, ""],
        "genres": [["Comedy", "Drama"], ["Comedy"], [], None, ["War"]],
        "price": [1.5, -2.0, 0.0, None, 3.25],
        "new": [True, False, None, True, False],
    }
)
ROWS = ITEMS.to_dicts()
VALUES = {
    "year": st.integers(1988, 2003),
    "price": st.sampled_from([1.5, -2.0, 0.0, 0, 3]),
    "title": st.sampled_from(["Toy Story", "a.b*", "", "Toy", "%"]),
    "new": st.booleans(),
}
ORDER = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}


def simple(field):
    ordered = st.tuples(st.sampled_from(sorted(ORDER)), VALUES[field])
    listed = st.tuples(st.sampled_from(["in", "not_in"]), st.lists(VALUES[field], max_size=3))
    return st.one_of(ordered, listed).map(lambda pair: {"field": field, pair[0]: pair[1]})


def depth(condition):
    inner = [*condition.get("all", []), *condition.get("any", [])] + ([condition["not"]] if "not" in condition else [])
    return 1 + max(map(depth, inner), default=0)


conditions = st.recursive(
    st.one_of(
        *[simple(field) for field in VALUES],
        st.builds(
            lambda field, value: {"field": field, "exists": value}, st.sampled_from(list(ROWS[0])), st.booleans()
        ),
        st.sampled_from(["Comedy", "War", "Nothing"]).map(lambda value: {"field": "genres", "contains": value}),
        st.sampled_from(["o", ".", "%", ""]).map(lambda value: {"field": "title", "contains": value}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda members: {"all": members}),
        st.lists(inner, min_size=1, max_size=3).map(lambda members: {"any": members}),
        inner.map(lambda member: {"not": member}),
    ),
    max_leaves=6,
).filter(lambda condition: depth(condition) < MAX_DEPTH)


def matches(condition, row):
    if "all" in condition:
        return all(matches(member, row) for member in condition["all"])
    if "any" in condition:
        return any(matches(member, row) for member in condition["any"])
    if "not" in condition:
        return not matches(condition["not"], row)
    ((operator, value),) = ((key, value) for key, value in condition.items() if key != "field")
    found = row[condition["field"]]
    if operator == "exists":
        return (found is not None) == value
    if found is None:
        return False
    if operator == "in":
        return found in value
    if operator == "not_in":
        return found not in value
    if operator == "contains":
        return value in found
    return ORDER[operator](found, value)


@given(conditions)
def test_a_filter_agrees_with_plain_python(condition):
    expression = compile_filter(condition, ITEMS.schema)
    assert ITEMS.select(expression.alias("found"))["found"].to_list() == [matches(condition, row) for row in ROWS]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"field": "colour", "eq": 1}, "no item field 'colour'"),
        ({"field": "year", "eq": "1990"}, "'year' is Int64; '1990' is no value"),
        ({"field": "year", "eq": True}, "no value of that type"),
        ({"field": "title", "gt": 3}, "no value of that type"),
        ({"field": "year", "like": "19"}, "no operator 'like'"),
        ({"field": "year"}, "has no operator"),
        ({"field": "year", "contains": 1}, "takes a string"),
        ({"field": "year", "in": 1990}, "takes a list"),
        ({"all": []}, "at least one filter"),
        ({"all": [{"field": "year", "eq": 1}], "any": []}, "stands alone"),
        ({}, "is an object"),
        ([], "is an object"),
        ({"field": ["year"], "eq": 1}, "no item field"),
        ({"field": "year", "exists": 1}, "true or false"),
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
