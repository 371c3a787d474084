"""The flow that searches settings on validation and trains with the best: every trial in one table and one picture."""

import base64
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from flows import progress
from flows.evaluate import encode_texts
from flows.forms import Address, Folder, SnapshotId
from flows.reports import report_found
from flows.runs import flow, show_image, show_table, stage
from flows.runtime import open_home
from flows.train import Training, train_generation
from flows.work import TRAINING
from recsys.artifacts import short_id, write_atomic, write_json
from recsys.config import ModelConfig, TuneConfig, to_dict
from recsys.data.mapped_sequences import mapped_sequences
from recsys.data.signals import signals_of, with_signals
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.distributed.cluster import sharing
from recsys.evaluation.held_out import allowed_protocols, make_split
from recsys.home import Home
from recsys.training.pretrained import pretrained_folder, with_adapter
from recsys.training.trials import plot
from recsys.training.tuning import Trial, best_of, tune, with_settings
from recsys.training.weighing import as_meant

_MODEL, _SEARCH = ModelConfig(), TuneConfig()


@dataclass(frozen=True)
class Tuned:
    """What a search gave.

    Attributes:
        trials: all of them.
        best: number of the best.
        config: path of the best settings, for ``recsys train --config``.
        plot: path of the picture.
        training: what the training with these settings gave, or None where it was not asked for.
    """

    trials: list[Trial]
    best: int
    config: str
    plot: str
    training: Training | None


@flow("tune", TRAINING, about={"snapshot_id": ""})
def tune_settings(
    snapshot_id: SnapshotId,
    home: Folder | None = None,
    config: ModelConfig = _MODEL,
    search: TuneConfig = _SEARCH,
    train: bool = True,
    ray: Address | None = None,
) -> Tuned:
    """Search settings of adapter and towers by validation, and train a generation with the best.

    A search that was killed goes on and ends as one that was not; one that is done can be given more trials.

    Args:
        snapshot_id: id of the snapshot to learn from, 16 digits as recsys snapshots lists them.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        config: where the search begins, and what it leaves as it is.
        search: how many trials, and when they are pruned.
        train: train with the best settings afterwards.
        ray: host:port of a Ray cluster whose nodes share the home and this work; empty: RECSYS_RAY_ADDRESS of whoever
            runs this, or no cluster.

    Raises:
        ArtifactError: there is no such snapshot.
        DataError: the data allows none of the protocols, or holds too few events.
        ClusterError: the cluster cannot be joined, or cannot do its part.
    """
    place = open_home(home)
    snapshot = open_snapshot(place, snapshot_id)
    config = with_signals(snapshot, with_adapter(place, config))
    key = short_id(snapshot.id, to_dict(config), to_dict(search) | {"trials": 0}, version("recsys"))
    base = place.runs / f"tune-{key}"
    with sharing(ray):
        trials = run_trials(snapshot, place, config, search, base.with_suffix(".db"))
    best = best_of(trials)
    chosen = with_settings(config, best.settings)
    write_json(base.with_suffix(".json"), to_dict(chosen))
    drawing = plot(trials)
    write_atomic(base.with_suffix(".png"), drawing)
    rows = [{**asdict(one), **one.settings, "best": one is best} for one in trials]
    show_table(
        [{name: value for name, value in row.items() if name != "settings"} for row in rows],
        key="trials",
        description=f"Snapshot {snapshot.id}: trial {best.number} is the best by validation NDCG@10.",
    )
    picture = base64.b64encode(drawing).decode()
    show_image(f"data:image/png;base64,{picture}", key="trials-plot", description="Trials by setting.")
    training = train_generation(snapshot_id, str(place.root), chosen, ray=ray) if train else None
    return Tuned(
        trials=trials,
        best=best.number,
        config=str(base.with_suffix(".json")),
        plot=str(base.with_suffix(".png")),
        training=training,
    )


@stage("search settings")
def run_trials(snapshot: Snapshot, home: Home, config: ModelConfig, search: TuneConfig, storage: Path) -> list[Trial]:
    """Run the trials on the training part and the validation targets of the first protocol that the data allows."""
    pretrained = pretrained_folder(home, config.adapter)
    texts, frozen = encode_texts(snapshot, config, progress=progress.report)
    sequences = mapped_sequences(snapshot, signals=signals_of(config))
    split = make_split(sequences, len(texts), allowed_protocols(snapshot, config)[0], config)
    split = as_meant(split, sequences, config, progress=progress.report)
    tried: list[Trial] = []
    trials = tune(
        split.train, split.validation, texts, frozen, config, search, storage, pretrained, progress.report,
        each=lambda trial, _: tried.append(trial),
    )  # fmt: skip
    if not tried:
        report_found(f"all {len(trials)} trials of {storage.stem}")
    return trials
