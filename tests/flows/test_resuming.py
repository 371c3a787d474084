"""Training further on newer events and items, and trainings that were killed: both end where they should."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from processes import PATIENCE_SECONDS
from safetensors.numpy import load_file
from synthetic import SMALL, write_dataset
from test_cli import run, shown

from recsys.artifacts import write_json
from recsys.config import to_dict
from recsys.data.snapshot import open_snapshot
from recsys.home import Home
from recsys.serving.recommender import Recommender
from recsys.store.adapters import read_card, verify_adapter
from recsys.store.generations import read_generation

SETTINGS = to_dict(SMALL) | {"evaluation": {"protocols": ["temporal"], "bootstrap_samples": 200}}
SETTINGS["adapter"] |= {"rounds": 8}
NEW_ITEMS = 6
# Runs a command and is gone, as by a loss of power, when some stage has saved its first checkpoint.
KILLED = """
import os, signal, sys
from recsys.models.checkpoints import Checkpoint
save = Checkpoint.save
def save_and_die(self, state):
    save(self, state)
    if self.path.parent.name + "/" + self.path.stem == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
Checkpoint.save = save_and_die
from flows.cli import app
app(sys.argv[2:])
"""


def ingest(home: Home, folder: Path, events: pl.DataFrame, items: pl.DataFrame) -> str:
    """Write two tables and make a snapshot of them."""
    folder.mkdir(parents=True, exist_ok=True)
    events.write_parquet(folder / "events.parquet")
    items.write_parquet(folder / "items.parquet")
    tables = ["--events", folder / "events.parquet", "--items", folder / "items.parquet"]
    snapshot: str = run("ingest", *tables, "--home", home.root)["snapshot"]
    return snapshot


def tables(folder: Path) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
    """Return events and items as they are known early, when some items are not born yet, and late."""
    events, items = map(pl.read_parquet, write_dataset(folder))
    born_late = pl.col("item_id").is_in(items["item_id"].to_list()[-NEW_ITEMS:])
    early = events.filter(pl.col("timestamp") < events["timestamp"].quantile(0.75))
    return {
        "early": (early.filter(~born_late), items.filter(~born_late)),
        "late": (events.filter(~born_late | (pl.col("timestamp") > early["timestamp"].max())), items),
    }


@pytest.fixture(scope="module")
def place(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("life"))


@pytest.fixture(scope="module")
def snapshots(place: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tables")
    return {name: ingest(place, folder / name, *parts) for name, parts in tables(folder).items()}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "model.json"
    write_json(path, SETTINGS)
    return path


@pytest.fixture(scope="module")
def parent(place: Home, snapshots: dict[str, str], settings: Path) -> dict[str, Any]:
    return run("train", "--snapshot", snapshots["early"], "--config", settings, "--home", place.root)


@pytest.fixture(scope="module")
def child(place: Home, snapshots: dict[str, str], parent: dict[str, Any]) -> dict[str, Any]:
    return run("train", "--snapshot", snapshots["late"], "--resume-from", parent["adapter"], "--home", place.root)


def killed(stage: str, *arguments: Any) -> None:
    """Run a command in a process that dies after the first checkpoint of a stage."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED, stage, *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def copy_of(home: Home, folder: Path, *rooms: str) -> Home:
    """Return a home with copies of some rooms of another."""
    folder.mkdir()
    for room in rooms:
        shutil.copytree(home.root / room, folder / room)
    return Home(folder)


def test_a_child_has_its_parents_settings_and_whitening_and_knows_where_it_comes_from(
    place: Home, snapshots: dict[str, str], parent: dict[str, Any], child: dict[str, Any]
) -> None:
    card, older = read_card(place, child["adapter"]), read_card(place, parent["adapter"])
    assert card.parent == child["parent"] == parent["adapter"]
    assert card.snapshot == snapshots["late"]
    assert card.settings["tower"] == older.settings["tower"]
    assert older.parent is None
    maps = [load_file(read_generation(place, one["generation"])[0] / "text.safetensors") for one in (parent, child)]
    assert maps[0].keys() == maps[1].keys()
    for name, array in maps[0].items():
        np.testing.assert_array_equal(maps[1][name], array)
    listed = shown("adapters", "--home", place.root)
    assert listed.count(parent["adapter"][:8]) == 2  # itself, and as a parent, in short
    recommender = Recommender.open(place, child["generation"])
    assert len(recommender.recommend(recommender.history("u000"), k=10).items) == 10


def test_a_child_is_near_its_parent_and_learns_new_items(
    place: Home, snapshots: dict[str, str], parent: dict[str, Any], child: dict[str, Any]
) -> None:
    states = [
        load_file(verify_adapter(place, one["adapter"]) / "training" / "towers.safetensors") for one in (parent, child)
    ]
    ids = [open_snapshot(place, snapshots[name]).item_ids() for name in ("early", "late")]
    new = np.array([item_id not in ids[0] for item_id in ids[1]])
    assert new.sum() == NEW_ITEMS
    cosines = (states[0]["vectors"] * states[1]["vectors"][~new]).sum(axis=1)
    assert cosines.min() > 0.8
    assert not np.array_equal(states[0]["vectors"], states[1]["vectors"][~new])
    norms = np.linalg.norm(states[1]["items.residual"], axis=1)
    unknown = states[1]["items.known"][:, 0] == 0
    assert (norms[unknown & new] == 0).all()
    assert (norms[~unknown & new] > 0).all()


def test_killed_trainings_go_on_to_the_same_ids(
    place: Home,
    snapshots: dict[str, str],
    settings: Path,
    parent: dict[str, Any],
    child: dict[str, Any],
    tmp_path: Path,
) -> None:
    again = copy_of(place, tmp_path / "again", "snapshots")
    first = ["train", "--snapshot", snapshots["early"], "--config", settings, "--home", again.root]
    for stage in ("temporal/adapter", "refit/towers"):
        killed(stage, *first)
    done = run(*first)
    assert [done[name] for name in ("adapter", "generation")] == [parent[name] for name in ("adapter", "generation")]
    further = ["train", "--snapshot", snapshots["late"], "--resume-from", done["adapter"], "--home", again.root]
    killed("temporal/towers", *further)
    done = run(*further)
    assert [done[name] for name in ("adapter", "generation")] == [child[name] for name in ("adapter", "generation")]
    assert not list(again.runs.rglob("*.checkpoint"))


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [("early", "has no events that adapter"), ("none", "holds out or lacks")],
)
def test_what_cannot_be_gone_on_from_is_refused(
    place: Home, snapshots: dict[str, str], parent: dict[str, Any], tmp_path: Path, snapshot: str, reason: str
) -> None:
    chosen = snapshots.get(snapshot)
    if chosen is None:
        events, items = tables(tmp_path)["late"]
        newer = events.filter(pl.col("timestamp") > events["timestamp"].quantile(0.5))
        chosen = ingest(Home(place.root), tmp_path / "newer", newer, items)
    arguments = ["train", "--snapshot", chosen, "--resume-from", parent["adapter"], "--home", place.root]
    assert reason in shown(*arguments, code=1)


def test_an_adapter_without_towers_is_no_parent(place: Home, snapshots: dict[str, str], parent: dict[str, Any]) -> None:
    arguments = ["train", "--snapshot", snapshots["late"], "--home", place.root, "--resume-from"]
    assert "There is no adapter '0123456789abcdef'" in shown(*arguments, "0123456789abcdef", code=1)
