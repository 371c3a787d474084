"""Reciprocal rank fusion: several lists of the same items into one, by their places alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RANK_CONSTANT = 60  # as in the paper; larger values make the first places weigh less


@dataclass(frozen=True)
class Fused:
    """An item of the fused list: its row, its score, and the lists that hold it, by name."""

    row: int
    score: float
    found_by: tuple[str, ...]


def fuse(lists: Mapping[str, Sequence[int]]) -> list[Fused]:
    """Return all rows of some ranked lists by ``sum(1 / (60 + place))``, places from 1; ties by row.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods"
    (2009).
    """
    scores: dict[int, float] = {}
    found_by: dict[int, list[str]] = {}
    for name, rows in lists.items():
        for place, row in enumerate(rows, start=1):
            scores[row] = scores.get(row, 0.0) + 1 / (RANK_CONSTANT + place)
            found_by.setdefault(row, []).append(name)
    order = sorted(scores, key=lambda row: (-scores[row], row))
    return [Fused(row, scores[row], tuple(found_by[row])) for row in order]
