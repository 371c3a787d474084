"""What a training chooses by: NDCG@10 on validation targets, by which a cluster may judge many candidates."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.config import ModelConfig
from recsys.data.sequences import Scorer
from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import Advance, InProcess, Work
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.splits import Targets, sample
from recsys.models.towers.tower import TwoTower

JUDGED_EVENTS = 50_000  # of validation histories read after each epoch
MIN_JUDGED = 300
MAX_JUDGED_LENGTH = 200
SHARED_FROM = 2**32  # scores of all candidates: a minute of work, so that a cluster's start is worth it


def tower_validation(validation: Targets, config: ModelConfig) -> Callable[[TwoTower], float]:
    """Return what an epoch is judged by: NDCG@10 on validation targets, fewer of them where histories are long."""
    length = max(1.0, float(np.minimum(validation.histories.lengths, MAX_JUDGED_LENGTH).mean()))
    judged = sample(validation, max(MIN_JUDGED, int(JUDGED_EVENTS / length)), config.seed)
    return lambda towers: validation_ndcg(towers, judged)


def validation_ndcg(scorer: Scorer, targets: Targets) -> float:
    """Return the mean NDCG@10 of a scorer on some targets."""
    return float(np.mean(ndcg(evaluate("validation", scorer, targets, k=10).ranks, 10)))


@dataclass(frozen=True)
class JudgingJob:
    """The job whose shards are candidates, by number; see ``recsys.distributed.executor.Job``.

    Attributes:
        candidates: what they have in common travels once.
        targets: by which they are judged.
    """

    candidates: Sequence[Scorer]
    targets: Targets

    def files(self) -> list[Path]:
        """See ``Job``: none."""
        return []

    @contextmanager
    def opened(self) -> Iterator[Work[int, float]]:
        """See ``Job``."""

        def work(number: int, advance: Advance) -> float:
            figure = validation_ndcg(self.candidates[number], self.targets)
            advance(1)
            return figure

        yield work


def validation_figures(candidates: Sequence[Scorer], targets: Targets, catalogue: int) -> list[float]:
    """Return the mean NDCG@10 of each of some scorers of a catalogue's items on some targets.

    Raises:
        ClusterError: they are much work, and the cluster that is to do it cannot.
    """
    much = len(candidates) * len(targets) * catalogue >= SHARED_FROM
    with executor_at() if much else nullcontext(InProcess()) as executor:
        return list(executor.map(JudgingJob(candidates, targets), range(len(candidates)), lambda _: None))
