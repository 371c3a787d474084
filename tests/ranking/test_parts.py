"""What a blend is made of, and what an adapter moves: said by every generation, also where it moves nothing."""

import json
from pathlib import Path

import pytest

from recsys.evaluation.report import FROZEN
from recsys.home import Home
from recsys.ranking.parts import ADAPTED, COMPONENTS, Parts, parts_of
from recsys.ranking.system import TOWERS, System
from recsys.serving.explanation import TEMPLATES
from recsys.store.generations import current_id
from recsys.training.baselines import SYSTEMS


def test_every_component_has_a_sentence_and_every_pair_its_systems() -> None:
    assert set(COMPONENTS) == set(TEMPLATES)
    assert ADAPTED == TOWERS
    assert {*FROZEN, *FROZEN.values()} <= set(SYSTEMS)


def test_an_adapter_without_a_part_is_said_to_have_none() -> None:
    without = Parts.of({"rules": 1.0, "content": 0.5, "towers": 0.0})
    assert without.weights == {"rules": 1.0, "content": 0.5}
    assert without.adapter_share == 0
    assert without.adapter_part.startswith("The adapter has no part in this generation's lists: the blend gives the")
    parts = Parts.of({"rules": 1.0, "towers": 3.0})
    assert list(parts.shares.items()) == [("towers", 0.75), ("rules", 0.25)]
    assert "have 75 % of the blend's weight" in parts.adapter_part


@pytest.mark.parametrize(
    "written", ["", "{", "[]", "{}", '{"blend": {"weights": [1]}}', '{"blend": {"weights": {"a": "x"}}}']
)
def test_a_folder_without_a_readable_system_hides_no_other(tmp_path: Path, written: str) -> None:
    if written:
        (tmp_path / "system.json").write_text(written)
    assert parts_of(tmp_path) == {"weights": None, "adapter_share": None, "adapter_part": None}


def test_a_generation_says_what_its_system_weighs(home: Home) -> None:
    folder = home.generations / str(current_id(home))
    weights = json.loads((folder / "system.json").read_text())["blend"]["weights"]
    assert System.load(folder).parts == Parts.read(folder)
    assert parts_of(folder)["weights"] == weights
