"""What a setting may be, declared in the annotation of its field: ``rank: Annotated[int, Bound(at_least=1)]``.

The same bound holds for what Python makes, for what a file says, and in Prefect's forms. pydantic takes it from here
without being imported: a bare GPU machine has none.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from recsys.artifacts import ID_DIGITS

Schema = dict[str, Any]  # of pydantic's core
LONGEST_TEXT = 4_096  # characters: no path is longer


@dataclass(frozen=True)
class Bound:
    """What a number may be. One that is not finite is never."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (self.at_least is None or number >= self.at_least)
            and (self.at_most is None or number <= self.at_most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        limits = {"at least": self.at_least, "at most": self.at_most, "above": self.above, "below": self.below}
        return " and ".join(f"{word} {limit:,}" for word, limit in limits.items() if limit is not None)

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Schema]) -> Schema:
        limits = {"ge": self.at_least, "le": self.at_most, "gt": self.above, "lt": self.below}
        strict = {"strict": True} | ({"allow_inf_nan": False} if source is float else {})
        return handler(source) | {key: limit for key, limit in limits.items() if limit is not None} | strict


@dataclass(frozen=True)
class Written:
    """How a text is written: by a regular expression that JSON Schema knows too, how long it may be, and in words."""

    pattern: str
    words: str
    longest: int = LONGEST_TEXT

    def holds(self, text: str) -> bool:
        return len(text) <= self.longest and re.search(self.pattern, text) is not None

    def __str__(self) -> str:
        return self.words

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Schema]) -> Schema:
        return handler(source) | {"pattern": self.pattern, "max_length": self.longest}


@dataclass(frozen=True)
class Distinct:
    """None twice, and so many at least."""

    at_least: int = 1

    def holds(self, values: tuple[Any, ...]) -> bool:
        return self.at_least <= len(values) == len(set(values))

    def __str__(self) -> str:
        return f"at least {self.at_least} and none twice" if self.at_least else "none twice"

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Schema]) -> Schema:
        return handler(source) | {"min_length": self.at_least}

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], Schema]) -> Schema:
        return handler(schema) | {"uniqueItems": True}


Count = Annotated[int, Bound(at_least=1)]
CountOrNone = Annotated[int, Bound(at_least=0)]
Finite = Annotated[float, Bound()]
Share = Annotated[float, Bound(at_least=0, at_most=1)]
Part = Annotated[float, Bound(above=0, below=1)]  # of a whole of which something must be left
NotNegative = Annotated[float, Bound(at_least=0)]
Positive = Annotated[float, Bound(above=0)]
Dropout = Annotated[float, Bound(at_least=0, below=1)]
Decay = Annotated[float, Bound(above=0, at_most=1)]
Tokens = Annotated[int, Bound(at_least=3)]  # what BERT puts around a text, and one of it
Seed = Annotated[int, Bound(at_least=0, at_most=2**32 - 1)]  # what NumPy, torch and Optuna all take
Name = Annotated[str, Written(r"\S", f"a text of up to {LONGEST_TEXT:,} characters that is not blank")]
Names = Annotated[tuple[Name, ...], Distinct()]
Id = Annotated[str, Written(rf"^[0-9a-f]{{{ID_DIGITS}}}$", f"an id of {ID_DIGITS} hexadecimal digits")]
