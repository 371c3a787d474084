"""Full ranking: the same as a plain sort, ties settled fairly, seen items gone, bad scores refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.sequences import Sequences
from recsys.evaluation import full_ranking as protocols
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.splits import Targets


class Table:
    """Gives row after row of a fixed matrix, in the order in which it is asked."""

    def __init__(self, scores):
        self.scores = np.asarray(scores)
        self.sizes = []

    def score(self, histories):
        first = sum(self.sizes)
        self.sizes.append(len(histories))
        return self.scores[first : first + len(histories)]


def ask(histories, items, repeats=False):
    users = np.arange(len(items), dtype=np.int32)
    return Targets(users, Sequences.from_lists(histories), np.array(items, np.int32), repeats)


@st.composite
def worlds(draw):
    rows, catalogue = draw(st.integers(1, 9)), draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    scores = random.choice([-np.inf, -2.5, -1.0, -0.0, 0.0, 1e-30, 1.0, np.inf], (rows, catalogue))
    scores = np.where(random.random((rows, catalogue)) < 0.3, random.normal(size=(rows, catalogue)), scores)
    histories = [random.integers(0, catalogue, random.integers(0, 6)) for _ in range(rows)]
    return scores.astype(np.float32), histories, random.integers(0, catalogue, rows)


@given(worlds(), st.integers(0, 5), st.integers(1, 5), st.booleans())
def test_the_same_as_a_plain_sort(world, seed, batch, repeats):
    scores, histories, items = world
    ranking = evaluate("table", Table(scores), ask(histories, items, repeats), k=7, seed=seed, batch=batch)
    order = np.random.default_rng(seed).permutation(scores.shape[1])
    places = np.argsort(order)
    for row, history in enumerate(histories):
        unseen = [item for item in range(scores.shape[1]) if repeats or item not in history]
        best = sorted(unseen, key=lambda item, row=row: (scores[row, item], places[item]), reverse=True)
        shown = ranking.items[row][ranking.items[row] >= 0].tolist()
        assert shown == best[:7]
        np.testing.assert_array_equal(ranking.scores[row, : len(shown)], scores[row, shown])
        assert np.isnan(ranking.scores[row, len(shown) :]).all()
        assert (ranking.items[row, len(shown) :] == -1).all()
        assert ranking.ranks[row] == (best.index(items[row]) + 1 if items[row] in best else np.inf)


def test_memory_is_bounded_and_batches_change_nothing(monkeypatch):
    random = np.random.default_rng(0)
    scores = random.integers(0, 4, (200, 50)).astype(np.float32)
    targets = ask(random.integers(0, 50, (200, 3)), random.integers(0, 50, 200))
    whole = evaluate("table", Table(scores), targets, batch=1_000)
    monkeypatch.setattr(protocols, "SCORES_AT_ONCE", 50 * 30)
    monkeypatch.setattr(protocols, "KEYS_AT_ONCE", 50 * 7)
    table, calls = Table(scores), []
    cut = evaluate("table", table, targets, progress=lambda done, total: calls.append((done, total)))
    assert max(table.sizes) == 30
    assert calls == list(zip(np.cumsum(table.sizes).tolist(), [200] * len(table.sizes), strict=True))
    for name in ("items", "scores", "ranks"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(cut, name))


def test_ties_are_fair_over_seeds_and_the_same_for_a_seed():
    targets = ask([[]], [3])
    ranks = [evaluate("ties", Table(np.zeros((1, 11))), targets, seed=seed).ranks[0] for seed in range(400)]
    assert np.mean(ranks) == pytest.approx(6, abs=0.5)  # half of the tie on average
    assert ranks[7] == evaluate("ties", Table(np.zeros((1, 11))), targets, seed=7).ranks[0]


def test_nothing_asked_nothing_scored():
    ranking = evaluate("idle", Table(np.zeros((0, 5))), ask([], []))
    assert ranking.items.shape == (0, 20)
    assert len(ranking.ranks) == 0


def test_bad_scores_are_refused_by_name():
    targets = ask([[0], [1]], [2, 3])
    bad = np.zeros((2, 5))
    bad[1, 0] = np.nan  # on a seen item: still a broken scorer
    bad[1, 1] = np.nan
    with pytest.raises(ValueError, match="broken returned NaN scores"):
        evaluate("broken", Table(bad), targets)
    with pytest.raises(ValueError, match=r"narrow returned scores of shape \(1, 3\)"):
        evaluate("narrow", Table(np.zeros((2, 3))), targets)
    with pytest.raises(ValueError, match="at least 4 items"):
        evaluate("flat", Table(np.zeros(2)), targets)


def test_a_catalogue_that_changes_its_size_is_refused():
    class Growing:
        def __init__(self):
            self.size = 4

        def score(self, histories):
            self.size += 1
            return np.zeros((len(histories), self.size))

    with pytest.raises(ValueError, match="growing scored 6 items, but 5"):
        evaluate("growing", Growing(), ask([[0], [1]], [2, 3]))
