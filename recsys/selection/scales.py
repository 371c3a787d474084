"""A column of numbers on a scale of its own: how far each is from the middle, in robust standard deviations."""

import numpy as np
from numpy.typing import NDArray

MOST = 3.0  # standard deviations from the middle; what is further away counts as much
OF_NORMAL = 1.4826  # standard deviations of a normal distribution that its median absolute deviation is


def robust(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return ``(x - median) / (1.4826 · median |x - median|)`` between -3 and 3; 0, the median's, where x is missing.

    Where more than half of the values are equal the standard deviation divides; all equal ones become 0. (F. R. Hampel,
    "The influence curve and its role in robust estimation", 1974.)

    Args:
        values: (items,), NaN or infinite where there is none.
    """
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(len(values), dtype=np.float32)
    halves = np.where(known, values, 0.0) / 2  # which have a sum and a difference whatever they are
    distances = halves - np.median(halves[known])
    with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest there are have no square
        spread = OF_NORMAL * float(np.median(np.abs(distances[known]))) or float(distances[known].std())
        scaled = np.divide(distances, spread, out=np.zeros_like(distances), where=known & (spread > 0))
    return np.asarray(np.nan_to_num(np.clip(scaled, -MOST, MOST)), dtype=np.float32)
