"""Structured filters over item columns, typed against the catalogue.

A filter is ``{"all": [...]}``, ``{"any": [...]}``, ``{"not": {...}}`` or one condition such as
``{"field": "year", "gte": 1990}``; it compiles to a Polars expression, never to text.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import and_, ge, gt, le, lt, or_
from typing import Any

import polars as pl

from recsys.selection.values import INTEGERS, FilterError, comparable, in_words, literal

Condition = dict[str, Any]  # a filter as its caller wrote it, before ``compile_filter`` has looked at it
MAX_DEPTH = 8
MAX_CONDITIONS = 100
MAX_MEMBERS = 1_000
MAX_TEXT = 65_536  # characters of all texts in a filter
ORDER: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}
OPERATORS = ("eq", "ne", "in", "not_in", *ORDER, "contains", "exists")


def compile_filter(condition: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """Return a boolean expression over the catalogue's columns, without nulls.

    Where a field is missing (null, or a NaN), only ``exists: false`` and a ``not`` around a condition match; ``ne`` and
    ``not_in`` do not. Numbers compare by value, whatever their types; text by code points, case counting. ``contains``
    looks for a part of a text or for a member of a list. Dates and times are written as in ISO 8601; a time without a
    zone is UTC.

    Raises:
        FilterError: what is wrong with the filter, and what would be right.
    """
    return _compile(condition, schema, MAX_DEPTH, _Budget()).fill_null(False)


@dataclass
class _Budget:
    """What a filter may still hold."""

    conditions: int = MAX_CONDITIONS
    text: int = MAX_TEXT

    def take(self, condition: Any) -> None:
        """Count a filter itself, and what its own operators compare with; not the filters in it.

        Raises:
            FilterError: it is too much.
        """
        self.conditions -= 1
        if self.conditions < 0:
            raise FilterError(f"A filter may hold {MAX_CONDITIONS} conditions.")
        for value in condition.values() if isinstance(condition, Mapping) else ():
            texts = value if isinstance(value, list) else [value]
            self.text -= sum(len(text) for text in texts if isinstance(text, str))
        if self.text < 0:
            raise FilterError(f"The texts of a filter may have {MAX_TEXT:,} characters in all. Compare with fewer.")


def _compile(condition: Any, schema: Mapping[str, pl.DataType], depth: int, budget: _Budget) -> pl.Expr:
    if depth == 0:
        raise FilterError(f"A filter may nest {MAX_DEPTH} deep.")
    budget.take(condition)
    if not isinstance(condition, Mapping) or not condition:
        raise FilterError('A filter is an object such as {"field": "year", "gte": 1990} or {"all": [...]}.')
    for word, join in (("all", and_), ("any", or_)):
        if word in condition:
            members = condition[word]
            if len(condition) > 1 or not isinstance(members, list) or not members:
                raise FilterError(f'"{word}" stands alone and holds a list of at least one filter.')
            compiled = []
            for index, member in enumerate(members):
                with _at(word, index):
                    compiled.append(_compile(member, schema, depth - 1, budget))
            return reduce(join, compiled)
    if "not" in condition:
        if len(condition) > 1:
            raise FilterError('"not" stands alone and holds one filter.')
        with _at("not"):
            return ~_compile(condition["not"], schema, depth - 1, budget).fill_null(False)
    return _condition(condition, schema)


def _condition(condition: Mapping[str, Any], schema: Mapping[str, pl.DataType]) -> pl.Expr:
    name = condition.get("field")
    if not isinstance(name, str) or name not in schema:
        with _at("field"):
            raise FilterError(f"There is no item field {name!r:.80}; there are {', '.join(sorted(schema))}.")
    operators = [key for key in condition if key != "field"]
    if not operators:
        raise FilterError(f"The condition on {name!r} has no operator; use one of {', '.join(OPERATORS)}.")
    applied = []
    for operator in operators:
        with _at(operator):
            applied.append(_apply(name, schema[name], operator, condition[operator]))
    return reduce(and_, applied)


@contextmanager
def _at(*place: str | int) -> Iterator[None]:
    """Add a part of a filter to the places of the errors in it."""
    try:
        yield
    except FilterError as error:
        error.place = (*place, *error.place)
        raise


def _apply(name: str, kind: pl.DataType, operator: str, value: Any) -> pl.Expr:
    if operator not in OPERATORS:
        raise FilterError(f"There is no operator {operator!r:.80}; use one of {', '.join(OPERATORS)}.")
    column = comparable(name, kind)
    present = column.is_not_null()
    if operator == "exists":
        if not isinstance(value, bool):
            raise FilterError('"exists" takes true or false.')
        return present if value else ~present
    if operator == "contains":
        if isinstance(kind, pl.List):
            return present & _members(column, kind.inner, literal(name, kind.inner, value))  # type: ignore[arg-type]
        if kind != pl.String or not isinstance(value, str):
            raise FilterError(f'"contains" takes a text and a field of texts or a list; {name!r} is {in_words(kind)}.')
        return column.str.contains(literal(name, kind, value), literal=True)
    if operator in ("in", "not_in"):
        if not isinstance(value, list) or len(value) > MAX_MEMBERS:
            raise FilterError(f'"{operator}" takes a list of at most {MAX_MEMBERS:,} values.')
        found = _any_of(column, kind, [literal(name, kind, member) for member in value])
        return found if operator == "in" else present & ~found
    wanted = literal(name, kind, value)
    if operator in ("eq", "ne"):
        found = _any_of(column, kind, [wanted])
        return found if operator == "eq" else present & ~found
    return present & _ordered(column, kind, operator, wanted)


def _any_of(column: pl.Expr, kind: pl.DataType, values: list[Any]) -> pl.Expr:
    """Tell where a column equals one of some values; null stays null."""
    if kind.is_integer():
        values = [int(value) for value in values if _holds(kind, value)]
    if not values:
        return pl.when(column.is_not_null()).then(False)
    if len(values) == 1:
        return column == _typed(kind, values[0])
    return column.is_in(pl.Series(values, dtype=_kind_of(kind)).implode())


def _members(column: pl.Expr, kind: pl.DataType, value: Any) -> pl.Expr:
    """Tell which lists hold a value."""
    if kind.is_integer():
        if not _holds(kind, value):
            return pl.lit(False)
        value = int(value)
    return column.list.contains(_typed(kind, value))


def _ordered(column: pl.Expr, kind: pl.DataType, operator: str, value: Any) -> pl.Expr:
    """Compare by order; a whole-number column is compared with whole numbers, so that nothing is rounded."""
    if kind.is_integer():
        above = operator in ("gt", "gte")
        low, high = INTEGERS[type(kind)]
        if value < low or value > high:
            return pl.lit((value < low) == above)
        if value != int(value):  # between two whole numbers, of which neither is equal to it
            value, operator = (int(value // 1), "gt") if above else (-int(-value // 1), "lt")
        value = int(value)
    return ORDER[operator](column, _typed(kind, value))


def _holds(kind: pl.DataType, value: float) -> bool:
    low, high = INTEGERS[type(kind)]
    return low <= value <= high and value == int(value)


def _typed(kind: pl.DataType, value: Any) -> pl.Expr:
    return pl.lit(value, dtype=_kind_of(kind))


def _kind_of(kind: pl.DataType) -> pl.DataType | type[pl.DataType]:
    """Return the type in which ``comparable`` leaves a column."""
    if kind.is_float() or kind.is_decimal():
        return pl.Float64
    if isinstance(kind, pl.Datetime):
        return pl.Datetime("us")
    return pl.String if isinstance(kind, pl.Categorical | pl.Enum) else kind
