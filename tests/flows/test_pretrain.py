"""Pre-training through the command: kept only where it pays, and a training that begins with it."""

from pathlib import Path
from typing import Any

import pytest
from synthetic import SMALL, Dataset
from test_cli import run, shown

from recsys.artifacts import write_json
from recsys.config import to_dict
from recsys.home import Home
from recsys.serving.recommender import Recommender
from recsys.store.adapters import read_card, verify_adapter
from recsys.texts.vectors import TextVectors

SETTINGS = to_dict(SMALL) | {"evaluation": {"protocols": ["leave-one-out"], "bootstrap_samples": 200}}
FEW = {"epochs": 1, "judge_steps": 20}


@pytest.fixture(scope="module")
def place(prefect_server: str, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("pretraining"))
    run("ingest", "--events", dataset.events, "--items", dataset.items, "--home", home.root)
    return home


@pytest.fixture(scope="module")
def given(place: Home) -> dict[str, Path]:
    paths = {"model": place.root / "model.json", "few": place.root / "few.json"}
    write_json(paths["model"], SETTINGS)
    write_json(paths["few"], FEW)
    return paths


@pytest.fixture(scope="module")
def kept(place: Home, given: dict[str, Path]) -> dict[str, Any]:
    arguments = ["--config", given["few"], "--model", given["model"], "--home", place.root]
    done: dict[str, Any] = run("pretrain", *arguments, "--keep")
    return done


def test_what_does_not_pay_is_not_kept(place: Home, given: dict[str, Path], kept: dict[str, Any]) -> None:
    assert kept["worth"]["pays"] is False  # the world is too small for an interval above 0
    arguments = ["--config", given["few"], "--model", given["model"], "--home", place.root]
    output = shown("pretrain", *arguments)
    assert "it does not pay; nothing is kept" in " ".join(output.split())
    done = run("pretrain", *arguments)
    assert done["reused"]
    assert done["adapter"] is None
    assert (done["perplexity"], done["worth"]) == (kept["perplexity"], kept["worth"])
    assert [path.name for path in place.adapters.iterdir()] == [kept["adapter"]]
    assert not list(place.runs.rglob("*.checkpoint"))


def test_a_training_begins_with_it_and_says_so(place: Home, given: dict[str, Path], kept: dict[str, Any]) -> None:
    card = read_card(place, kept["adapter"])
    assert card.task == "pretraining"
    assert card.metrics["worth"] == kept["worth"]
    assert "perplexity" in shown("adapters", "--home", place.root)
    done = run("train", "--config", given["model"], "--pretrained", kept["adapter"], "--home", place.root)
    assert done["parent"] == read_card(place, done["adapter"]).parent == kept["adapter"]
    anew = run("train", "--config", given["model"], "--home", place.root)
    assert anew["parent"] is None
    weights = {
        one: (verify_adapter(place, one) / "adapter_model.safetensors").read_bytes()
        for one in (done["adapter"], anew["adapter"], kept["adapter"])
    }
    assert len(set(weights.values())) == 3
    recommender = Recommender.open(place, done["generation"])
    assert len(recommender.recommend(recommender.history("u000"), k=5).items) == 5
    assert TextVectors.of_adapter(place, kept["adapter"]).encode(["Desert Sheriff"]).shape == (1, 768)


def test_other_shapes_and_other_tasks_are_refused(
    place: Home, given: dict[str, Path], kept: dict[str, Any], tmp_path: Path
) -> None:
    other = SETTINGS | {"adapter": {"rank": 4}}  # as it was written before LoRA had a place of its own
    write_json(tmp_path / "other.json", other)
    arguments = ["train", "--home", place.root, "--pretrained", kept["adapter"]]
    assert "pre-trained with rank 8" in shown(*arguments, "--config", tmp_path / "other.json", code=1)
    assert "not both" in shown(*arguments, "--resume-from", kept["adapter"], code=1)
    assert "no towers to go on from" in shown("train", "--resume-from", kept["adapter"], "--home", place.root, code=1)
