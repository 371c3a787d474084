"""Trainings by several seeds on one split, and what they rank: one after another, or side by side on a cluster."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.callbacks import StageProgress, told_here
from recsys.config import ModelConfig
from recsys.distributed.executor import Advance, Work
from recsys.evaluation.full_ranking import Ranking
from recsys.evaluation.splits import Split
from recsys.models.checkpoints import Checkpoints
from recsys.training.baselines import rank_systems
from recsys.training.encoding import TextEncoding
from recsys.training.fit_system import Trained, train_on
from recsys.training.resuming import Parent, adapt_on


@dataclass(frozen=True)
class Seeded:
    """What one seed gave: our system where it is the first, the rankings, and what training took, ranking left out."""

    trained: Trained | None
    rankings: list[Ranking]
    cpu_seconds: float


@dataclass(frozen=True)
class SeedsJob:
    """The job whose shards are seeds, each a whole training; see ``recsys.distributed.executor.Job``.

    Attributes:
        split: training part and targets.
        texts: of the catalogue.
        frozen: their vectors under the base.
        config: all settings, the first seed among them.
        systems: which rank the test targets.
        checkpoints: of the first seed's training.
        goes_on: the parent, where there is one, its rows and what it has learnt of each.
        pretrained: the PEFT folder that adapters begin with.
        progress: called with stage, done, total, where this process works.
    """

    split: Split
    texts: list[str]
    frozen: TextEncoding
    config: ModelConfig
    systems: Sequence[str]
    checkpoints: Checkpoints | None
    goes_on: tuple[Parent, NDArray[np.int64], NDArray[np.int64]] | None
    pretrained: Path | None
    progress: StageProgress | None

    __getstate__ = told_here

    def files(self) -> list[Path]:
        """See ``Job``: what weights begin with."""
        return [] if self.pretrained is None else [path for path in self.pretrained.iterdir() if path.is_file()]

    @contextmanager
    def opened(self) -> Iterator[Work[int, Seeded]]:
        """See ``Job``."""
        yield self._seeded

    def _seeded(self, seed: int, advance: Advance) -> Seeded:
        config, first, began = replace(self.config, seed=seed), seed == self.config.seed, time.process_time()
        checkpoints = self.checkpoints if first else None
        if self.goes_on is None:
            trained = train_on(self.split, self.texts, self.frozen, config, self.progress, checkpoints, self.pretrained)
        else:
            trained = adapt_on(self.split, self.texts, self.frozen, *self.goes_on, config, self.progress, checkpoints)
        cpu_seconds = time.process_time() - began
        rankings = rank_systems(self.split, self.frozen, trained, config, self.systems, self.progress)
        advance(1)
        return Seeded(trained if first else None, rankings, cpu_seconds)
