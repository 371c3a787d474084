"""A figure foretold by the same figure of past weeks: a trend, and the spread about it, whatever its reasons are.

Tests that take events for independent find a change every night: people come in visits, fashions last a week, taste
turns. How much a figure moves while nothing is wrong is therefore read from past weeks, never from sampling alone;
sampling is the least that it can be.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_WEEKS = 6  # of a trend and a spread that mean something
OUTLYING = 3.5
_STEPS = 50  # of iteratively reweighted least squares, which needs about five


@dataclass(frozen=True)
class Scale:
    """Where a figure's noise has the same size wherever it lies."""

    name: str
    onto: Callable[[float], float]
    back: Callable[[float], float]


def _clipped(value: float) -> float:
    return min(1.0, max(0.0, value))


SHARE = Scale("share", lambda share: math.asin(math.sqrt(share)), lambda x: math.sin(min(max(x, 0), math.pi / 2)) ** 2)
SQUARES = Scale("squares", math.cbrt, lambda x: max(x, 0.0) ** 3)  # E. B. Wilson and M. M. Hilferty, 1931
COUNT = Scale("count", lambda count: 2 * math.sqrt(count), lambda x: (max(x, 0.0) / 2) ** 2)


@dataclass(frozen=True)
class Forecast:
    """What a figure is foretold to be, on a scale where its errors follow Student's t.

    Attributes:
        scale: of ``centre`` and ``spread``.
        centre: what is expected.
        spread: the standard error of a new figure about it.
        degrees: of freedom.
    """

    scale: Scale
    centre: float
    spread: float
    degrees: int

    @property
    def expected(self) -> float:
        return self.scale.back(self.centre)

    def interval(self, chance: float) -> tuple[float, float]:
        """Return where a figure lies but for a chance, half of it on either side."""
        from scipy import stats  # a second, which a check of limits has no use for

        far = float(stats.t.isf(chance / 2, self.degrees)) * self.spread
        return self.scale.back(self.centre - far), self.scale.back(self.centre + far)

    def p(self, figure: float, upper: bool = False) -> float:
        """Return the chance of a figure as far from what is expected; with ``upper`` of one as far above it."""
        from scipy import stats

        distance = (self.scale.onto(figure) - self.centre) / self.spread
        return float(stats.t.sf(distance, self.degrees) if upper else 2 * stats.t.sf(abs(distance), self.degrees))


def foretold(past: Sequence[float], scale: Scale, sampling: float, thinner: float = 1.0) -> Forecast | None:
    """Foretell the next figure of a series by a straight line on its scale.

    Args:
        past: of past weeks, oldest first.
        scale: on which the line is straight.
        sampling: the variance on that scale that sampling alone gives a figure of a past week; what is seen may be less
            by luck, and is not believed.
        thinner: how many events a past week had for each one of the new figure; above 1 the new one is noisier.

    Returns:
        None where there are fewer than ``LEAST_WEEKS``.
    """
    if len(past) < LEAST_WEEKS:
        return None
    values = np.array([scale.onto(one) for one in past])
    weeks = np.arange(-len(values), 0, dtype=float)
    centre, leverage, rest = _line(weeks, values)
    degrees = len(values) - 2
    variance = max(float(rest @ rest) / degrees, sampling, 1e-12)
    return Forecast(scale, centre, math.sqrt(variance * (max(1.0, thinner) + leverage)), degrees)


def by_chance(past: Sequence[float], degrees: float) -> float:
    """Return the variance on ``SQUARES`` of a multiple of χ² over its degrees of freedom, the multiple being usual."""
    return 2 / (9 * max(1.0, degrees)) * float(np.median(past)) ** (2 / 3) if past else 0.0


def foretold_count(days: Sequence[int], counts: Sequence[int], wanted: Sequence[int]) -> Forecast | None:
    """Foretell how many events some days have together, by a quasi-Poisson regression with a logarithmic link.

    ``log μ = weekday + b · day`` and variance ``φ μ``, φ by Pearson's statistic and 1 at least (P. McCullagh and
    J. A. Nelder, *Generalized Linear Models*, 1989, chapter 9); the count's square root is taken for normal. Days that
    lie ``OUTLYING`` median deviations off, such as those of an outage before today, are left out.

    Args:
        days: past ones, by their number since 1970.
        counts: their events.
        wanted: days that come later.

    Returns:
        None where less than ``LEAST_WEEKS`` are known of a weekday that is wanted, or nothing happened.
    """
    known = np.bincount(np.array(days, dtype=int) % 7, minlength=7)
    if not sum(counts) or known[np.array(wanted) % 7].min() < LEAST_WEEKS:
        return None
    found = np.array(counts, dtype=float)
    design, asked = (_calendar(np.array(some), days[-1]) for some in (days, wanted))
    weights, mean = _fitted(design, found)
    errors = (found - mean) / np.sqrt(np.maximum(mean, 1e-9))
    kept = np.abs(errors) <= OUTLYING * max(1.0, 1.4826 * float(np.median(np.abs(errors))))
    if not kept.all() and np.linalg.matrix_rank(design[kept]) == np.linalg.matrix_rank(design):
        design, found = design[kept], found[kept]
        weights, mean = _fitted(design, found)
    degrees = max(1, len(found) - int(np.linalg.matrix_rank(design)))
    dispersion = max(1.0, float(((found - mean) ** 2 / np.maximum(mean, 1e-9)).sum()) / degrees)
    expected = np.exp(np.clip(asked @ weights, -30, 30))
    total, slope = float(expected.sum()), expected @ asked
    covariance = dispersion * np.linalg.inv(_information(design, mean))
    spread = math.sqrt(dispersion + float(slope @ covariance @ slope) / max(1e-9, total))
    return Forecast(COUNT, 2 * math.sqrt(total), spread, degrees)


def _fitted(
    design: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights of a Poisson regression of counts that are not all 0, and the means that they give."""
    weights = np.append(np.full(7, math.log(counts.mean())), 0.0)
    for _ in range(_STEPS):
        mean = np.exp(np.clip(design @ weights, -30, 30))
        step = np.linalg.solve(_information(design, mean), design.T @ (counts - mean))
        weights = weights + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    return weights, np.exp(np.clip(design @ weights, -30, 30))


def _information(design: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Fisher's information; a little is added, or the logarithm of a weekday without events had no end."""
    found: NDArray[np.float64] = design.T @ (design * mean[:, None]) + 1e-6 * np.eye(design.shape[1])
    return found


def _calendar(days: NDArray[np.int64], last: int) -> NDArray[np.float64]:
    """Return a column a weekday, and the weeks since a day, (days, 8)."""
    found = np.zeros((len(days), 8))
    found[np.arange(len(days)), days % 7] = 1.0
    found[:, 7] = (days - last) / 7
    return found


def _line(weeks: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
    """Return a least-squares line's value at week 0, its variance there in units of the noise's, and what is left."""
    middle = weeks.mean()
    apart = float(((weeks - middle) ** 2).sum())
    slope = float(((weeks - middle) * values).sum()) / apart
    rest = values - values.mean() - slope * (weeks - middle)
    return float(values.mean() - slope * middle), 1 / len(weeks) + float(middle**2) / apart, rest
