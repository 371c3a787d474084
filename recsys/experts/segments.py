"""A field of users or of events, such as an age or a device: which segment each of its values belongs to.

Texts and flags are segments themselves, numbers are parted at their quantiles. A segment of few users is none: what is
popular in it would be noise, and tell what somebody did.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_USERS = 5  # of a segment
MOST_BINS = 8  # of a number


@dataclass(frozen=True)
class Field:
    """What a value's segment is.

    Attributes:
        name: of the column.
        labels: of the segments, by number.
        cuts: (segments - 1,) ascending, of a number; a value belongs to the segment behind all cuts that it reaches.
            None: the labels are the values.
    """

    name: str
    labels: tuple[str, ...]
    cuts: tuple[float, ...] | None = None

    def segment(self, value: Any) -> int | None:
        """Return the number of a value's segment, or None where it is unknown."""
        if self.cuts is not None:
            fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            return int(np.searchsorted(self.cuts, value, side="right")) if fits else None
        label = _label(value)
        return self.labels.index(label) if label in self.labels else None


@dataclass(frozen=True)
class Codes:
    """A field of a table, and (rows,) numbers of segments, -1 where the value is unknown."""

    field: Field
    segments: NDArray[np.int32]


def read_field(
    name: str, values: Sequence[Any], places: NDArray[np.integer], users: NDArray[np.integer]
) -> Codes | None:
    """Return a field and the segment of each row, or None where it parts nobody.

    Args:
        name: of the column.
        values: its different values; None: not known.
        places: (rows,) where each row's value stands among them.
        users: (rows,) whose each row is, by number.
    """
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        numbers = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        field, segments = _of_numbers(name, numbers[places])
    else:
        labels = [_label(value) for value in values]
        found = tuple(sorted({label for label in labels if label is not None}))
        numbered = {label: number for number, label in enumerate(found)}
        field = Field(name, found)
        segments = np.array([-1 if label is None else numbered[label] for label in labels], dtype=np.int32)[places]
    field, segments = _without_small(field, segments, users)
    return Codes(field, segments) if len(field.labels) > 1 else None


def _of_numbers(name: str, numbers: NDArray[np.float64]) -> tuple[Field, NDArray[np.int32]]:
    finite = numbers[np.isfinite(numbers)]
    different = np.unique(finite)
    if len(different) <= MOST_BINS:
        cuts = different[1:]
    else:
        shares = np.arange(1, MOST_BINS) / MOST_BINS
        cuts = np.setdiff1d(np.quantile(finite, shares, method="closest_observation"), different[:1])
    segments = np.searchsorted(cuts, numbers, side="right").astype(np.int32)
    segments[~np.isfinite(numbers)] = -1
    labels = tuple(_span(numbers[segments == place]) for place in range(len(cuts) + 1))
    return Field(name, labels, tuple(cuts.tolist())), segments


def _without_small(
    field: Field, segments: NDArray[np.int32], users: NDArray[np.integer]
) -> tuple[Field, NDArray[np.int32]]:
    """Return a field without the texts of few users; a number's segments hold many by their making, or join none."""
    if not len(field.labels):
        return field, segments
    known = segments >= 0
    pairs = np.unique(np.stack([segments[known].astype(np.int64), users[known].astype(np.int64)]), axis=1)
    sizes = np.bincount(pairs[0], minlength=len(field.labels))
    if field.cuts is not None:
        return (field, segments) if sizes.min() >= LEAST_USERS else (Field(field.name, ()), segments)
    kept = np.flatnonzero(sizes >= LEAST_USERS)
    renumbered = np.full(len(sizes) + 1, -1, dtype=np.int32)  # the last one is that of -1
    renumbered[kept] = np.arange(len(kept))
    return Field(field.name, tuple(field.labels[place] for place in kept)), renumbered[segments]


def _label(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) and value.strip() else None


def _span(values: NDArray[np.float64]) -> str:
    least, most = f"{values.min():g}", f"{values.max():g}"
    return least if least == most else f"{least}–{most}"
