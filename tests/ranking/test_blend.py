"""The blend: one scale for all components, weights that validation earns, and a sum that is what it says."""

import numpy as np
import pytest

from recsys.data.sequences import Sequences
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.splits import Targets
from recsys.ranking import blend as module
from recsys.ranking.blend import Blend, BlendScorer, fit_blend, on_one_scale, standardise

CATALOGUE = 30


class Fixed:
    """Scores that depend on the history's last item by a table."""

    def __init__(self, table):
        self.table = table.astype(np.float32)

    def score(self, histories):
        return self.table[[histories.row(row)[-1] for row in range(len(histories))]]


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    histories = Sequences.from_lists([[int(item)] for item in rng.integers(0, CATALOGUE, 300)])
    targets = ((histories.items + 1) % CATALOGUE).astype(np.int32)
    truth = np.zeros((CATALOGUE, CATALOGUE))
    truth[np.arange(CATALOGUE), (np.arange(CATALOGUE) + 1) % CATALOGUE] = 1
    return histories, targets, truth, rng


def test_noise_gets_no_weight_and_the_truth_gets_all(world):
    histories, targets, truth, rng = world
    components = {"noise": Fixed(rng.random((CATALOGUE, CATALOGUE))), "truth": Fixed(truth)}
    blend, figure = fit_blend(components, frozenset(), histories, targets)
    assert blend.weights == {"truth": 1.0}
    assert figure == 1.0


def test_two_halves_of_the_truth_beat_either(world):
    histories, targets, truth, rng = world
    half = np.arange(CATALOGUE)[:, None] < CATALOGUE // 2
    noise = rng.random((CATALOGUE, CATALOGUE)) / 10
    components = {"left": Fixed(truth * half + noise), "right": Fixed(truth * ~half + noise.T)}
    singles = [fit_blend({name: scorer}, frozenset(), histories, targets)[1] for name, scorer in components.items()]
    blend, figure = fit_blend(components, frozenset(), histories, targets)
    assert set(blend.weights) == {"left", "right"}
    assert figure > max(singles) + 0.1


@pytest.mark.parametrize("repeats", [False, True])
def test_the_search_measures_the_whole_ranking(world, monkeypatch, repeats):
    histories, targets, truth, rng = world
    targets[::3] = histories.items[::3]  # some of the answers are in the history
    components = {name: Fixed(truth + rng.random((CATALOGUE, CATALOGUE)) * 2) for name in "abc"}
    measured = Targets(np.arange(len(targets), dtype=np.int32), histories, targets, repeats)
    for depth in (CATALOGUE, 12):  # some of the catalogue is in no component's best
        monkeypatch.setattr(module, "DEPTH", depth)
        monkeypatch.setattr(module, "SCORES_AT_ONCE", 70 * CATALOGUE)  # several batches, the last one smaller
        blend, figure = fit_blend(components, frozenset(), histories, targets, repeats=repeats)
        ranks = evaluate("blend", BlendScorer(blend, components), measured, k=10).ranks
        assert figure == pytest.approx(ndcg(ranks, 10).mean(), abs=1e-6)


def test_a_target_that_was_seen_before_is_lost(world):
    histories, targets, truth, _ = world
    seen = Sequences.from_lists(
        [[int(target), int(item)] for target, item in zip(targets, histories.items, strict=True)]
    )
    assert fit_blend({"truth": Fixed(truth)}, frozenset(), seen, targets)[1] == 0.0
    assert fit_blend({"truth": Fixed(truth)}, frozenset(), seen, targets, repeats=True)[1] == 1.0


def test_searching_twice_gives_the_same_blend(world):
    histories, targets, truth, rng = world
    components = {name: Fixed(truth + rng.random((CATALOGUE, CATALOGUE)) * 3) for name in "abc"}
    assert fit_blend(components, frozenset(), histories, targets) == fit_blend(
        components, frozenset(), histories, targets
    )


def test_the_score_is_the_weighted_sum_on_one_scale(world):
    histories, _, truth, rng = world
    components = {"a": Fixed(truth), "b": Fixed(rng.standard_normal((CATALOGUE, CATALOGUE)))}
    scorer = BlendScorer(Blend({"a": 2.0, "b": 0.5}, {"a": 0.5, "b": 1.0}), components)
    expected = 2.0 * standardise(components["a"].score(histories), 0.5)
    expected += 0.5 * standardise(components["b"].score(histories), 1.0)
    np.testing.assert_allclose(scorer.score(histories), expected, rtol=1e-5)


def test_chances_are_weighed_as_they_are_whoever_they_are_of(world):
    histories, _, truth, rng = world
    chances = (truth * rng.random((CATALOGUE, 1))).astype(np.float32)
    components = {"a": Fixed(rng.standard_normal((CATALOGUE, CATALOGUE))), "again": Fixed(chances)}
    scorer = BlendScorer(Blend({"a": 1.0, "again": 2.0}, {"a": 1.0, "again": 0.5}), components)
    expected = standardise(components["a"].score(histories), 1.0)
    expected += 2.0 * np.sqrt(CATALOGUE) * np.sqrt(components["again"].score(histories))
    np.testing.assert_allclose(scorer.score(histories), expected, rtol=1e-5)
    only = standardise(np.eye(1, CATALOGUE, dtype=np.float32), 1.0).max()
    assert on_one_scale("again", np.ones((1, CATALOGUE), np.float32), 1.0)[0, 0] == pytest.approx(only, rel=0.05)


def test_a_component_without_an_opinion_counts_nothing():
    assert standardise(np.full((2, 4), 7.0, np.float32), 1.0).tolist() == [[0] * 4] * 2


def test_the_scale_of_a_component_does_not_matter():
    scores = np.random.default_rng(0).random((3, 10)).astype(np.float32)
    np.testing.assert_allclose(standardise(scores, 0.5), standardise(scores * 1000, 0.5), rtol=1e-4)


def test_text_keeps_a_small_weight_since_new_items_have_nothing_else(world):
    histories, targets, truth, rng = world
    components = {"noise": Fixed(rng.random((CATALOGUE, CATALOGUE))), "truth": Fixed(truth)}
    blend, figure = fit_blend(components, frozenset(), histories, targets, text=frozenset({"noise"}))
    assert blend.weights == {"noise": 0.05, "truth": 1.0}
    assert figure > 0.99
