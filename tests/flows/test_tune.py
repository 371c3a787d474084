"""A search for settings: killed and started again it ends alike, looks at no test target, and trains with the best."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import PATIENCE_SECONDS
from synthetic import SMALL, Dataset
from test_cli import run, shown
from test_pipeline import artifact

from recsys.artifacts import read_json, write_json
from recsys.config import LoraConfig, ModelConfig, from_dict, to_dict
from recsys.home import Home
from recsys.training.tuning import SPACE, Trial, best_of, with_settings

SETTINGS = to_dict(replace(SMALL, tower=replace(SMALL.tower, epochs=3))) | {
    "evaluation": {"protocols": ["leave-one-out"], "bootstrap_samples": 200}
}
TRIALS = 4
# Is gone, as by a loss of power, in the middle of its third trial.
KILLED = """
import os, signal, sys
from recsys.training import trying
train, trials = trying.train_towers, []
def train_and_die(*given, **named):
    trials.append(given)
    if len(trials) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return train(*given, **named)
trying.train_towers = train_and_die
from flows.cli import app
app(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def place(prefect_server: str, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("tuning"))
    run("ingest", "--events", dataset.events, "--items", dataset.items, "--home", home.root)
    write_json(home.root / "model.json", SETTINGS)
    return home


@pytest.fixture(scope="module")
def tuned(place: Home) -> dict[str, Any]:
    arguments = ["--config", place.root / "model.json", "--trials", TRIALS, "--home", place.root]
    done: dict[str, Any] = run("tune", *arguments)
    return done


def test_the_first_trial_is_as_given_and_the_best_is_trained_with(place: Home, tuned: dict[str, Any]) -> None:
    assert len(tuned["trials"]) == TRIALS
    first = tuned["trials"][0]["settings"]
    assert first["adapter.lora.rank"] == SMALL.adapter.lora.rank
    assert first["tower.residual_norm"] == SMALL.tower.residual_norm
    assert set(first) == set(SPACE)
    complete = [one for one in tuned["trials"] if one["state"] == "complete"]
    best = tuned["trials"][tuned["best"]]
    assert best["value"] == max(one["value"] for one in complete)
    chosen = from_dict(ModelConfig, read_json(Path(tuned["config"])))
    assert chosen == with_settings(from_dict(ModelConfig, SETTINGS), best["settings"])
    assert Path(tuned["plot"]).read_bytes().startswith(b"\x89PNG")
    trained = run("train", "--config", tuned["config"], "--home", place.root)
    assert trained["reused"]
    assert trained["generation"] == tuned["training"]["generation"]


def test_a_search_that_is_done_says_so(place: Home, tuned: dict[str, Any]) -> None:
    run("tune", "--config", place.root / "model.json", "--trials", TRIALS, "--no-train", "--home", place.root)
    assert artifact("found-done", holding=f"all {TRIALS} trials of {Path(tuned['config']).stem}")


def test_a_killed_search_goes_on_to_the_same_trials(place: Home, tuned: dict[str, Any], tmp_path: Path) -> None:
    again = Home(tmp_path / "again")
    again.root.mkdir()
    shutil.copytree(place.snapshots, again.snapshots)
    arguments = ["tune", "--config", place.root / "model.json", "--trials", TRIALS, "--no-train", "--home", again.root]
    command = [sys.executable, "-W", "ignore", "-c", KILLED, *map(str, arguments)]
    killed = subprocess.run(
        command, env=os.environ, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    output = shown(*arguments)
    assert "recsys train" in output
    assert "is the best" in output
    done = run(*arguments)
    assert done["trials"] == tuned["trials"]
    assert done["best"] == tuned["best"]


def test_of_equal_trials_the_first_complete_one_is_the_best() -> None:
    def trial(number: int, state: str, value: float) -> Trial:
        return Trial(number, state, value, 3, {})

    trials = [trial(0, "pruned", 0.9), trial(1, "complete", 0.5), trial(2, "complete", 0.5), trial(3, "complete", 0.4)]
    assert best_of(trials).number == 1


def test_the_scale_of_lora_stays_when_its_rank_changes() -> None:
    changed, given = with_settings(ModelConfig(), {"adapter.lora.rank": 4, "tower.dropout": 0.3}), LoraConfig()
    assert changed.adapter.lora.rank == 4
    assert changed.adapter.lora.alpha / 4 == given.alpha / given.rank
    assert np.isclose(changed.tower.dropout or 0, 0.3)
