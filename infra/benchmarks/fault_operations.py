"""What is interrupted, and what must hold afterwards: each runs in a process of its own, see ``faults.py``.

All of it is the product's own: ingest (of few events, of many in segments, of a day that joins these), train, bind,
publish, prune. ``whole`` opens everything that a home lists.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import polars as pl

from infra.benchmarks.rebinding import Trained
from recsys.artifacts import ArtifactError
from recsys.config import TEMPORAL, AdapterConfig, EvaluationConfig, ModelConfig, TowerConfig
from recsys.data import batches
from recsys.data.segments import keys, spill, trie
from recsys.data.snapshot import Snapshot, list_snapshots, open_snapshot
from recsys.home import Home
from recsys.interactive.data import ingest
from recsys.publishing.admission import publish
from recsys.publishing.training_run import train_generation
from recsys.serving.recommender import Recommender
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World
from recsys.simulation.writing import write_world
from recsys.store.adapters import list_adapters, verify_adapter
from recsys.store.generations import (
    clean_up,
    current_id,
    earlier_ids,
    list_generations,
    newest_id,
    promote,
    read_generation,
    rollback,
)
from recsys.store.pointer import list_promotions
from recsys.store.promotions import Cause
from recsys.store.retention import prune

WORLD = SimulationConfig(users=60, items=50, events=1_500, days=60)
DAY_EVENTS = 100
TINY = ModelConfig(
    adapter=AdapterConfig(rounds=2, items_per_round=16),
    tower=TowerConfig(dimensions=16, epochs=2),
    evaluation=EvaluationConfig(bootstrap_samples=50, protocols=(TEMPORAL,)),
)
LATER = timedelta(days=30)


def make_data(work: Path) -> None:
    """Write the raw files of a small shop; the last hundred events once more, as those of a day."""
    write_world(World(WORLD), work / "shop")
    events = pl.concat(map(pl.read_parquet, sorted((work / "shop" / "events").rglob("*.parquet")))).sort("timestamp")
    events[:-DAY_EVENTS].write_parquet(work / "shop" / "before.parquet")
    events[-DAY_EVENTS:].write_parquet(work / "shop" / "day.parquet")


def make_served(work: Path) -> None:
    """Make the home ``served``, with a trained generation that is served, and ``empty``, with its snapshot alone."""
    home = Home(work / "served").make()
    _ingest(home, work)
    shutil.copytree(home.root, work / "empty")
    promote(home, train_generation(home, list_snapshots(home)[0].id, TINY).generation)
    segmented = Home(work / "segmented").make()
    with _small_parts():
        ingest(*_tables(work, "before.parquet"), home=segmented, progress=False)


def make_more(work: Path) -> None:
    """Make the homes ``candidate``, with a generation more that is not served, and ``full``, with five, two served."""
    for name, numbers in (("candidate", (1,)), ("full", (1, 2, 3, 4))):
        home = Home(Path(shutil.copytree(work / "served", work / name)))
        with TemporaryDirectory(dir=work) as beside:
            trained = Trained(home, str(current_id(home)), Path(beside) / "trained")
            bound = [trained.bind(number) for number in numbers]
        if name == "full":
            promote(home, bound[-1])


def _tables(work: Path, events: str) -> tuple[str, str]:
    return str(work / "shop" / events), str(work / "shop" / "items.parquet")


@contextmanager
def _small_parts() -> Iterator[None]:
    """Let a small shop be ingested as a large one is: in batches, by way of the disk, and into segments."""
    with (
        patch.multiple(trie, LEAF_ROWS=100),
        patch.multiple(batches, BATCH_ROWS=300, SMALL_ROWS=0, SMALL_BYTES=0),
        patch.multiple(spill, MOST_HELD=20_000),
        patch.multiple(keys, MOST_HELD=4_000),
    ):
        yield


def _ingest(home: Home, work: Path) -> dict[str, Any]:
    return {"snapshot": ingest(*_tables(work, "events"), home=home, progress=False).id}


def _segments(home: Home, work: Path) -> dict[str, Any]:
    with _small_parts():
        return _counts(ingest(*_tables(work, "events"), home=home, progress=False))


def _append(home: Home, work: Path) -> dict[str, Any]:
    day, _ = _tables(work, "day.parquet")
    with _small_parts():
        return _counts(ingest(day, home=home, append=list_snapshots(home)[0].id, progress=False))


def _counts(snapshot: Snapshot) -> dict[str, Any]:
    repeats, segments = snapshot.manifest.repeats, snapshot.manifest.segments or []
    found = {"snapshot": snapshot.id, "users": snapshot.manifest.counts.users, "segments": len(segments)}
    return found | {"repeats": 0.0 if repeats is None else repeats.share}


def _train(home: Home, work: Path) -> dict[str, Any]:
    done = train_generation(home, list_snapshots(home)[0].id, TINY)
    return {"generation": done.generation, "adapter": done.adapter}


def _bind(home: Home, work: Path) -> dict[str, Any]:
    with TemporaryDirectory(dir=home.root.parent) as beside:  # which goes with the home where this is killed
        return {"generation": Trained(home, str(current_id(home)), Path(beside) / "trained").bind(1)}


def _publish(home: Home, work: Path) -> dict[str, Any]:
    chosen = newest_id(home)
    # whatever the gate says of a system that has hardly been trained
    verdict = publish(home, chosen, force=True, cause=Cause(reason="a trial"))
    return {"served": current_id(home), "passed": verdict.passed}


def _prune(home: Home, work: Path) -> dict[str, Any]:
    prune(home, 2, now=datetime.now(UTC) + LATER)
    return {"generations": [one.id for one in list_generations(home)]}


# the operation, and the home that it begins with
OPERATIONS: dict[str, tuple[Callable[[Home, Path], dict[str, Any]], str]] = {
    "ingest": (_ingest, "none"),
    "segments": (_segments, "none"),
    "append": (_append, "segmented"),
    "train": (_train, "empty"),
    "bind": (_bind, "served"),
    "publish": (_publish, "candidate"),
    "prune": (_prune, "full"),
}


def whole(home: Home) -> dict[str, Any]:
    """Open everything that a home lists, and answer by what is served; return what there is.

    Raises:
        ArtifactError: something is neither whole nor gone.
    """
    for one in list_snapshots(home):
        open_snapshot(home, one.id)
    for card in list_adapters(home):
        verify_adapter(home, card.id)
    for manifest in list_generations(home):
        Recommender.open(home, manifest.id)
    served = current_id(home)
    if served is not None and not Recommender.open(home).recommend([]).items:
        raise RuntimeError(f"Generation {served} answers with nothing.")
    for earlier in earlier_ids(home):
        read_generation(home, earlier)
    return {"served": served, "promotions": len(list_promotions(home)), **names(home)}


def names(home: Home) -> dict[str, list[str]]:
    """Return what lies in the rooms of a home, by name; nothing that ended processes have left."""
    clean_up(home)
    rooms = {
        "snapshots": home.snapshots,
        "adapters": home.adapters,
        "generations": home.generations,
        "lance": home.lance,
    }
    return {
        name: sorted(path.name for path in room.glob("*") if not path.name.endswith("lock") and path.suffix != ".npy")
        for name, room in rooms.items()
    }


def files_of_served(home: Home) -> list[str]:
    """Return the paths below the home of all files of what is served: generation, adapter, snapshot and table."""
    served = str(current_id(home))
    manifest = read_generation(home, served)[1]
    folders = [
        home.generations / served, home.adapters / manifest.adapter, home.snapshots / manifest.snapshot,
        home.lance / f"{manifest.index.table}.lance" / "data",
    ]  # fmt: skip
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path.relative_to(home.root).as_posix() for path in files if path.stat().st_size > 1]


def cut_short(home: Home) -> str:
    """Open what is served, of which a file was cut short; go back, and answer.

    Raises:
        RuntimeError: it opened all the same, or its error is not clear.
    """
    for vectors in home.lance.glob("*.npy"):
        vectors.unlink()  # made again of the table
    try:
        Recommender.open(home)
    except ArtifactError as error:
        said = str(error)
    else:
        raise RuntimeError("it opened all the same")
    rollback(home)
    if not Recommender.open(home).recommend([]).items:
        raise RuntimeError("what was served before answers with nothing")
    return said


def clock_back(home: Home) -> None:
    """Prune by a clock that is ten years behind.

    Raises:
        RuntimeError: something went.
    """
    found = prune(home, 2, now=datetime.now(UTC) - timedelta(days=3_650))
    if found.goes:
        raise RuntimeError(f"{found.goes[0].place} went")


def answered(home: Home) -> None:
    """Answer as `recsys recommend` does.

    Raises:
        RuntimeError: it answers with nothing, or fails.
    """
    from typer.testing import CliRunner

    from flows.cli import app

    done = CliRunner().invoke(app, ["recommend", "--user", "u1", "--home", str(home.root), "--json"])
    if done.exit_code or '"items": [{' not in done.stdout:
        raise RuntimeError(done.output[-500:])
