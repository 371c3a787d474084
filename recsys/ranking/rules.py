"""Business rules over candidates: structured filters on item columns, typed against the catalogue.

A filter is ``{"all": [...]}``, ``{"any": [...]}``, ``{"not": {...}}`` or one condition such as
``{"field": "year", "gte": 1990}``; it compiles to a Polars expression, never to text.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from operator import and_, or_
from typing import Any

import polars as pl

MAX_DEPTH = 8
MAX_CONDITIONS = 100
COMPARISONS: dict[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "eq": lambda column, value: column.eq_missing(value),
    "ne": lambda column, value: column.ne_missing(value),
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
}
OPERATORS = (*COMPARISONS, "in", "not_in", "contains", "exists")


class FilterError(ValueError):
    """A filter names a field that does not exist, or an operator or a value that does not fit it."""


def compile_filter(condition: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """Return a boolean expression over the catalogue's columns; rows with a null in a compared field do not match.

    Raises:
        FilterError: what is wrong with the filter, and what would be right.
    """
    budget = [MAX_CONDITIONS]
    return _compile(condition, schema, MAX_DEPTH, budget).fill_null(False)


def _compile(condition: Any, schema: Mapping[str, pl.DataType], depth: int, budget: list[int]) -> pl.Expr:
    budget[0] -= 1
    if depth == 0 or budget[0] < 0:
        raise FilterError(f"A filter may nest {MAX_DEPTH} deep and hold {MAX_CONDITIONS} conditions.")
    if not isinstance(condition, Mapping) or not condition:
        raise FilterError('A filter is an object such as {"field": "year", "gte": 1990} or {"all": [...]}.')
    for word, join in (("all", and_), ("any", or_)):
        if word in condition:
            members = condition[word]
            if len(condition) > 1 or not isinstance(members, list) or not members:
                raise FilterError(f'"{word}" stands alone and holds a list of at least one filter.')
            return reduce(join, (_compile(member, schema, depth - 1, budget) for member in members))
    if "not" in condition:
        if len(condition) > 1:
            raise FilterError('"not" stands alone and holds one filter.')
        return ~_compile(condition["not"], schema, depth - 1, budget).fill_null(False)
    return _condition(condition, schema)


def _condition(condition: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> pl.Expr:
    name = condition.get("field")
    if not isinstance(name, str) or name not in schema:
        raise FilterError(f"There is no item field {name!r}; there are {', '.join(sorted(schema))}.")
    operators = [key for key in condition if key != "field"]
    if not operators:
        raise FilterError(f"The condition on {name!r} has no operator; use one of {', '.join(OPERATORS)}.")
    return reduce(and_, (_apply(name, schema[name], operator, condition[operator]) for operator in operators))


def _apply(name: str, kind: pl.DataType, operator: str, value: Any) -> pl.Expr:
    column = pl.col(name)
    if operator == "exists":
        if not isinstance(value, bool):
            raise FilterError('"exists" takes true or false.')
        return column.is_not_null() if value else column.is_null()
    if operator in ("in", "not_in"):
        if not isinstance(value, list) or len(value) > 1000:
            raise FilterError(f'"{operator}" takes a list of at most 1,000 values.')
        for member in value:
            _check_value(name, kind, member)
        matches = column.is_in(pl.Series(value, dtype=kind).implode() if value else pl.Series([], dtype=kind).implode())
        return matches if operator == "in" else column.is_not_null() & ~matches
    if operator == "contains":
        if isinstance(kind, pl.List):
            _check_value(name, kind.inner, value)  # type: ignore[arg-type]
            return column.list.contains(value)
        if kind != pl.String or not isinstance(value, str):
            raise FilterError(f'"contains" takes a string and a field of text or a list; {name!r} is {kind}.')
        return column.str.contains(value, literal=True)
    if operator not in COMPARISONS:
        raise FilterError(f"There is no operator {operator!r}; use one of {', '.join(OPERATORS)}.")
    _check_value(name, kind, value)
    return column.is_not_null() & COMPARISONS[operator](
        column, pl.lit(value, dtype=kind if kind == pl.String else None)
    )


def _check_value(name: str, kind: pl.DataType, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = (
        (kind == pl.String and isinstance(value, str))
        or (kind == pl.Boolean and isinstance(value, bool))
        or (kind.is_numeric() and number)
    )
    if not fits:
        raise FilterError(f"{name!r} is {kind}; {value!r} is no value of that type.")
