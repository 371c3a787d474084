"""One sitting is one question: what a user did in the hour before a target is left out of its history.

Whoever orders has looked at the item and put it into the cart seconds before. Where such events leave their item in
the lists, a system that shows the cart again would be right nearly always, and nobody needs it: what matters is what is
shown before somebody has chosen. Where no event leaves its item in the lists there is no such short cut, and nothing is
cut.
"""

from dataclasses import replace

import numpy as np

from recsys.config import COLD_ITEMS
from recsys.data.sequences import Sequences
from recsys.evaluation.splits import Split, Targets

SITTING_SECONDS = 3_600


def before_sittings(split: Split, sequences: Sequences) -> Split:
    """Return a split whose histories end ``SITTING_SECONDS`` before their targets; the training part stays.

    Args:
        split: of these sequences, histories and all.
        sequences: a row a user. Without times, where each event takes its item out of the lists, and where the items
            held out are in no history, nothing changes.
    """
    signals = sequences.signals
    if sequences.times is None or signals is None or signals.taken.all() or split.protocol == COLD_ITEMS:
        return split
    return replace(split, validation=_cut(split.validation, sequences), test=_cut(split.test, sequences))


def _cut(targets: Targets, sequences: Sequences) -> Targets:
    assert sequences.times is not None
    histories = targets.histories
    places = sequences.offsets[:-1][targets.users] + histories.lengths  # of the targets themselves
    until = sequences.times[places] - SITTING_SECONDS
    assert histories.times is not None
    kept = histories.times < until[histories.rows()]  # ascending within a row, so a beginning of it
    return replace(targets, histories=histories.only(np.asarray(kept)))
