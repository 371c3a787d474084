"""Every baseline and every ablation of ours on a folder of data, with figures that anyone can recompute."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from flows.evaluate import evaluate_systems
from flows.forms import Address, Count, Folder, Seed, some_of
from flows.ingest import ingest_tables
from flows.runs import flow
from flows.runtime import open_home
from flows.work import STEPS
from recsys.config import LEAVE_ONE_OUT, AdapterConfig, IngestConfig, ModelConfig, Protocol, TowerConfig
from recsys.data.sources import SourceError
from recsys.evaluation.report import MetricsDocument
from recsys.training.baselines import SYSTEMS

Preset = Literal["cpu", "gpu"]
PRESETS: dict[Preset, ModelConfig] = {
    "cpu": ModelConfig(),
    # A GPU takes many more steps in the same time. More than these, or of more texts, made text no better on Beauty.
    "gpu": ModelConfig(adapter=AdapterConfig(rounds=200), tower=TowerConfig(epochs=40)),
}
# Published data sets are as they are: what is bad in them is set aside and counted.
_INGEST = IngestConfig(max_quarantined_share=0.5)


@flow("benchmark", STEPS, about={"data": "", "protocol": ""})
def run_benchmark(
    data: Folder,
    out: Folder,
    home: Folder | None = None,
    protocol: Protocol = LEAVE_ONE_OUT,
    preset: Preset = "cpu",
    seed: Seed = 0,
    systems: Annotated[tuple[str, ...], some_of(SYSTEMS)] | None = None,
    seeds: Count = 1,
    shuffle_ties: bool = False,
    ray: Address | None = None,
) -> MetricsDocument:
    """Ingest a folder, train and rank all systems, write ``metrics.json``, ``lists.parquet`` and a page.

    Args:
        data: a folder with ``events.*`` and ``items.*`` after the input contract.
        out: where the files go.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        protocol: how targets are held out.
        preset: how much to train.
        seed: fixes every random choice.
        systems: which to train and rank; empty: all.
        seeds: how many trainings from ``seed`` on; figures are their means.
        shuffle_ties: put one user's events at equal times in random order, to see that no figure hangs on it.
        ray: host:port of a Ray cluster whose nodes share the home and this work; empty: RECSYS_RAY_ADDRESS of whoever
            runs this, or no cluster.

    Raises:
        SourceError: the folder does not hold one table of each kind, or a table cannot be read.
        QualityError: most rows are bad.
        DataError, SettingError: the data does not allow the protocol, there are no ties to shuffle, or a system does
            not exist.
        ClusterError: the cluster cannot be joined, or cannot do its part.
    """
    root, folder = str(open_home(home).root), Path(data)
    snapshot_id = ingest_tables(find_table(folder, "events"), find_table(folder, "items"), root, _INGEST)
    config = replace(PRESETS[preset], seed=seed)
    name = folder.resolve().name
    wanted = systems or SYSTEMS
    return evaluate_systems(snapshot_id, out, root, protocol, config, wanted, name, seeds, shuffle_ties, ray)


def find_table(folder: Path, name: str) -> str:
    """Return the path of ``name.<suffix>``, or of a subfolder ``name``.

    Raises:
        SourceError: there is none, or more than one.
    """
    found = sorted(path for path in folder.glob(f"{name}*") if path.name.split(".")[0] == name)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise SourceError(f"{folder} must hold one table called {name}.* (found: {names}). Move or rename files.")
    return str(found[0])
