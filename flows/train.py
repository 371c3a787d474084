"""The flow from a snapshot to a generation: the stages as tasks. Nothing is served by it."""

from flows import progress
from flows.evaluate import encode_texts, measure
from flows.forms import Address, Folder, Named, SnapshotId
from flows.reports import report_found, report_training
from flows.retries import COMMIT
from flows.runs import as_tasks, flow, run_id, stage
from flows.runtime import open_home
from flows.work import COMMITTING, TRAINING
from recsys.config import ModelConfig
from recsys.distributed.cluster import sharing
from recsys.publishing import training_run
from recsys.publishing.training_run import Training, recorded

__all__ = ["Training", "recorded", "train_generation"]

_DEFAULT = ModelConfig()

refit = stage("refit")(training_run.refit)
bind = stage("bind generation", again=COMMIT, seconds=COMMITTING)(training_run.bind)


@flow("train", TRAINING, about={"snapshot_id": "", "resume_from": ""})
def train_generation(
    snapshot_id: SnapshotId,
    home: Folder | None = None,
    config: ModelConfig = _DEFAULT,
    resume_from: Named | None = None,
    ray: Address | None = None,
) -> Training:
    """Train a generation on a snapshot, or find the one that the same settings gave before.

    A training that was killed goes on from its last checkpoint and ends with the same weights.

    Args:
        snapshot_id: id of the snapshot to train on, 16 digits as recsys snapshots lists them.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        config: all settings. The first of its protocols that the data allows gives the adapter and the gate's targets.
        resume_from: an adapter to go on from, with newer events and items; the snapshot holds the older ones too. The
            settings and the protocol are then that adapter's, but for ``resume`` and ``seed``; empty: from the
            beginning.
        ray: host:port of a Ray cluster whose nodes share the home and this work; empty: RECSYS_RAY_ADDRESS of whoever
            runs this, or no cluster.

    Raises:
        ArtifactError: there is no such snapshot or adapter.
        DataError: the data allows none of the protocols, holds too few events, or nothing new.
        ClusterError: the cluster cannot be joined, or cannot do its part.
    """
    place = open_home(home)
    with sharing(ray):
        training = training_run.train_generation(
            place, snapshot_id, config, resume_from,
            notes={"flow_run": run_id()}, progress=progress.report, run=as_tasks(encode_texts, measure, refit, bind),
        )  # fmt: skip
    if training.reused:
        report_found(f"generation {training.generation}")
    report_training(place, training.generation)
    return training
