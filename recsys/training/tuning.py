"""Hyper-parameter search for adapter and towers: Optuna's TPE, judged by validation alone, bad trials stopped early.

Each trial draws with a seed of its own number, so that a search that was killed and started again ends as one that was
not. Test targets are not within reach of anything here.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from recsys.artifacts import ArtifactError, short_id, write_atomic
from recsys.callbacks import StageProgress, stage
from recsys.config import ModelConfig, TuneConfig, from_dict, to_dict
from recsys.data.sequences import Sequences
from recsys.database.files import sqlite_url
from recsys.evaluation.splits import Targets, sample
from recsys.models.towers.tower import TwoTower
from recsys.models.towers.training import tower_shape, train_towers
from recsys.models.towers.whitening import text_features
from recsys.training.encoding import TextEncoding, adapted_encoding
from recsys.training.validation import tower_validation

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
STUDY = "towers"  # its name in the file of a search
# A LoRA training is dear, so few adapters are looked at and each is trained once; towers are cheap and vary freely.
SPACE: dict[str, BaseDistribution] = {
    "adapter.lora.rank": CategoricalDistribution((4, 8, 16)),
    "adapter.learning_rate": CategoricalDistribution((2e-4, 5e-4, 1e-3)),
    "tower.learning_rate": FloatDistribution(5e-4, 8e-3, log=True),
    "tower.dropout": FloatDistribution(0.1, 0.6),
    "tower.max_history": CategoricalDistribution((20, 50, 100, 200)),
    "tower.residual_norm": FloatDistribution(0.1, 1.0),
    "tower.future_decay": FloatDistribution(0.1, 0.7),
}


Settings = dict[str, Any]  # what a trial tries: numbers and words by names like ``tower.dropout``


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: from 0, killed ones not counted.
        state: ``complete`` or ``pruned``.
        value: the best validation NDCG@10 that its towers had in any epoch.
        epochs: that were trained.
        settings: what was tried.
    """

    number: int
    state: str
    value: float
    epochs: int
    settings: Settings


def tune(
    train: Sequences,
    validation: Targets,
    texts: list[str],
    frozen: TextEncoding,
    config: ModelConfig,
    search: TuneConfig,
    storage: Path,
    pretrained: Path | None = None,
    progress: StageProgress | None = None,
    each: Callable[[Trial, int], None] | None = None,
) -> list[Trial]:
    """Search settings for the best validation NDCG@10 of the towers; the first trial is the settings as given.

    Args:
        train: the training rows.
        validation: the validation targets; a sample of them judges every epoch.
        texts: the catalogue's.
        frozen: vectors of the base alone.
        config: settings that are not searched, and where the search begins.
        search: how long.
        storage: the SQLite file of the search; one that was killed goes on from there.
        pretrained: the PEFT folder that every adapter begins with; None: anew.
        progress: called with stage, done, total.
        each: called with a trial and the number of all, as each is done.

    Returns:
        All finished trials, in order.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=sqlite_url(storage.absolute()),
        study_name=STUDY,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=search.startup_trials, n_warmup_steps=search.warmup_epochs),
    )
    for left in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)  # killed: it is done anew
    judged = sample(validation, config.evaluation.max_validation_users, config.seed)
    judge = tower_validation(judged, config)
    encodings = _Encodings(storage.with_suffix(""), texts, frozen, train, config, pretrained, progress)
    given = _as_given(train, frozen, config)
    space = {name: _including(kind, given[name]) for name, kind in SPACE.items()}
    if pretrained is not None:
        del space["adapter.lora.rank"], given["adapter.lora.rank"]  # that of weights that go on is what it is
    for number in range(len(study.get_trials(states=FINISHED)), search.trials):
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=search.startup_trials, seed=(config.seed * 10_000 + number) % 2**32
        )
        if number == 0 and not study.get_trials(states=(TrialState.WAITING,)):
            study.enqueue_trial(given)
        trial = study.ask(space)
        chosen = with_settings(config, trial.params)
        figures: list[float] = []

        def validate(towers: TwoTower, trial: optuna.Trial = trial, figures: list[float] = figures) -> float:
            figures.append(judge(towers))
            trial.report(figures[-1], len(figures) - 1)
            if trial.should_prune():
                raise optuna.TrialPruned
            return figures[-1]

        state = TrialState.COMPLETE
        try:
            train_towers(
                encodings.of(chosen).features, train, len(texts), chosen.tower, config.seed, validate,
                progress=stage(progress, f"Trial {number + 1} of {search.trials}"),
            )  # fmt: skip
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        study.tell(trial, max(figures) if state is TrialState.COMPLETE else None, state)
        if each:
            each(_trial(number, study.get_trials(states=FINISHED)[-1]), search.trials)
    return [_trial(number, one) for number, one in enumerate(study.get_trials(states=FINISHED))]


@dataclass(frozen=True)
class Told:
    """A trial, as the file of its search tells it.

    Attributes:
        trial: itself.
        ended: when (UTC).
        seconds: how long it took.
    """

    trial: Trial
    ended: datetime
    seconds: float


def read_trials(storage: Path) -> list[Told]:
    """Return the finished trials of a search, from its file, which is not written to.

    Raises:
        ArtifactError: it is no such file, or cannot be read now.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = f"{sqlite_url(storage.absolute())}&mode=ro"
    try:
        kept = optuna.storages.RDBStorage(place, skip_compatibility_check=True, skip_table_creation=True)
        found = optuna.load_study(study_name=STUDY, storage=kept).get_trials(states=FINISHED)
    except (SQLAlchemyError, optuna.exceptions.OptunaError, KeyError) as error:
        raise ArtifactError(f"{storage} is no file of a search, or is held by one ({type(error).__name__}).") from None
    return [
        Told(_trial(number, one), one.datetime_complete.astimezone(UTC), one.duration.total_seconds())
        for number, one in enumerate(found)
        if one.datetime_complete is not None and one.duration is not None
    ]


