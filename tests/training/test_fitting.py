"""Fitting a whole system: towers over ids join where events are many, and a refit repeats what was chosen."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import SMALL

from recsys.data.sequences import Sequences
from recsys.evaluation.splits import leave_one_out
from recsys.models.towers import training
from recsys.ranking.blend import fit_blend
from recsys.ranking.system import IDS, LEXICAL, TOWERS, System
from recsys.training import fit_system as fitting
from recsys.training.fit_system import fit_system, refit_system

CATALOGUE = 300
TEXTS = [f"{number % 7} of {number % 11}" for number in range(CATALOGUE)]


@pytest.fixture(scope="module")
def sequences():
    """Long walks in steps of 1 and 7 by turns: what follows depends on the two newest items."""
    rng = np.random.default_rng(0)
    steps = np.tile([1, 7], 30)
    walks = [(start + np.cumsum(np.roll(steps, turn))) % CATALOGUE for start, turn in rng.integers(0, 300, (60, 2))]
    return Sequences.from_lists([walk.tolist() for walk in walks])


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(1).normal(size=(CATALOGUE, 6)).astype(np.float32)


def fitted(sequences, features, config=SMALL):
    return fit_system(leave_one_out(sequences, catalogue=CATALOGUE), TEXTS, features, features, config)


def test_few_events_have_no_towers_over_ids(sequences, features):
    assert fitted(sequences, features).ids is None


def test_many_events_have_them_and_a_refit_and_a_copy_on_disk_too(sequences, features, monkeypatch, tmp_path):
    def with_ids(components, *arguments):
        blend, figure = fit_blend(components, *arguments)
        names = sorted(components)  # every one of them, whatever validation thinks
        return replace(blend, weights=dict.fromkeys(names, 0.5), powers=dict.fromkeys(names, 1.0)), figure

    monkeypatch.setattr(training, "MANY_EVENTS", 1_000)
    monkeypatch.setattr(fitting, "fit_blend", with_ids)
    system = fitted(sequences, features)
    assert set(system.dense_vectors()) >= {TOWERS, IDS}
    assert LEXICAL in system.experts
    again = refit_system(system, sequences, features, SMALL)
    again.save(tmp_path)
    histories = Sequences.from_lists([[1, 2, 3], [7]])
    np.testing.assert_array_equal(System.load(tmp_path).score(histories), again.score(histories))
    without = replace(again, blend=replace(again.blend, weights=again.blend.weights | {IDS: 0.0}))
    assert not np.allclose(without.score(histories), again.score(histories))


def test_large_catalogues_are_not_compared_by_words(sequences, features):
    config = replace(SMALL, experts=replace(SMALL.experts, max_lexical_items=CATALOGUE - 1))
    system = fitted(sequences, features, config)
    assert system.lexicon is None
    assert LEXICAL not in system.components


def test_towers_over_ids_that_validation_gives_no_weight_are_dropped(sequences, features, monkeypatch):
    monkeypatch.setattr(training, "MANY_EVENTS", 1_000)
    system = fitted(sequences, features)  # sequential rules know the law of these walks by themselves
    assert IDS not in system.blend.weights
    assert system.ids is None


def test_ids_know_nothing_of_an_item_without_events(sequences):
    towers = training.train_towers(None, sequences, CATALOGUE + 2, SMALL.tower, seed=0).towers
    assert not towers.vectors[CATALOGUE:].any()
    rows = towers.new_search_rows(np.zeros((1, 6), np.float32))
    np.testing.assert_allclose(rows[0], towers.search_matrix()[CATALOGUE], atol=1e-6)
