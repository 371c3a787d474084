"""Hyper-parameter search for adapter and towers: Optuna's TPE, judged by validation alone, bad trials stopped early.

Each trial draws with a seed of its own number, by what was known before those that are tried with it. So a search that
was killed and started again ends as one that was not, and one whose trials a cluster tries as one without. Test targets
are not within reach of anything here.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from recsys.artifacts import ArtifactError
from recsys.callbacks import StageProgress, stage
from recsys.config import ModelConfig, TuneConfig, from_dict
from recsys.data.sequences import Sequences
from recsys.database.files import sqlite_url
from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import InProcess, shards_done
from recsys.evaluation.splits import Targets, sample
from recsys.models.towers.training import tower_shape
from recsys.training.encoding import TextEncoding
from recsys.training.trying import AdaptersJob, Asked, TrialsJob, Tried

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
STUDY = "towers"  # its name in the file of a search
# A LoRA training is dear, so few adapters are looked at and each is trained once; towers are cheap and vary freely.
Space = dict[str, BaseDistribution]
SPACE: Space = {
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
        progress: called with stage, done, total, by a cluster as trials are done.
        each: called with a trial and the number of all, as each is done.

    Returns:
        All finished trials, in order.

    Raises:
        ClusterError: a cluster is to try several at once and cannot; those that are finished stay so.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=sqlite_url(storage.absolute()), study_name=STUDY, direction="maximize", load_if_exists=True
    )
    judged = sample(validation, config.evaluation.max_validation_users, config.seed)
    adapters = AdaptersJob(storage, texts, frozen, train, config, pretrained, progress)
    given = _as_given(train, frozen, config)
    space = {name: _including(kind, given[name]) for name, kind in SPACE.items()}
    if pretrained is not None:
        del space["adapter.lora.rank"], given["adapter.lora.rank"]  # that of weights that go on is what it is
    for batch in _batches(search):
        finished = study.get_trials(states=FINISHED)
        if len(finished) >= batch.stop:
            continue
        before = finished[: batch.start]
        drawn = _drawn(batch, before, space, given, search, config.seed)
        left = list(zip(batch, drawn, strict=True))[len(finished) - batch.start :]
        asked = [Asked(number, with_settings(config, settings)) for number, settings in left]
        wanted = adapters.missing([one.config.adapter for one in asked])
        with executor_at() if len(asked) > 1 else nullcontext(InProcess()) as executor:
            advance = shards_done(executor, stage(progress, "Train adapters"), len(wanted))
            deque(executor.map(adapters, wanted, advance, trains=True), maxlen=0)
            advance = shards_done(executor, stage(progress, "Try settings"), len(asked))
            results = executor.map(TrialsJob(adapters, judged, search, before), asked, advance, trains=True)
            for (number, settings), tried in zip(left, results, strict=True):
                study.add_trial(_finished(tried, settings, space))
                if each:
                    each(_trial(number, study.get_trials(states=FINISHED)[-1]), search.trials)
    return [_trial(number, one) for number, one in enumerate(study.get_trials(states=FINISHED))]


def _batches(search: TuneConfig) -> Iterator[range]:
    """Yield numbers of trials that know nothing of one another: those that are drawn at random, then ``at_once``."""
    start = 0
    while start < search.trials:
        stop = start + (search.at_once or 1) if start else max(search.startup_trials, 1)
        yield range(start, min(stop, search.trials))
        start = stop


def _drawn(
    batch: range, before: list[FrozenTrial], space: Space, given: Settings, search: TuneConfig, seed: int
) -> list[Settings]:
    """Return what the trials of a batch try, by the finished trials before it; the very first is what was given."""
    study = optuna.create_study(direction="maximize")
    study.add_trials(before)
    if not before:
        study.enqueue_trial(given)
    drawn = []
    for number in batch:
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=search.startup_trials,
            constant_liar=search.at_once is not None,  # keeps away from what is being tried
            seed=(seed * 10_000 + number) % 2**32,
        )
        drawn.append(study.ask(space).params)
    return drawn


def _finished(tried: Tried, settings: Settings, space: Space) -> FrozenTrial:
    """Return a trial as the file of a search has it: a pruned one counts by its last epoch."""
    trial = optuna.trial.create_trial(
        state=TrialState.PRUNED if tried.pruned else TrialState.COMPLETE,
        value=tried.figures[-1] if tried.pruned else max(tried.figures),
        params=settings,
        distributions=space,
        intermediate_values=dict(enumerate(tried.figures)),
    )
    trial.datetime_start = tried.began.astimezone().replace(tzinfo=None)  # as Optuna has times: local ones
    return trial


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
