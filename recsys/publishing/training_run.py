"""From a snapshot to a generation: fine-tune, measure, fit again on everything, index, bind. Nothing is served by it.

What a training gave is recorded by its inputs below ``runs``; the same inputs again find that and train nothing. Who
runs a stage is the caller's choice: a plain call by default, a task with retries in a flow.
"""

import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recsys.artifacts import Hold, mark_used, short_id, write_json
from recsys.callbacks import RunStage, StageProgress, call, stage, step
from recsys.config import ModelConfig, Protocol, to_dict
from recsys.data.mapped_sequences import mapped_sequences
from recsys.data.signals import signals_of, with_signals
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.distributed.cluster import executor_at
from recsys.distributed.executor import InProcess, shards_done
from recsys.evaluation.held_out import allowed_protocols
from recsys.evaluation.objective import objective_values
from recsys.evaluation.report import HEADLINE, METRICS_FILE, OURS, Learning, MetricsDocument, Section, slices
from recsys.home import Home
from recsys.models.checkpoints import Checkpoints
from recsys.publishing.binding import bind_generation
from recsys.publishing.report import write_report
from recsys.ranking.system import System
from recsys.ranking.text_maps import TextMaps, written_out
from recsys.serving.recommender import Recommender
from recsys.store import records
from recsys.store.adapters import save_adapter
from recsys.store.generations import clean_up, read_generation
from recsys.store.manifests import RECOMMENDATION, AdapterCard
from recsys.store.names import ADAPTER, meant
from recsys.training.baselines import FROZEN_TOWERS, QUICK
from recsys.training.fit_system import refit_system
from recsys.training.measuring import Measured, describe, encode_texts
from recsys.training.pretrained import is_frozen, pretrained_folder, with_adapter
from recsys.training.protocols import ProtocolsJob
from recsys.training.resuming import Parent, continue_system, save_training

# slices in which a generation must not be worse
GATED = ("cold_items", "warm_items", "head_items", "tail_items", "repeats", "firsts")
CARD_METRICS = (HEADLINE, "recall@10", "mrr@20")
_DEFAULT = ModelConfig()
_LOG = logging.getLogger(__name__)


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


def train_generation(
    home: Home,
    snapshot_id: str,
    config: ModelConfig = _DEFAULT,
    resume_from: str | None = None,
    notes: Mapping[str, Any] | None = None,
    progress: StageProgress | None = None,
    run: RunStage = call,
) -> Training:
    """Train a generation on a snapshot, or find the one that the same settings gave before.

    A training that was killed goes on from its last checkpoint and ends with the same weights.

    Args:
        home: where state lives.
        snapshot_id: what to train on.
        config: all settings. The first of its protocols that the data allows gives the adapter and the gate's targets.
        resume_from: an adapter, by id or alias, to go on from, with newer events and items; the snapshot holds older
            ones too. The settings and the protocol are then that adapter's, but for ``resume`` and ``seed``.
        notes: what the generation's manifest shall say beside its timings, as JSON values; no part of its id.
        progress: called with stage, done, total.
        run: what runs a stage.

    Raises:
        ArtifactError: there is no such snapshot or adapter.
        DataError: the data allows none of the protocols, holds too few events, one text for all items, or nothing new.
        SettingError: the objective is no column of numbers.
        ClusterError: ``RECSYS_RAY_ADDRESS`` names a cluster that cannot do its part.
    """
    clean_up(home)
    snapshot = open_snapshot(home, snapshot_id)
    resume_from = None if resume_from is None else meant(home, ADAPTER, resume_from)
    parent = Parent.open(home, resume_from) if resume_from else None
    config = parent.settings(config) if parent else with_signals(snapshot, with_adapter(home, config))
    objective_values(snapshot.items(), config)  # before anything is trained
    key = short_id(snapshot.id, to_dict(config), resume_from, version("recsys"))
    record = home.runs / f"train-{key}.json"
    found = recorded(home, record, progress)
    if found is not None:
        return found

    started, began = time.monotonic(), time.process_time()
    protocols = allowed_protocols(snapshot, config)  # before anything is trained
    origin = resume_from or config.adapter.pretrained
    pretrained = None if parent else pretrained_folder(home, config.adapter)
    held = [Hold(home.adapters / origin)] if origin else []
    systems = (*QUICK, FROZEN_TOWERS) if is_frozen(config.adapter) else QUICK  # the adapter's towers, and the base's
    checkpoints = Checkpoints(home.runs / f"train-{key}", key)
    texts, frozen = run(encode_texts, snapshot, config, parent, progress, checkpoints)
    encoded = time.process_time() - began
    clock = {"read texts": time.monotonic() - started}
    before = time.monotonic()
    figures: dict[str, Section] = {}
    own: Measured | None = None  # by the first protocol; of the others only figures stay in memory
    job = ProtocolsJob(
        snapshot, protocols[0], texts, frozen, config, systems, checkpoints, parent, pretrained, progress, run
    )
    with executor_at() if len(protocols) > 1 else nullcontext(InProcess()) as executor:
        advance = shards_done(executor, stage(progress, "Train by protocols"), len(protocols))
        parts = executor.map(job, protocols, advance, trains=True)
        for protocol in protocols:
            figures[protocol], measured = next(parts)
            own, measured = own or measured, None
    del job, parts
    assert own is not None
    protocol = protocols[0]
    clock["train and measure"] = time.monotonic() - before
    document = describe(snapshot, config, figures)
    text = parent.maps.text if parent else written_out(snapshot.items(), config.text)
    document["learning"] = learning(own)
    maps = TextMaps(text, own.trained.encoding.whitening, frozen.whitening)
    adapter_id = save_adapter(
        home,
        partial(save_training, trained=own.trained, maps=maps),
        adapter_card(snapshot, config, protocol, own, origin),
    )
    held.append(Hold(home.adapters / adapter_id))  # until the generation names it
    began, before = time.process_time(), time.monotonic()
    system = run(refit, snapshot, own, config, checkpoints.under("refit"), parent, progress)
    clock["refit"] = time.monotonic() - before
    cpu_seconds = {"encode": encoded, "train": own.cpu_seconds, "refit": time.process_time() - began}
    timings = {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": {name: round(seconds, 1) for name, seconds in cpu_seconds.items()},
        "stage_seconds": {name: round(seconds, 1) for name, seconds in clock.items()},
    }
    generation_id = run(
        bind, home, snapshot, adapter_id, maps, own, system, document, config, {**(notes or {}), **timings}, progress
    )

    metrics = read_generation(home, generation_id)[0] / METRICS_FILE
    seconds = round(time.monotonic() - started, 1)
    training = Training(generation_id, adapter_id, snapshot.id, str(metrics), seconds, origin)
    write_json(record, asdict(training))
    checkpoints.remove()
    del own, system, texts, frozen, maps  # the generation is opened, and need not stand beside them in memory
    with step(progress, "Write the report"):
        try_report(home, generation_id)
    return training


