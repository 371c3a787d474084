"""Two generations on the targets that neither has learnt from, or why there are none.

Their figures are compared as they stand where both were asked the same. Where the data have moved on, what is served
is asked the candidate's targets as it was measured. That was before it learnt its own held-out events, so both know
the world up to a moment before these targets, the candidate up to a later one.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError
from recsys.config import COLD_ITEMS, GateConfig
from recsys.data.columns import ITEM_ID, USER_ID
from recsys.evaluation.report import OURS
from recsys.home import Home
from recsys.publishing.binding import SLICE
from recsys.publishing.held_out import HeldOut, protocol_of, read_table
from recsys.publishing.measured import Measured, asks_alike
from recsys.store.generations import read_generation

# targets from which on more would say little: what is served is asked no more, and not at all if both were
MANY = 1_000
Figures = NDArray[np.float64]
THEIRS = "served"


@dataclass(frozen=True, eq=False)
class Shared:
    """What two generations did on the same targets, none of which either has learnt from.

    Attributes:
        candidate: (targets,) NDCG@10 of the candidate.
        served: (targets,) of what is served.
        slices: (targets,) which targets belong to each slice, by name.
        asked: what was asked, in words that follow "On".
    """

    candidate: Figures
    served: Figures
    slices: dict[str, NDArray[np.bool_]]
    asked: str

    @classmethod
    def of(cls, rows: pl.DataFrame, served: Figures, asked: str) -> "Shared":
        """Return what both did on some rows of the candidate's table."""
        parts = {name.removeprefix(SLICE): rows[name].to_numpy() for name in rows.columns if name.startswith(SLICE)}
        return cls(rows[OURS].to_numpy(), served, parts, asked)


@dataclass(frozen=True)
class Incomparable:
    """Why two generations cannot be compared.

    Attributes:
        reason: a sentence.
        broken: whether what is served is not whole, so that it must not stand in the way of what replaces it.
    """

    reason: str
    broken: bool = False


def compared(home: Home, candidate_id: str, served_id: str, limits: GateConfig) -> Shared | Incomparable:
    """Compare a candidate with what is served.

    Args:
        home: where state lives.
        candidate_id: the candidate.
        served_id: another generation, which is served.
        limits: how many targets are the least.

    Raises:
        ArtifactError: the candidate is missing or broken.
    """
    own, protocol = read_table(home, candidate_id), protocol_of(home, candidate_id)
    try:
        theirs, other = read_table(home, served_id), protocol_of(home, served_id)
    except ArtifactError as error:
        return Incomparable(f"The served generation {served_id} cannot be compared with, it is broken: {error}", True)
    if protocol != other:
        names = [name or "no known one" for name in (protocol, other)]
        return Incomparable(f"It was measured by the protocol {names[0]}, the served generation by {names[1]}.")
    both = own.join(theirs.select(USER_ID, ITEM_ID, pl.col(OURS).alias(THEIRS)), on=[USER_ID, ITEM_ID])
    both = both.sort(USER_ID, ITEM_ID)
    same = len(both) == len(own) == len(theirs)
    asked = f"{'the same' if same else 'the'} {len(both):,} targets that both were asked"
    shared = Shared.of(both, both[THEIRS].to_numpy(), asked)
    if same or len(both) >= MANY:
        return shared
    # or half of the few that there are; that a candidate was asked next to nothing makes nothing comparable
    least = min(limits.min_targets, -(-max(len(own), len(theirs)) // 2))
    answered = _answered(home, candidate_id, served_id)
    if isinstance(answered, Shared) and len(answered.served) >= least:
        return answered
    if len(both) >= least:
        return shared
    if isinstance(answered, Incomparable):
        return Incomparable(f"Of its {len(own):,} held-out targets both were asked {len(both):,}. {answered.reason}")
    return Incomparable(
        f"Of its {len(own):,} held-out targets {len(answered.served):,} are of items that the served generation knows "
        f"and of events that it has not learnt from, and {least:,} are needed."
    )


def _answered(home: Home, candidate_id: str, served_id: str) -> Shared | Incomparable:
    """Let what is served answer a candidate's targets as it was measured."""
    config, other = (read_generation(home, one)[1].config for one in (candidate_id, served_id))
    if not asks_alike(config, other):
        return Incomparable("What events mean has changed: they ask for other events.")
    if protocol_of(home, candidate_id) == COLD_ITEMS:
        return Incomparable("Where whole items are held out, histories cannot be cut at the same moment.")
    asked = HeldOut.of(home, candidate_id).some(MANY)
    try:
        served = Measured.of(home, served_id)
    except ArtifactError as error:
        return Incomparable(f"The served generation cannot be put together as it was measured: {error}")
    places, figures = served.answers(asked)
    said = f"{len(places):,} targets that neither has learnt from"
    return Shared.of(asked.figures[places], figures, said)
