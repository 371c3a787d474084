"""Pre-training through the command: kept only where it pays; a training that begins with it, or with another's."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from synthetic import SMALL, Dataset
from test_cli import run, shown
from test_pipeline import artifact

from recsys.artifacts import read_json, write_json
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
    assert artifact("found-done", holding="the pre-training, of which nothing was kept")
    kept_so = f"adapter {kept['adapter']} is kept all the same"
    epochs = json.loads(str(artifact("pretraining", holding=kept_so).data))
    assert [set(row) for row in epochs] == [{"epoch", "loss", "perplexity"}] * 2
    assert [row["epoch"] for row in epochs] == [0, 1]
    drawn = artifact("pretraining-curves", holding=kept_so)
    assert str(drawn.data).startswith("data:image/png;base64,")


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


def test_an_adapter_from_elsewhere_becomes_a_generation(
    place: Home, given: dict[str, Path], kept: dict[str, Any], tmp_path: Path
) -> None:
    run("export", "--form", "peft", "--adapter", kept["adapter"], "--out", tmp_path / "peft", "--home", place.root)
    narrow = ("--weights", "fp16", "--adapter", kept["adapter"], "--out", tmp_path / "onnx", "--home", place.root)
    distance = run("export", *narrow)["distance"]
    assert distance["texts"] == 80  # its catalogue
    assert 0 < distance["mean"] <= distance["max"] < 1e-6
    settings = tmp_path / "peft" / "adapter_config.json"
    settings.write_text(settings.read_text().replace('"task_type": "FEATURE_EXTRACTION"', '"task_type": "SEQ_CLS"'))
    brought = run("adapters", "import", tmp_path / "peft", "--home", place.root)
    assert (brought["task"], brought["base"]) == ("imported", SMALL.adapter.lora.base)
    assert brought["training"]["origin"]["task_type"] == "SEQ_CLS"
    arguments = ["train", "--config", given["model"], "--home", place.root, "--adapter", brought["adapter"]]
    done = run(*arguments)
    assert done["parent"] == brought["adapter"]
    training = read_card(place, done["adapter"]).training
    assert training["rounds"] == 0
    assert "first_loss" not in training
    weights = [
        load_file(verify_adapter(place, one) / "adapter_model.safetensors")
        for one in (done["adapter"], brought["adapter"], kept["adapter"])
    ]
    for other in weights[1:]:
        assert weights[0].keys() == other.keys()
        assert all(torch.equal(weight, other[name]) for name, weight in weights[0].items())
    measured = read_json(Path(done["metrics"]))["protocols"]["leave-one-out"]["systems"]
    assert {"recsys.towers", "recsys.frozen-towers"} <= measured.keys()
    assert run(*arguments)["reused"]
    assert run("publish", done["generation"], "--home", place.root, "--force", "--reason", "a test")["published"]
    recommender = Recommender.open(place, done["generation"])
    assert len(recommender.recommend(recommender.history("u000"), k=5).items) == 5
    assert "imported" in shown("adapters", "--home", place.root)
    assert "Give --adapter alone" in shown(*arguments, "--pretrained", kept["adapter"], code=1)
    missing = shown("adapters", "import", tmp_path / "none", "--home", place.root, code=1)
    assert "There is no folder" in " ".join(missing.split())
