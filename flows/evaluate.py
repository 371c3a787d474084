"""Train and rank on held-out events: one protocol as a task, and as a flow with its files for everybody to check."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import progress
from flows.reports import report_metrics
from flows.runtime import open_home
from recsys.artifacts import write_atomic
from recsys.config import ModelConfig, Protocol, to_dict
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.data.text import item_texts
from recsys.evaluation.full_ranking import Ranking
from recsys.evaluation.held_out import allows, make_split, read_sequences
from recsys.evaluation.page import page
from recsys.evaluation.report import metrics_document, section, write_lists, write_metrics
from recsys.evaluation.splits import Split, check_split
from recsys.models.checkpoints import Checkpoints
from recsys.models.devices import device_name
from recsys.training.baselines import SYSTEMS, rank_systems
from recsys.training.encoding import TextEncoding, frozen_encoding
from recsys.training.fit_system import Trained, train_on
from recsys.training.pretrained import pretrained_folder
from recsys.training.resuming import Parent, adapt_on

METRICS, LISTS, PAGE = "metrics.json", "lists.parquet", "report.html"
_DEFAULT = ModelConfig()


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
    figures: dict[str, Any]
    cpu_seconds: float


@task(name="read texts", cache_policy=NO_CACHE)
def encode_texts(
    snapshot: Snapshot, config: ModelConfig, parent: Parent | None = None
) -> tuple[list[str], TextEncoding]:
    """Return the catalogue's texts and their vectors under the base model, read and whitened as a parent's."""
    if parent is not None:
        texts = parent.maps.item_texts(snapshot.items())
        return texts, parent.encode(texts, config, progress.report)
    texts = item_texts(snapshot.items(), config.text)
    return texts, frozen_encoding(texts, config, progress.report)


@task(name="measure", task_run_name="measure {protocol}", cache_policy=NO_CACHE)
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
) -> Measured:
    """Train our system on one protocol's training part and rank the test targets with all systems.

    With several seeds everything is trained so many times on the same split; the figures are means, and the system and
    the rankings those of the first. With checkpoints, the first training can be killed and goes on; with a parent, it
    goes on from there; with a pre-trained PEFT folder, its adapter begins with that.

    Raises:
        ValueError: the data does not allow the protocol, there are no ties to shuffle, or a system does not exist.
    """
    sequences, special = read_sequences(snapshot, protocol, config, shuffle_ties)
    split = make_split(sequences, len(texts), protocol, config)
    check_split(split, sequences)
    callback = progress.under(protocol)
    began = time.process_time()
    if parent is None:
        trained = train_on(split, texts, frozen, config, callback, checkpoints, pretrained)
    else:
        rows, learnt = parent.rows(snapshot), parent.learnt(snapshot, split)
        trained = adapt_on(split, texts, frozen, parent, rows, learnt, config, callback, checkpoints)
    cpu_seconds = time.process_time() - began
    rankings = rank_systems(split, frozen, trained, config, systems, callback)
    repeated = []
    for seed in range(config.seed + 1, config.seed + seeds):
        again = replace(config, seed=seed)
        repeated += rank_systems(
            split, frozen, train_on(split, texts, frozen, again, callback), again, systems, callback
        )
    samples = config.evaluation.bootstrap_samples
    figures = section([*rankings, *repeated], split, frozen.vectors, samples=samples, seed=config.seed)
    figures["counts"] |= special
    return Measured(split, trained, rankings, figures, cpu_seconds)


@flow(name="evaluate")
def evaluate_systems(
    snapshot_id: str,
    out: str,
    home: str | None = None,
    protocol: Protocol = "leave-one-out",
    config: ModelConfig = _DEFAULT,
    systems: tuple[str, ...] = SYSTEMS,
    name: str | None = None,
    seeds: int = 1,
    shuffle_ties: bool = False,
) -> dict[str, Any]:
    """Train all systems on a snapshot, write metrics, top lists and a page, and return the metrics document.

    Args:
        snapshot_id: what to train and to ask on.
        out: the folder for ``metrics.json``, ``lists.parquet`` and ``report.html``.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        protocol: how targets are held out.
        config: all settings of our system, some of them shared by the baselines.
        systems: which to train and rank; ``recsys`` is ours.
        name: what the report calls the data; empty: the snapshot's id.
        seeds: how many trainings, with this many seeds from ``config.seed`` on; figures are means, lists the first's.

        shuffle_ties: put one user's events at equal times in random order, to see that no figure hangs on it.

    Raises:
        ArtifactError: there is no such snapshot.
        ValueError: the data does not allow the protocol, there are no ties to shuffle, or a system does not exist.
    """
    snapshot = open_snapshot(open_home(home), snapshot_id)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be written is known at once
    pretrained = pretrained_folder(open_home(home), config.adapter)
    texts, frozen = encode_texts(snapshot, config)
    measured = measure(
        snapshot, protocol, texts, frozen, config, systems, seeds, pretrained=pretrained, shuffle_ties=shuffle_ties
    )
    document = describe(snapshot, config, {protocol: measured.figures}, name)
    write_lists(folder / LISTS, measured.rankings, snapshot.user_ids(), snapshot.item_ids())
    write_atomic(folder / PAGE, page(document).encode())
    write_metrics(folder / METRICS, document)
    report_metrics(document)
    return document


def allowed_protocols(snapshot: Snapshot, config: ModelConfig) -> list[Protocol]:
    """Return the configured protocols that the snapshot's times allow.

    Raises:
        ValueError: none is left.
    """
    allowed = [name for name in config.evaluation.protocols if allows(snapshot, name, config)]
    if not allowed:
        raise ValueError(
            f"Snapshot {snapshot.id} has made-up timestamps, and evaluation.protocols names nothing but temporal. "
            "Add leave-one-out."
        )
    return allowed


def describe(
    snapshot: Snapshot, config: ModelConfig, protocols: dict[str, dict[str, Any]], name: str | None = None
) -> dict[str, Any]:
    """Return the metrics document of some protocols' figures on a snapshot, as JSON values."""
    data = {"name": name or snapshot.id, "snapshot": snapshot.id, **snapshot.manifest["counts"]}
    document: dict[str, Any] = json.loads(json.dumps(metrics_document(data, to_dict(config), protocols, device_name())))
    return document
