"""What a second objective costs: NDCG@10 and the mean value of the first ten items, over the dial of a request.

The dial adds units for each robust standard deviation of an item's number above the median, as ``recsys.selection``
does when it answers; here over held-out targets, with every item looked at.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import ModelConfig
from recsys.data.sequences import Scorer
from recsys.errors import SettingError
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.splits import Targets
from recsys.selection.values import in_words

WEIGHTS = tuple(tenth / 10 for tenth in range(11))
K = 10
SCORES_AT_ONCE = 2**22


class Point(TypedDict):
    """What one weight gives."""

    weight: float
    ndcg: float  # NDCG@10 of the targets
    mean: float | None  # of the values of the first ten items, over those that have one; None: none has


class TradeOff(TypedDict):
    """The curve of a field over the targets of a protocol."""

    field: str
    targets: int
    points: list[Point]


def objective_values(items: pl.DataFrame, config: ModelConfig) -> NDArray[np.float64] | None:
    """Return the values of the field that the settings name, (items,), NaN where there is none; None: they name none.

    Raises:
        SettingError: there is no such column, or it holds no numbers.
    """
    name = config.evaluation.objective
    if name is None:
        return None
    kind = items.schema.get(name)
    if kind is None:
        there = ", ".join(other for other, its in items.schema.items() if its.is_numeric()) or "none"
        raise SettingError(
            f"evaluation.objective is {name!r}; there is no such item column. Columns of numbers: {there}."
        )
    if not kind.is_numeric():
        raise SettingError(f"evaluation.objective is {name!r}, which is {in_words(kind)}; a number is wanted.")
    values = items[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def trade_off(
    field: str,
    scorer: Scorer,
    targets: Targets,
    values: NDArray[np.float64],
    added: NDArray[np.float32],
    weights: Sequence[float] = WEIGHTS,
) -> TradeOff:
    """Return what the weights of an objective give and cost.

    Args:
        field: the column.
        scorer: of the system.
        targets: n questions; what their histories hold is left out of the lists, unless they ask for it again.
        values: (items,) the column, NaN where an item has none.
        added: (items,) what is added to the scores at weight 1.
        weights: of the objective, ascending.
    """
    size = max(1, SCORES_AT_ONCE // len(values))
    ranks = np.full((len(weights), len(targets)), np.inf)
    sums, known = np.zeros(len(weights)), np.zeros(len(weights), dtype=np.int64)
    for start in range(0, len(targets), size):
        rows = np.arange(start, min(start + size, len(targets)))
        histories, own = targets.histories.take(rows), targets.items[rows]
        scores = scorer.score(histories)
        left_out = histories.left_out(targets.repeats)
        seen = left_out.rows(), left_out.items
        lost = np.zeros(len(rows), dtype=bool)
        lost[seen[0][seen[1] == own[seen[0]]]] = True
        for place, weight in enumerate(weights):
            moved = scores + np.float32(weight) * added
            moved[seen] = -np.inf
            target = moved[np.arange(len(rows)), own][:, None]
            # of equal ones half stand before it, as in the search of the blend
            before = (moved > target).sum(axis=1) + 0.5 * ((moved == target).sum(axis=1) - 1)
            ranks[place, rows] = np.where(lost, np.inf, 1 + before)
            most = min(K, moved.shape[1])
            best = np.argpartition(-moved, most - 1, axis=1)[:, :most]
            shown = values[best][np.isfinite(np.take_along_axis(moved, best, axis=1))]
            sums[place] += np.nansum(shown)
            known[place] += np.count_nonzero(~np.isnan(shown))
    points: list[Point] = [
        {
            "weight": weight,
            "ndcg": float(ndcg(ranks[place], K).mean()) if len(targets) else 0.0,
            "mean": float(sums[place] / known[place]) if known[place] else None,
        }
        for place, weight in enumerate(weights)
    ]
    return {"field": field, "targets": len(targets), "points": points}
