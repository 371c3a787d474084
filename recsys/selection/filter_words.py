"""A filter as one reads it in a sentence: "genres contains Comedy and year at least 1990"."""

from collections.abc import Mapping
from typing import Any

LONGEST = 100  # characters
OPERATORS = {
    "eq": "is", "ne": "is not", "in": "is one of", "not_in": "is none of", "gt": "above", "gte": "at least",
    "lt": "below", "lte": "at most", "contains": "contains",
}  # fmt: skip


def words_of(condition: Mapping[str, Any]) -> str:
    """Return a condition that fits its catalogue in words, cut where it is long."""
    words = _words(condition)
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 1]}…"


def _words(condition: Mapping[str, Any], inside: bool = False) -> str:
    for word, join in (("all", " and "), ("any", " or ")):
        if word in condition:
            members = condition[word]
            joined = join.join(_words(member, len(members) > 1) for member in members)
            return f"({joined})" if inside and len(members) > 1 else joined
    if "not" in condition:
        return f"not {_words(condition['not'], True)}"
    return " and ".join(_one(condition["field"], name, value) for name, value in condition.items() if name != "field")


def _one(field: str, operator: str, value: Any) -> str:
    if operator == "exists":
        return f"{field} is {'known' if value else 'missing'}"
    if isinstance(value, list):
        return f"{field} {OPERATORS[operator]} {', '.join(map(_value, value))}"
    return f"{field} {OPERATORS[operator]} {_value(value)}"


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
