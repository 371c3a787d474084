"""Train and rank on held-out events: the stages, from values to values, and their order.

Who runs a stage is the caller's choice: a plain call by default, a task with a log of its own in a flow.
"""

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from recsys.callbacks import RunStage, StageProgress, call, stage, under
from recsys.config import ModelConfig, Protocol, to_dict
from recsys.data.signals import with_signals
from recsys.data.snapshot import Snapshot
from recsys.data.text import item_texts
from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import InProcess, shards_done
from recsys.errors import DataError
from recsys.evaluation.full_ranking import Ranking
from recsys.evaluation.held_out import make_split, read_sequences
from recsys.evaluation.leaks import check_split
from recsys.evaluation.objective import objective_values, trade_off
from recsys.evaluation.report import MetricsDocument, Section, metrics_document, section
from recsys.evaluation.splits import Split, sample
from recsys.home import Home
from recsys.models.checkpoints import Checkpoints
from recsys.models.devices import device_name
from recsys.selection.scales import robust
from recsys.training.baselines import SYSTEMS
from recsys.training.encoding import TextEncoding, frozen_encoding
from recsys.training.fit_system import Trained
from recsys.training.pretrained import pretrained_folder, with_adapter
from recsys.training.resuming import Parent
from recsys.training.seeds import SeedsJob
from recsys.training.weighing import as_meant


@dataclass(frozen=True)
class Measured:
    """What one protocol gave.

    Attributes:
        split: training part and targets.
        trained: our system, fitted on the training part.
        rankings: one a system, of the test targets.
        figures: the section of the metrics document.
        cpu_seconds: that training took, ranking left out.
    """

    split: Split
    trained: Trained
    rankings: list[Ranking]
    figures: Section
    cpu_seconds: float


def evaluate_systems(
    home: Home,
    snapshot: Snapshot,
    protocol: Protocol,
    config: ModelConfig,
    systems: Sequence[str] = SYSTEMS,
    name: str | None = None,
    seeds: int = 1,
    shuffle_ties: bool = False,
    progress: StageProgress | None = None,
    run: RunStage = call,
) -> tuple[MetricsDocument, list[Ranking]]:
    """Train all systems on a snapshot and rank its held-out events.

    Args:
        home: where a pre-trained adapter lies, if the settings name one.
        snapshot: what to train and to ask on.
        protocol: how targets are held out.
        config: all settings of our system, some of them shared by the baselines.
        systems: which to train and rank; ``recsys`` is ours.
        name: what the report calls the data; None: the snapshot's id.
        seeds: how many trainings, with this many seeds from ``config.seed`` on.
        shuffle_ties: put one user's events at equal times in random order, to see that no figure hangs on it.
        progress: called with stage, done, total.
        run: what runs a stage.

    Returns:
        The metrics document, whose figures are means over the seeds, and the rankings of the first.

    Raises:
        ArtifactError: there is no such pre-trained adapter.
        DataError, SettingError: the data does not allow the protocol, there are no ties to shuffle, or a system does
            not exist.
    """
    config = with_signals(snapshot, with_adapter(home, config))
    objective_values(snapshot.items(), config)  # before anything is trained
    pretrained = pretrained_folder(home, config.adapter)
    texts, frozen = run(encode_texts, snapshot, config, progress=progress)
    measured = run(
        measure,
        snapshot,
        protocol,
        texts,
        frozen,
        config,
        systems,
        seeds,
        pretrained=pretrained,
        shuffle_ties=shuffle_ties,
        progress=progress,
    )
    return describe(snapshot, config, {protocol: measured.figures}, name), measured.rankings


def encode_texts(
    snapshot: Snapshot,
    config: ModelConfig,
    parent: Parent | None = None,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[list[str], TextEncoding]:
    """Return the catalogue's texts and their vectors under the base model, read and whitened as a parent's.

    With checkpoints, an encoding that was killed goes on with the texts that are missing.

    Raises:
        DataError: all items have one text.
    """
    if parent is not None:
        texts = parent.maps.item_texts(snapshot.items())
        return texts, parent.encode(texts, config, progress, checkpoints)
    texts = item_texts(snapshot.items(), config.text)
    if len(set(texts)) < 2:
        raise DataError(
            f"All items of snapshot {snapshot.id}, {len(texts):,}, have one text, {texts[0][:60]!r}: nothing tells one "
            "from another. Ingest more items, with titles of their own."
        )
    return texts, frozen_encoding(texts, config, progress, checkpoints)


def measure(
    snapshot: Snapshot,
    protocol: Protocol,
    texts: list[str],
    frozen: TextEncoding,
    config: ModelConfig,
    systems: Sequence[str],
    seeds: int = 1,
    checkpoints: Checkpoints | None = None,
    parent: Parent | None = None,
    pretrained: Path | None = None,
    shuffle_ties: bool = False,
    progress: StageProgress | None = None,
) -> Measured:
    """Train our system on one protocol's training part and rank the test targets with all systems.

    With several seeds everything is trained so many times on the same split; the figures are means, and the system and
    the rankings those of the first. With checkpoints, the first training can be killed and goes on; with a parent, it
    goes on from there; with a pre-trained PEFT folder, its adapter begins with that.

    Raises:
        DataError, SettingError: the data does not allow the protocol, there are no ties to shuffle, or a system does
            not exist.
        ClusterError: ``RECSYS_RAY_ADDRESS`` names a cluster that cannot do its part.
    """
    values = objective_values(snapshot.items(), config)
    sequences, special = read_sequences(snapshot, protocol, config, shuffle_ties)
    split = make_split(sequences, len(texts), protocol, config)
    check_split(split, sequences)
    callback = under(progress, protocol)
    began = time.process_time()
    split = as_meant(split, sequences, config, None if parent is None else parent.weighing, callback)
    weighed = time.process_time() - began
    goes_on = None if parent is None else (parent, parent.rows(snapshot), parent.learnt(snapshot, split))
    job = SeedsJob(split, texts, frozen, config, systems, checkpoints, goes_on, pretrained, callback)
    with executor_at() if seeds > 1 else nullcontext(InProcess()) as executor:
        advance = shards_done(executor, stage(callback, "Train and rank by seeds"), seeds)
        (first, *others) = executor.map(job, range(config.seed, config.seed + seeds), advance, trains=True)
    trained, rankings, cpu_seconds = first.trained, first.rankings, weighed + first.cpu_seconds
    assert trained is not None
    samples, repeated = config.evaluation.bootstrap_samples, [ranking for one in others for ranking in one.rankings]
    figures = section([*rankings, *repeated], split, frozen.vectors, samples=samples, seed=config.seed)
    figures["counts"] |= special
    if config.evaluation.objective is not None and values is not None:
        field, system = config.evaluation.objective, trained.system
        targets = sample(split.test, config.evaluation.max_validation_users, config.seed)
        figures["objective"] = trade_off(field, system, targets, values, system.blend.unit * robust(values))
    return Measured(split, trained, rankings, figures, cpu_seconds)


def describe(
    snapshot: Snapshot, config: ModelConfig, protocols: dict[str, Section], name: str | None = None
) -> MetricsDocument:
    """Return the metrics document of some protocols' figures on a snapshot, as JSON values."""
    data = {"name": name or snapshot.id, "snapshot": snapshot.id, **asdict(snapshot.manifest.counts)}
    document: MetricsDocument = json.loads(
        json.dumps(metrics_document(data, to_dict(config), protocols, device_name()))
    )
    return document
