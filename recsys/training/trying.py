"""The work of a search for settings: an adapter that trials ask for, and the towers of a trial.

Each is a shard of a job, done by this process or by the nodes of a cluster, which share the folder of the search.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from recsys.artifacts import short_id, write_atomic
from recsys.callbacks import StageProgress, stage, told_here
from recsys.config import AdapterConfig, ModelConfig, TuneConfig, to_dict
from recsys.data.sequences import Sequences
from recsys.distributed.executor import Advance, Work
from recsys.evaluation.splits import Targets
from recsys.models.towers.tower import TwoTower
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import text_features
from recsys.training.encoding import TextEncoding, adapted_encoding
from recsys.training.validation import tower_validation


@dataclass(frozen=True)
class AdaptersJob:
    """The job whose shards are settings of adapters; see ``recsys.distributed.executor.Job``.

    Attributes:
        storage: the file of the search; what adapters make of the catalogue lies in a folder beside it.
        texts: the catalogue's.
        frozen: vectors of the base alone.
        train: the training rows.
        config: all settings but the adapter's.
        pretrained: the PEFT folder that every adapter begins with; None: anew.
        progress: called with stage, done, total, where this process works.
    """

    storage: Path
    texts: list[str]
    frozen: TextEncoding
    train: Sequences
    config: ModelConfig
    pretrained: Path | None
    progress: StageProgress | None

    __getstate__ = told_here

    def missing(self, wanted: Sequence[AdapterConfig]) -> list[AdapterConfig]:
        """Return which adapters have not been trained, each once."""
        by_place = {self._place(one): one for one in wanted}
        return [one for place, one in by_place.items() if not place.is_file()]

    def features(self, adapter: AdapterConfig) -> NDArray[np.float32]:
        """Return (catalogue, width) whitened vectors of base and adapter side by side."""
        found, _ = text_features([np.load(self._place(adapter))])
        return found

    def files(self) -> list[Path]:
        """See ``Job``."""
        return [self.storage]

    @contextmanager
    def opened(self) -> Iterator[Work[AdapterConfig, None]]:
        """See ``Job``."""

        def work(adapter: AdapterConfig, advance: Advance) -> None:
            encoding, _, _ = adapted_encoding(
                self.texts, self.frozen, self.train, replace(self.config, adapter=adapter), self.progress,
                pretrained=self.pretrained,
            )  # fmt: skip
            buffer = io.BytesIO()
            np.save(buffer, encoding.vectors)
            write_atomic(self._place(adapter), buffer.getvalue())
            advance(1)

        yield work

    def _place(self, adapter: AdapterConfig) -> Path:
        return self.storage.with_suffix("") / f"{short_id(to_dict(adapter))}.npy"


@dataclass(frozen=True)
class Asked:
    """A trial to be tried: its number from 0, and all settings."""

    number: int
    config: ModelConfig


@dataclass(frozen=True)
class Tried:
    """What became of one: validation NDCG@10 by epoch, whether it was pruned, and when it began (UTC)."""

    figures: list[float]
    pruned: bool
    began: datetime


@dataclass(frozen=True)
class TrialsJob:
    """The job whose shards are trials that are asked for together; see ``recsys.distributed.executor.Job``.

    Attributes:
        adapters: have been trained.
        judged: targets that judge every epoch.
        search: when trials are pruned.
        before: finished trials that the median is taken of: none of those that are asked for together.
    """

    adapters: AdaptersJob
    judged: Targets
    search: TuneConfig
    before: list[FrozenTrial]

    def files(self) -> list[Path]:
        """See ``Job``."""
        return self.adapters.files()

    @contextmanager
    def opened(self) -> Iterator[Work[Asked, Tried]]:
        """See ``Job``."""
        given = self.adapters
        judge = tower_validation(self.judged, given.config)
        pruner = optuna.pruners.MedianPruner(
            n_startup_trials=self.search.startup_trials, n_warmup_steps=self.search.warmup_epochs
        )
        study = optuna.create_study(direction="maximize", pruner=pruner)
        study.add_trials(self.before)

        def work(asked: Asked, advance: Advance) -> Tried:
            trial, figures, began = study.ask(), [], datetime.now(UTC)

            def validate(towers: TwoTower) -> float:
                figures.append(judge(towers))
                trial.report(figures[-1], len(figures) - 1)
                if trial.should_prune():
                    raise optuna.TrialPruned
                return figures[-1]

            pruned = False
            try:
                train_towers(
                    given.features(asked.config.adapter), given.train, len(given.texts), asked.config.tower,
                    given.config.seed, validate,
                    progress=stage(given.progress, f"Trial {asked.number + 1} of {self.search.trials}"),
                )  # fmt: skip
            except optuna.TrialPruned:
                pruned = True
            study.tell(trial, state=TrialState.FAIL)  # those that are asked for with it do not look at it
            advance(1)
            return Tried(figures, pruned, began)

        yield work
