"""What the bodies of many routes share: ids, times, filters, bounds and the error.

A field that a request does not declare is refused, so that a misspelt option fails instead of doing nothing.
"""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    Strict,
    StringConstraints,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

MAX_ITEMS = 200  # in one answer
MAX_DEPTH = 300  # of a list, all of its pages together
MAX_FIELDS = 50
MAX_DAYS = 36_500
MAX_WINDOW = 3_660  # days
MAX_ROW = 50  # items of one row of a page

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def number(value: Any) -> Any:
    """Refuse what is no number, before pydantic reads it as one."""
    # Left alone, pydantic reads true as 1 and "5" as 5.
    if isinstance(value, bool | str):
        raise PydanticCustomError("number_wanted", "a number is wanted")
    return value


def _flag(value: Any) -> Any:
    # Left alone, pydantic reads 0 as false where nothing else may be.
    if not isinstance(value, bool):
        raise PydanticCustomError("bool_type", "Input should be a valid boolean")
    return value


def _written_out(value: Any) -> Any:
    # Left alone, pydantic reads numbers as seconds or milliseconds, whichever seems likelier.
    if not isinstance(value, str | datetime) or (isinstance(value, str) and not _RFC_3339.match(value)):
        raise PydanticCustomError("time_format", "write the time as in 2026-01-31T12:00:00Z")
    return value


# Ids become log lines, labels and text in databases: no control characters (C0, DEL, C1, line separators).
Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$"),
]
# In a path also without what uvicorn puts in the place of bytes that are no UTF-8: they must not name somebody else.
PathId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029\ufffd]+$"),
]
# bounds before the validator: behind it JSON Schema would lose them
Place = Annotated[int, Field(ge=1, le=MAX_ITEMS), BeforeValidator(number)]
RowLength = Annotated[int, Field(ge=1, le=MAX_ROW), BeforeValidator(number)]
WholeDays = Annotated[int, Field(ge=1, le=MAX_WINDOW), BeforeValidator(number)]
Number = Annotated[float, BeforeValidator(number)]
Days = Annotated[float, Field(gt=0, le=MAX_DAYS), BeforeValidator(number)]
Flag = Annotated[bool, Strict()]
Never = Annotated[Literal[False], BeforeValidator(_flag)]
Timestamp = Annotated[AwareDatetime, BeforeValidator(_written_out)]
# fail_fast: of many wrong ones the first says enough
Fields = Annotated[
    list[Id], Field(fail_fast=True, max_length=MAX_FIELDS, description="Item columns to return with every item.")
]
Count = Annotated[Place, Field(description="How many items to return at most.")]
Offset = Annotated[
    int,
    Field(
        ge=0,
        lt=MAX_DEPTH,
        description=f"How many items of the list stand on earlier pages; offset + k is at most {MAX_DEPTH}. Pages have "
        "the same request, k among it, but for this, and name the generation of the first one's answer: then no item "
        "is on two of them, while neither the history nor live items change. A page with fewer than k is the last.",
    ),
    BeforeValidator(number),
]
MAX_CONTEXT = 50  # fields


def by_name(schema: dict[str, Any]) -> None:
    """Describe a mapping from names by what generators know: pydantic gives names with a pattern patternProperties."""
    ((pattern, value),) = schema.pop("patternProperties").items()
    schema["propertyNames"] |= {"pattern": pattern}
    schema["additionalProperties"] = value


Scalar = (
    Annotated[str, StringConstraints(max_length=256)] | Flag | Annotated[int, Strict()] | Annotated[float, Strict()]
)
Context = Annotated[
    dict[Id, Scalar | None],
    Field(
        max_length=MAX_CONTEXT,
        json_schema_extra=by_name,
        description="The situation, such as a device or an hour, by names of columns that the ingest of the served "
        "snapshot declares; 422 for others. What had no part in the list stands in unused_context.",
        examples=[{"device": "phone", "hour": 20}],
    ),
]
Filter = Annotated[
    dict[str, Any] | None,
    Field(
        description='A condition on item columns: {"all": […]}, {"any": […]}, {"not": {…}}, or a field with one or '
        "more of eq, ne, in, not_in, gt, gte, lt, lte, contains (part of a text, member of a list), exists. Dates and "
        "times are text as in ISO 8601. A missing value matches only exists: false and what not turns round.",
        examples=[{"all": [{"field": "year", "gte": 1990}, {"not": {"field": "genres", "contains": "Horror"}}]}],
    ),
]


def left_out(schema: dict[str, Any]) -> None:
    """Describe a field of an answer that is left out where it says nothing, and is never null."""
    del schema["default"]  # which generators of clients take for a promise that it is there
    kinds = schema.pop("anyOf", [])
    schema.update(next((kind for kind in kinds if kind != {"type": "null"}), {}))


class Body(BaseModel):
    """What is sent. Its schema tells defaults in words.

    Generators of clients take ``default`` for a promise that the field is there, and would have callers give them all.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        for field in handler.resolve_ref_schema(schema).get("properties", {}).values():
            default = field.pop("default", None)
            if default not in (None, [], {}):
                told = f"{json.dumps(default)} where left out."
                field["description"] = f"{field['description']} {told}" if "description" in field else told
        return schema


class Request(Body):
    """The body of a request: nothing but what it declares."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_unknown(cls, given: Any) -> Any:
        # An error is made for each field that is unknown: one says enough, and 100,000 take seconds.
        known = cls.__pydantic_fields__
        if not isinstance(given, dict) or len(given) <= len(known):
            return given
        unknown = next((name for name in given if name not in known), None)
        return {name: value for name, value in given.items() if name in known or name == unknown}
