"""The flow from a snapshot to a generation: fine-tune, measure, fit again on everything, index, bind.

Nothing is served by it. What a training gave is recorded by its inputs below ``runs``; the same inputs again find that
and train nothing.
"""

import time
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from flows import progress, records
from flows.evaluate import METRICS, Measured, allowed_protocols, describe, encode_texts, measure
from flows.runtime import open_home
from recsys.artifacts import short_id, write_json
from recsys.config import ModelConfig, to_dict
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.evaluation.report import OURS, slices
from recsys.home import Home
from recsys.models.checkpoints import Checkpoints
from recsys.publishing.binding import bind_generation
from recsys.ranking.system import System
from recsys.ranking.text_maps import TextMaps, written_out
from recsys.serving.recommender import Recommender
from recsys.store.adapters import save_adapter
from recsys.store.generations import read_generation
from recsys.training.baselines import QUICK
from recsys.training.fit_system import refit_system
from recsys.training.pretrained import pretrained_folder
from recsys.training.resuming import Parent, continue_system, save_training

GATED = ("cold_items", "warm_items", "head_items", "tail_items")  # slices in which a generation must not be worse
CARD_METRICS = ("ndcg@10", "recall@10", "mrr@20")
_DEFAULT = ModelConfig()


@dataclass(frozen=True)
class Training:
    """What a training gave.

    Attributes:
        generation: its id; not served before it is published.
        adapter: id of the adapter behind it.
        snapshot: id of what it was trained on.
        metrics: path of the metrics document.
        seconds: of the training itself.
        parent: the adapter that it went on from or began with, or None.
        reused: whether it was found done.
    """

    generation: str
    adapter: str
    snapshot: str
    metrics: str
    seconds: float
    parent: str | None = None
    reused: bool = False


@flow(name="train")
def train_generation(
    snapshot_id: str, home: str | None = None, config: ModelConfig = _DEFAULT, resume_from: str | None = None
) -> Training:
    """Train a generation on a snapshot, or find the one that the same settings gave before.

    A training that was killed goes on from its last checkpoint and ends with the same weights.

    Args:
        snapshot_id: what to train on.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        config: all settings. The first of its protocols that the data allows gives the adapter and the gate's targets.
        resume_from: an adapter to go on from, with newer events and items; the snapshot holds the older ones too. The
            settings and the protocol are then that adapter's, but for ``resume`` and ``seed``.

    Raises:
        ArtifactError: there is no such snapshot or adapter.
        ValueError: the data allows none of the protocols, holds too few events, or nothing new.
    """
    place = open_home(home)
    snapshot = open_snapshot(place, snapshot_id)
    parent = Parent.open(place, resume_from) if resume_from else None
    config = parent.settings(config) if parent else config
    key = short_id(snapshot.id, to_dict(config), resume_from, version("recsys"))
    record = place.runs / f"train-{key}.json"
    found = recorded(place, record)
    if found is not None:
        return found

    started, began = time.monotonic(), time.process_time()
    origin = resume_from or config.adapter.pretrained
    pretrained = None if parent else pretrained_folder(place, config.adapter)
    checkpoints = Checkpoints(place.runs / f"train-{key}", key)
    texts, frozen = encode_texts(snapshot, config, parent)
    encoded = time.process_time() - began
    measured = {
        protocol: measure(
            snapshot, protocol, texts, frozen, config, QUICK, 1, checkpoints.under(protocol), parent, pretrained
        )
        for protocol in allowed_protocols(snapshot, config)
    }
    document = describe(snapshot, config, {protocol: part.figures for protocol, part in measured.items()})
    protocol, own = next(iter(measured.items()))
    text = parent.maps.text if parent else written_out(snapshot.items(), config.text)
    maps = TextMaps(text, own.trained.encoding.whitening, frozen.whitening)
    adapter_id = save_adapter(
        place,
        partial(save_training, trained=own.trained, maps=maps),
        adapter_card(snapshot, config, protocol, own, origin),
    )
    began = time.process_time()
    system = refit(snapshot, own, config, checkpoints.under("refit"), parent)
    cpu_seconds = {"encode": encoded, "train": own.cpu_seconds, "refit": time.process_time() - began}
    notes = {
        "flow_run": flow_run.id,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": {name: round(seconds, 1) for name, seconds in cpu_seconds.items()},
    }
    generation_id = bind(place, snapshot, adapter_id, maps, own, system, document, config, notes)

    metrics = read_generation(place, generation_id)[0] / METRICS
    seconds = round(time.monotonic() - started, 1)
    training = Training(
        generation_id, adapter_id, snapshot.id, str(metrics), seconds, resume_from or config.adapter.pretrained
    )
    write_json(record, asdict(training))
    checkpoints.remove()
    return training


@task(name="refit", cache_policy=NO_CACHE)
def refit(
    snapshot: Snapshot, own: Measured, config: ModelConfig, checkpoints: Checkpoints, parent: Parent | None
) -> System:
    """Fit the chosen settings again on all events of the snapshot, for serving; what went on from a parent goes on."""
    trained, sequences = own.trained, snapshot.sequences()
    features = trained.encoding.features
    if parent is None:
        return refit_system(trained.system, sequences, features, config, progress.report, checkpoints)
    learnt = own.split.train.lengths
    return continue_system(trained.system, sequences, learnt, features, config, progress.report, checkpoints)


@task(name="bind generation", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def bind(
    home: Home,
    snapshot: Snapshot,
    adapter_id: str,
    maps: TextMaps,
    own: Measured,
    system: System,
    document: dict[str, Any],
    config: ModelConfig,
    notes: dict[str, Any],
) -> str:
    """Index the item vectors into LanceDB and bind the generation; return its id."""
    with progress.step("Index and bind"):
        parts = {name: chosen for name, chosen in slices(own.rankings[0], own.split).items() if name in GATED}
        return bind_generation(home, snapshot, adapter_id, maps, system, own.rankings, parts, document, config, notes)


def adapter_card(
    snapshot: Snapshot, config: ModelConfig, protocol: str, own: Measured, parent: str | None
) -> dict[str, Any]:
    """Return what an adapter's card says beside its base: where it comes from and how well it does."""
    losses = [record["loss"] for record in own.trained.records]
    ours = {name: summary for name, summary in own.figures["systems"].items() if name.split(".")[0] == OURS}
    return {
        "task": "recommendation",
        "base": own.trained.backbone.name,
        "base_digest": own.trained.backbone.base_digest,
        "snapshot": snapshot.id,
        "settings": to_dict(config),
        "protocol": protocol,
        "training": {"rounds": len(losses), "first_loss": losses[0], "last_loss": losses[-1]},
        "metrics": {
            name: {metric: summary["total"][metric] for metric in CARD_METRICS} for name, summary in ours.items()
        },
        "parent": parent,
    }


def recorded(home: Home, record: Path) -> Training | None:
    """Return a recorded training if all that it made is still there and whole."""

    def check(training: Training) -> None:
        with progress.step("Verify the recorded generation"):
            Recommender.open(home, training.generation)

    return records.recorded(record, Training, check)
