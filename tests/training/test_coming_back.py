"""Where people come back to their items, seen items are ranked and what is due is a part of the blend; nowhere else."""

import json

import numpy as np
import pytest
from repeating import write_shop
from synthetic import SMALL, write_dataset

from recsys.data.ingest import ingest
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.held_out import make_split
from recsys.evaluation.report import section
from recsys.home import Home
from recsys.ranking.system import AGAIN, System
from recsys.training.baselines import QUICK
from recsys.training.fit_system import fit_system, refit_system


def fitted(snapshot, protocol="temporal"):
    catalogue = len(snapshot.item_ids())
    split = make_split(snapshot.sequences(), catalogue, protocol, SMALL)
    features = np.random.default_rng(1).normal(size=(catalogue, 6)).astype(np.float32)
    return split, features, fit_system(split, snapshot.items()["title"].to_list(), features, features, SMALL)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    return ingest(*map(str, write_shop(folder)), Home(folder / "home"))


@pytest.fixture(scope="module")
def found(shop):
    return fitted(shop)


def test_what_is_due_joins_the_blend_and_finds_repeats(found):
    split, _, system = found
    assert split.repeats
    assert system.repeats
    assert system.blend.weights[AGAIN] > 0
    figures = section([evaluate("recsys", system, split.test), evaluate(AGAIN, system.again, split.test)], split)
    repeats = {name: figures["systems"][name]["repeats"] for name in ("recsys", AGAIN)}
    assert repeats["recsys"]["count"] > 30
    assert repeats[AGAIN]["ndcg@10"] > 0.4  # of a handful of things, those that are due
    assert repeats["recsys"]["ndcg@10"] > 0.3
    assert figures["systems"]["recsys"]["total"]["ndcg@10"] > figures["systems"][AGAIN]["total"]["ndcg@10"]


def test_it_is_stored_fitted_again_on_everything_and_gives_the_same_scores(shop, found, tmp_path):
    _, features, system = found
    again = refit_system(system, shop.sequences(), features, SMALL)
    assert again.again.chances[0] != system.again.chances[0]
    again.save(tmp_path)
    loaded = System.load(tmp_path)
    histories = shop.sequences()
    assert loaded.repeats
    np.testing.assert_allclose(loaded.score(histories), again.score(histories), rtol=1e-5, atol=1e-5)


def test_where_nobody_comes_back_nothing_is_fitted_and_nothing_stored(tmp_path):
    snapshot = ingest(*map(str, write_dataset(tmp_path)), Home(tmp_path / "home"))
    split, _, system = fitted(snapshot)
    assert not split.repeats
    assert system.again is None
    system.save(tmp_path / "system")
    settings = json.loads((tmp_path / "system/system.json").read_text())
    assert set(settings) == {"blend", "ids", "experts", "chosen"}
    assert not (tmp_path / "system/again.safetensors").exists()
    assert AGAIN in QUICK  # where there is one
