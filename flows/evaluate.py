"""Train and rank on held-out events: the stages as tasks, and a flow with the files for everybody to check."""

from pathlib import Path
from typing import Annotated

from flows import progress
from flows.forms import Address, Count, Folder, SnapshotId, Text, some_of
from flows.reports import report_metrics
from flows.runs import as_tasks, flow, stage
from flows.runtime import open_home
from flows.work import TRAINING
from recsys.artifacts import ArtifactError, write_atomic
from recsys.config import LEAVE_ONE_OUT, ModelConfig, Protocol
from recsys.data.snapshot import list_snapshots, open_snapshot
from recsys.distributed.cluster import sharing
from recsys.evaluation.held_out import allowed_protocols
from recsys.evaluation.page import PAGE_FILE, page
from recsys.evaluation.report import LISTS_FILE, METRICS_FILE, MetricsDocument, write_lists, write_metrics
from recsys.home import Home
from recsys.training import measuring
from recsys.training.baselines import SYSTEMS

__all__ = ["allowed_protocols", "encode_texts", "evaluate_systems", "measure"]

_DEFAULT = ModelConfig()

encode_texts = stage("read texts")(measuring.encode_texts)
measure = stage("measure", "measure {protocol}")(measuring.measure)


@flow("evaluate", TRAINING, about={"snapshot_id": "the newest snapshot", "protocol": ""})
def evaluate_systems(
    snapshot_id: SnapshotId | None = None,
    out: Folder | None = None,
    home: Folder | None = None,
    protocol: Protocol = LEAVE_ONE_OUT,
    config: ModelConfig = _DEFAULT,
    systems: Annotated[tuple[str, ...], some_of(SYSTEMS)] = SYSTEMS,
    name: Text | None = None,
    seeds: Count = 1,
    shuffle_ties: bool = False,
    ray: Address | None = None,
) -> MetricsDocument:
    """Train all systems on a snapshot, write metrics, top lists and a page, and return the metrics document.

    Args:
        snapshot_id: id of the snapshot to train and to ask on, 16 digits; empty: the newest.
        out: the folder for ``metrics.json``, ``lists.parquet`` and ``report.html``; empty: one below the home's runs,
            named after snapshot and protocol.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        protocol: how targets are held out.
        config: all settings of our system, some of them shared by the baselines.
        systems: which to train and rank; ``recsys`` is ours.
        name: what the report calls the data; empty: the snapshot's id.
        seeds: how many trainings, with this many seeds from ``config.seed`` on; figures are means, lists the first's.
        shuffle_ties: put one user's events at equal times in random order, to see that no figure hangs on it.
        ray: host:port of a Ray cluster whose nodes share the home and this work; empty: RECSYS_RAY_ADDRESS of whoever
            runs this, or no cluster.

    Raises:
        ArtifactError: there is no such snapshot.
        DataError, SettingError: the data does not allow the protocol, there are no ties to shuffle, or a system does
            not exist.
        ClusterError: the cluster cannot be joined, or cannot do its part.
    """
    place = open_home(home)
    snapshot = open_snapshot(place, snapshot_id or _newest(place))
    folder = Path(out) if out else place.runs / f"evaluate-{snapshot.id}-{protocol}"
    folder.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be written is known at once
    with sharing(ray):
        document, rankings = measuring.evaluate_systems(
            place, snapshot, protocol, config, systems, name, seeds, shuffle_ties,
            progress=progress.report, run=as_tasks(encode_texts, measure),
        )  # fmt: skip
    write_lists(folder / LISTS_FILE, rankings, snapshot.user_ids(), snapshot.item_ids())
    write_atomic(folder / PAGE_FILE, page(document).encode())
    write_metrics(folder / METRICS_FILE, document)
    report_metrics(document)
    return document


def _newest(home: Home) -> str:
    snapshots = list_snapshots(home)
    if not snapshots:
        raise ArtifactError(f"There is no snapshot in {home.snapshots}. Ingest first.")
    return snapshots[-1].id
