"""How much more than by chance: lower bounds of a growth and of a lift, for counts that may be small.

Counts are Poisson, their rates have Gamma priors that expect nothing unusual (an item grows by nothing, two items have
nothing to do with each other), and what a list is ordered by is not the likeliest ratio but one that is exceeded with
some confidence. So two events out of nowhere do not stand before two hundred (W. DuMouchel, "Bayesian data mining in
large frequency tables", 1999, whose EB05 is such a bound).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

PRIOR = 2.0  # events that say: as expected
CONFIDENCE = 2.326  # of the standard normal distribution, 99 % on one side: of many items some always seem to rise
LEAST_SHARE = 0.05  # of the posterior that lies below a lift's bound

Counts = NDArray[np.floating]


def growth(
    recent: Counts, all_recent: float, before: Counts, all_before: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return by how much items' shares of all that happened have grown, (items,): lower bounds, and the likely ones.

    With ``m = (recent + before) / (all_recent + all_before)``, the share of an item if nothing had changed, its rates
    are ``Gamma(count + PRIOR, all + PRIOR / m)``, one for each period. The logarithm of their ratio has the mean
    ``ψ(a₁) − ln b₁ − ψ(a₀) + ln b₀`` and the variance ``ψ₁(a₁) + ψ₁(a₀)``; the bound is the mean less
    ``CONFIDENCE`` deviations. Both are natural logarithms: 0 is no growth.

    Args:
        recent: how often each item was chosen of late; more than never.
        all_recent: how often all of them were.
        before: likewise in the time before.
        all_before: likewise.
    """
    shared = (recent + before) / max(all_recent + all_before, 1.0)
    weight = PRIOR / shared
    one, other = recent + PRIOR, before + PRIOR
    mean = special.digamma(one) - np.log(all_recent + weight) - special.digamma(other) + np.log(all_before + weight)
    deviation = np.sqrt(special.polygamma(1, one) + special.polygamma(1, other))
    return mean - CONFIDENCE * deviation, mean


def lift(together: Counts, expected: Counts, prior: float = PRIOR) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return by how much pairs occur more often than by chance: lower bounds, and the likely ones.

    The ratio of both counts is ``Gamma(together + prior, expected + prior)``; the bound is exceeded with 95 %, the
    likely ratio is the mean. Both are natural logarithms: 0 is chance.

    Args:
        together: how often pairs occurred.
        expected: how often they would have, had they nothing to do with each other.
        prior: how many occurrences say: as by chance.
    """
    shape, rate = together + prior, expected + prior
    return np.log(special.gammaincinv(shape, LEAST_SHARE) / rate), np.log(shape / rate)
