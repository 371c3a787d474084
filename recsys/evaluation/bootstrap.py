"""How sure a mean, or a difference of two means over the same users, is: percentile bootstrap (Efron 1979).

Drawing n users with replacement only matters through how often each distinct value is drawn, and these counts are
multinomial. Metrics of a rank have few distinct values, so thousands of samples take milliseconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

DRAWS_AT_ONCE = 4_000_000  # counts held in memory, int64


@dataclass(frozen=True)
class Mean:
    """A mean with its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Interval:
    """Ours minus theirs and ours over theirs, with intervals; ratios are None where the mean of theirs is 0."""

    mean_difference: float
    low: float
    high: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None

    def to_dict(self) -> "IntervalFields":
        """Return the fields as JSON values."""
        return {
            "mean_difference": self.mean_difference,
            "low": self.low,
            "high": self.high,
            "ratio": self.ratio,
            "ratio_low": self.ratio_low,
            "ratio_high": self.ratio_high,
        }


class IntervalFields(TypedDict):
    """An ``Interval`` as JSON values."""

    mean_difference: float
    low: float
    high: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None


def bootstrap_mean(values: NDArray[np.floating], samples: int = 2_000, seed: int = 0, *, level: float = 0.95) -> Mean:
    """Return the mean of some values, one a user, with its interval.

    Args:
        values: (n,) finite numbers.
        samples: bootstrap samples.
        seed: the same seed gives the same interval.
        level: share of samples inside the interval.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    column = np.reshape(values, (-1, 1)).astype(np.float64)
    means = np.concatenate(list(_sample_means(column, samples, seed)))
    low, high = _bounds(means, level)
    return Mean(float(column.mean()), low, high)


def paired_bootstrap(
    ours: NDArray[np.floating],
    theirs: NDArray[np.floating],
    samples: int = 2_000,
    seed: int = 0,
    *,
    level: float = 0.95,
) -> Interval:
    """Compare two systems on the same users, who are drawn in pairs.

    Args:
        ours: (n,) finite numbers, one a user.
        theirs: (n,) numbers of the same users in the same order.
        samples: bootstrap samples.
        seed: the same seed gives the same interval.
        level: share of samples inside the interval.

    Raises:
        ValueError: lengths differ, there are no values, or one is not finite.
    """
    if np.shape(ours) != np.shape(theirs):
        raise ValueError(f"Paired values need the same users: {np.shape(ours)} here, {np.shape(theirs)} there.")
    pairs = np.stack([ours, theirs], axis=1).astype(np.float64)
    means = np.concatenate(list(_sample_means(pairs, samples, seed)))  # (samples, 2)
    low, high = _bounds(means[:, 0] - means[:, 1], level)
    mean, other = pairs.mean(axis=0)
    ratio = ratio_low = ratio_high = None
    if other != 0:
        ratio = float(mean / other)
        usable = means[means[:, 1] != 0]  # a sample may miss the few users that count
        if len(usable):
            ratio_low, ratio_high = _bounds(usable[:, 0] / usable[:, 1], level)
    return Interval(float(mean - other), low, high, ratio, ratio_low, ratio_high)


def _sample_means(values: NDArray[np.float64], samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield the column means of bootstrap samples of (n, columns) values, some samples at a time."""
    if len(values) == 0:
        raise ValueError("A bootstrap needs at least one value.")
    if not np.isfinite(values).all():
        raise ValueError("A bootstrap needs finite values.")
    if samples < 1:
        raise ValueError(f"samples is {samples}; at least one is needed.")
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    random = np.random.default_rng(seed)
    step = max(1, DRAWS_AT_ONCE // len(distinct))
    for first in range(0, samples, step):
        drawn = random.multinomial(len(values), counts / len(values), size=min(step, samples - first))
        yield drawn @ distinct / len(values)


def _bounds(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