def refit(
    snapshot: Snapshot,
    own: Measured,
    config: ModelConfig,
    checkpoints: Checkpoints,
    parent: Parent | None,
    progress: StageProgress | None = None,
) -> System:
    """Fit the chosen settings again on all events of the snapshot, for serving; what went on from a parent goes on."""
    trained = own.trained
    sequences = mapped_sequences(snapshot, signals=signals_of(config)).weighed(trained.system.weighing)
    features = trained.encoding.features
    if parent is None:
        return refit_system(trained.system, sequences, features, config, progress, checkpoints)
    learnt = own.split.train.lengths
    return continue_system(trained.system, sequences, learnt, features, config, progress, checkpoints)


def bind(
    home: Home,
    snapshot: Snapshot,
    adapter_id: str,
    maps: TextMaps,
    own: Measured,
    system: System,
    document: MetricsDocument,
    config: ModelConfig,
    notes: dict[str, Any],
    progress: StageProgress | None = None,
) -> str:
    """Index the item vectors into LanceDB and bind the generation; return its id."""
    with step(progress, "Index and bind"):
        parts = {name: chosen for name, chosen in slices(own.rankings[0], own.split).items() if name in GATED}
        return bind_generation(home, snapshot, adapter_id, maps, system, own.rankings, parts, document, config, notes)


def try_report(home: Home, generation_id: str) -> None:
    """Write the report; a page that fails is told in the log, and keeps nobody from what was trained."""
    try:
        write_report(home, generation_id)
    except Exception:
        _LOG.exception("No report of generation %s. `recsys evaluate --report` tries it again.", generation_id)


def learning(own: Measured) -> Learning:
    """Return how the training of the adapter and of the towers went, by round and by epoch."""
    chosen = own.trained.system.chosen
    return {
        "adapter": own.trained.records,
        "towers": chosen.get("tower_history", []),
        "ids": chosen.get("id_tower_history", []),
    }


def adapter_card(
    snapshot: Snapshot, config: ModelConfig, protocol: Protocol, own: Measured, parent: str | None
) -> AdapterCard:
    """Return an adapter's card: where it comes from and how well it does."""
    losses = [record["loss"] for record in own.trained.records]
    ours = {name: summary for name, summary in own.figures["systems"].items() if name.split(".")[0] == OURS}
    return AdapterCard(
        task=RECOMMENDATION,
        base=own.trained.backbone.name,
        base_digest=own.trained.backbone.base_digest,
        pooling=own.trained.backbone.recorded_pooling,
        snapshot=snapshot.id,
        protocol=protocol,
        settings=to_dict(config),
        training={"rounds": len(losses)}
        | ({"first_loss": losses[0], "last_loss": losses[-1]} if losses else {})
        | {"weights": own.trained.system.parts.weights},
        metrics={name: {metric: summary["total"][metric] for metric in CARD_METRICS} for name, summary in ours.items()},
        parent=parent,
    )


def recorded(home: Home, record: Path, progress: StageProgress | None = None) -> Training | None:
    """Return a recorded training if all that it made is still there and whole."""

    def check(training: Training) -> None:
        with step(progress, "Verify the recorded generation"):
            Recommender.open(home, training.generation)
            mark_used(home.generations / training.generation)

    return records.recorded(record, Training, check)