def best_of(trials: list[Trial]) -> Trial:
    """Return the best complete trial; of equal ones the first."""
    return max((one for one in trials if one.state == "complete"), key=lambda one: (one.value, -one.number))


def with_settings(config: ModelConfig, settings: Settings) -> ModelConfig:
    """Return a configuration with some settings of adapter and towers.

    LoRA weights count by alpha over rank: that stays as it was when the rank changes.
    """
    lora = config.adapter.lora
    rank = settings.get("adapter.lora.rank", lora.rank)
    changed: dict[str, Any] = {}
    for name, value in ({"adapter.lora.alpha": lora.alpha / lora.rank * rank} | settings).items():
        *parts, last = name.split(".")
        place = changed
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return from_dict(ModelConfig, changed, defaults=config)


class _Encodings:
    """The catalogue under the adapters that trials ask for, each trained once and kept on disk."""

    def __init__(
        self,
        folder: Path,
        texts: list[str],
        frozen: TextEncoding,
        train: Sequences,
        config: ModelConfig,
        pretrained: Path | None,
        progress: StageProgress | None,
    ) -> None:
        self._folder = folder
        self._texts, self._frozen, self._train = texts, frozen, train
        self._config, self._pretrained, self._progress = config, pretrained, progress

    def of(self, chosen: ModelConfig) -> TextEncoding:
        """Return base and adapter side by side; the adapter is trained with the towers' settings as given."""
        config = replace(self._config, adapter=chosen.adapter)
        path = self._folder / f"{short_id(to_dict(chosen.adapter))}.npy"
        if not path.is_file():
            encoding, _, _ = adapted_encoding(
                self._texts, self._frozen, self._train, config, self._progress, pretrained=self._pretrained
            )
            buffer = io.BytesIO()
            np.save(buffer, encoding.vectors)
            write_atomic(path, buffer.getvalue())
        vectors = np.load(path)
        features, whitening = text_features([vectors])
        return TextEncoding(vectors, features, whitening)


def _as_given(train: Sequences, frozen: TextEncoding, config: ModelConfig) -> Settings:
    """Return the settings of the search as a configuration has them; what it leaves open is chosen from the data."""
    shape = tower_shape(train, frozen.features.shape[1], len(frozen.features), config.tower)
    open_ones = {"tower.dropout": shape.dropout, "tower.max_history": shape.max_history}
    return {name: open_ones[name] if name in open_ones else attrgetter(name)(config) for name in SPACE}


def _including(kind: BaseDistribution, value: Any) -> BaseDistribution:
    """Return a distribution that holds a value too."""
    if isinstance(kind, CategoricalDistribution):
        return CategoricalDistribution(sorted({*kind.choices, value}))
    assert isinstance(kind, FloatDistribution)
    return FloatDistribution(min(kind.low, value), max(kind.high, value), log=kind.log)


def _trial(number: int, trial: FrozenTrial) -> Trial:
    figures = trial.intermediate_values
    return Trial(number, trial.state.name.lower(), max(figures.values()), len(figures), trial.params)
