"""The targets that a generation was measured on, again: who was asked for what, after which history, with its figures.

They are made anew from its snapshot by its settings and found again in its table, so that another system, or what was
bound of this one, can be asked the same.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError, digest
from recsys.config import COLD_ITEMS, TEMPORAL, ModelConfig, Protocol
from recsys.data.columns import ITEM_ID, TIMESTAMP_KNOWN, USER_ID
from recsys.data.sequences import Scorer, Sequences, Weighing
from recsys.data.signals import signals_of
from recsys.data.snapshot import Snapshot
from recsys.errors import DataError
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.held_out import make_split, read_sequences
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.report import OURS
from recsys.evaluation.sittings import before_sittings
from recsys.evaluation.splits import Split, Targets
from recsys.home import Home
from recsys.publishing.binding import HELD_OUT, read_held_out
from recsys.store.adapters import read_card
from recsys.store.generations import generation_snapshot, read_generation
from recsys.training.weighing import weighed_targets

PLACE = "place"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out targets of a generation.

    Attributes:
        snapshot: what it was trained on.
        config: its settings.
        sequences: what was split.
        split: the targets are of its test part.
        targets: n questions, users ascending.
        figures: n rows of its table, in the order of the targets.
    """

    snapshot: Snapshot
    config: ModelConfig
    sequences: Sequences
    split: Split
    targets: Targets
    figures: pl.DataFrame

    @classmethod
    def of(cls, home: Home, generation_id: str) -> "HeldOut":
        """Read a generation's targets and its figures on them; those that its table lacks are left out.

        Raises:
            ArtifactError: the generation, its snapshot or the card of its adapter is missing or changed, the card does
                not say how it was measured, or the snapshot does not allow that.
        """
        _, manifest = read_generation(home, generation_id)
        snapshot, config = generation_snapshot(home, manifest), manifest.config
        protocol, users, items = protocol_of(home, generation_id), snapshot.user_ids(), snapshot.item_ids()
        if protocol is None:
            raise ArtifactError(f"The card of adapter {manifest.adapter} does not say how it was measured.")
        try:
            sequences, _ = read_sequences(snapshot, protocol, config)
            split = before_sittings(make_split(sequences, len(items), protocol, config), sequences)
        except DataError as error:
            raise ArtifactError(f"Generation {generation_id} was not measured on its snapshot: {error}") from None
        asked = pl.DataFrame(
            {
                USER_ID: [digest(users[user].encode()) for user in split.test.users],
                ITEM_ID: [items[item] for item in split.test.items],
                PLACE: np.arange(len(split.test)),
            }
        )
        found = read_table(home, generation_id).join(asked, on=[USER_ID, ITEM_ID]).sort(PLACE)
        targets = split.test.take(found[PLACE].to_numpy())
        return cls(snapshot, config, sequences, split, targets, found.drop(PLACE))

    def __len__(self) -> int:
        return len(self.targets)

    def at(self, places: NDArray[np.integer]) -> "HeldOut":
        """Return the targets at some places."""
        return replace(self, targets=self.targets.take(places), figures=self.figures[places])

    def some(self, count: int) -> "HeldOut":
        """Return ``count`` of the targets, evenly spread over all of them; fewer only where there are fewer."""
        count = min(count, len(self))
        return self.at(np.arange(count) * len(self) // max(count, 1))

    def answered_by(self, scorer: Scorer, weighing: Weighing) -> NDArray[np.float64]:
        """Return NDCG@10 of a scorer over the snapshot's items on each target, (n,).

        Args:
            scorer: a system, or a component of one.
            weighing: by how much the events of its histories count.
        """
        targets = weighed_targets(self.targets, weighing)
        return ndcg(evaluate(OURS, scorer, targets, seed=self.config.seed).ranks, 10)

    def moments(self) -> NDArray[np.int64]:
        """Return how many of the snapshot's events of its user each history ends after, (n,): ignored ones count too.

        Raises:
            ValueError: whole items are held out, so a history is no beginning of what its user did.
        """
        if self.split.protocol == COLD_ITEMS:
            raise ValueError("A history without the held-out items is no beginning of what its user did.")
        events, signals = self.snapshot.events(), signals_of(self.config)
        kept = np.ones(events.height, dtype=bool) if signals is None else signals.of_events(events).kinds >= 0
        if self.split.protocol == TEMPORAL and not self.snapshot.times_known:
            kept &= events[TIMESTAMP_KNOWN].fill_null(True).to_numpy()
        users = self.targets.users
        after = self.sequences.offsets[:-1][users] + self.targets.histories.lengths  # the first event that is not in it
        return np.flatnonzero(kept)[after] - self.snapshot.sequences().offsets[:-1][users]


def protocol_of(home: Home, generation_id: str) -> Protocol | None:
    """Return how a generation's targets were held out; None: its adapter's card does not say.

    Raises:
        ArtifactError: the generation or the card of its adapter is missing or changed.
    """
    return read_card(home, read_generation(home, generation_id)[1].adapter).protocol


def read_table(home: Home, generation_id: str) -> pl.DataFrame:
    """Return a generation's figures on its held-out targets, see ``held_out_table``.

    Raises:
        ArtifactError: the generation or its table is missing, or no table of figures.
    """
    folder, _ = read_generation(home, generation_id)
    try:
        table = read_held_out(folder)
        figures = table.select(USER_ID, ITEM_ID, pl.col(OURS).cast(pl.Float64))[OURS]
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(
            f"{folder / HELD_OUT} cannot be read: {error}. Train and publish again, or roll back."
        ) from None
    if not len(figures) or not figures.is_between(0, 1).fill_null(False).all():  # nor is what is no number
        raise ArtifactError(
            f"{folder / HELD_OUT} has no figures, or one that is no NDCG. Train and publish again, or roll back."
        )
    return table
