"""What a user is likely to take again about now, with reasons: for lists of it, and for explanations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.experts.again import BuyAgain
from recsys.ranking.system import AGAIN
from recsys.selection.catalogue import Catalogue
from recsys.serving.explanation import Reason
from recsys.serving.history import KnownHistory

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class DueAgain:
    """Items of a history, those that are most likely taken again first; nothing that is disliked.

    Attributes:
        rows: (n,) the catalogue's, each once.
        scores: (n,) chances, from 0 to 1.
        reasons: one a row.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    reasons: list[Reason]


def due(again: BuyAgain | None, catalogue: Catalogue, history: KnownHistory, now: int | None = None) -> DueAgain:
    """Return what a user is likely to take again; nothing where it is not known how people come back.

    Args:
        again: what is known of buying again; None: nothing.
        catalogue: its items.
        history: what the user did.
        now: Unix seconds; None: the time of the last event.
    """
    if again is None or not len(history):
        return DueAgain(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), [])
    found = again.due(history.taught, now)
    days = (np.stack([found.intervals, found.ago]) / SECONDS_A_DAY).round(1).T.tolist()
    reasons = [
        Reason(AGAIN, catalogue.ids[row], catalogue.titles[row], *(None if np.isnan(one) else one for one in pair))
        for row, pair in zip(found.items.tolist(), days, strict=True)
    ]
    return DueAgain(found.items.astype(np.int64), found.chances.astype(np.float32), reasons)
