"""Popularity: the number of training events of an item, newer events weighing more where a half-life is given."""

import numpy as np
from numpy.typing import NDArray

from recsys.data.sequences import Sequences
from recsys.errors import SettingError


class Popularity:
    """The same scores for every history.

    Attributes:
        counts: (catalogue,) float32.
    """

    def __init__(self, counts: NDArray[np.float32]) -> None:
        self.counts = counts

    @classmethod
    def fit(cls, train: Sequences, catalogue: int, half_life_days: float | None = None) -> "Popularity":
        """Count events, by their weights where they have signals.

        With a half-life an event of age a weighs ``0.5 ** (a / half-life)`` of that.

        Raises:
            SettingError: a half-life is given and the sequences have no times.
        """
        train = train.liked()
        own = None if train.signals is None else train.signals.weights
        if half_life_days is None:
            return cls(np.bincount(train.items, own, minlength=catalogue).astype(np.float32))
        if train.times is None:
            raise SettingError("A popularity half-life needs events with times; leave popularity_half_life_days unset.")
        age_days = (train.times.max(initial=0) - train.times) / 86_400
        weights = np.exp2(-age_days / half_life_days)
        weights = weights if own is None else weights * own
        return cls(np.bincount(train.items, weights, minlength=catalogue).astype(np.float32))

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue), every row the same."""
        return np.broadcast_to(self.counts, (len(histories), len(self.counts))).copy()
