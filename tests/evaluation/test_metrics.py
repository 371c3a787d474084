"""Metrics: the same figures as trec_eval, and their laws."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation.metrics import coverage, diversity, mrr, ndcg, novelty, recall

RANKS = st.lists(st.one_of(st.integers(1, 60).map(float), st.just(np.inf)), min_size=1, max_size=40).map(np.array)
ACCURACY = [recall, ndcg, mrr]


def trec(ranks, k):
    """Recall, NDCG and reciprocal rank at k by trec_eval, from lists of 60 with the target at its rank."""
    relevant = {f"q{row}": {"target": 1} for row in range(len(ranks))}
    run = {}
    for row, rank in enumerate(ranks):
        documents = [f"d{place}" for place in range(1, 61)]
        if np.isfinite(rank):
            documents[int(rank) - 1] = "target"
        run[f"q{row}"] = {document: float(-place) for place, document in enumerate(documents[:k])}
    found = pytrec_eval.RelevanceEvaluator(relevant, {f"recall.{k}", f"ndcg_cut.{k}", "recip_rank"}).evaluate(run)
    names = (f"recall_{k}", f"ndcg_cut_{k}", "recip_rank")
    return [np.array([found[f"q{row}"][name] for row in range(len(ranks))]) for name in names]


@given(RANKS, st.sampled_from([5, 10, 20]))
def test_the_same_as_trec_eval(ranks, k):
    for metric, expected in zip(ACCURACY, trec(ranks, k), strict=True):
        np.testing.assert_allclose(metric(ranks, k), expected, atol=1e-6)


@given(RANKS, st.integers(1, 30), st.integers(1, 30))
def test_laws_of_accuracy(ranks, k, more):
    order = np.random.default_rng(len(ranks)).permutation(len(ranks))
    for metric in ACCURACY:
        values = metric(ranks, k)
        assert ((values >= 0) & (values <= 1)).all()
        assert (metric(ranks, k + more) >= values).all()
        assert (metric(ranks + 1, k) <= values).all()
        np.testing.assert_array_equal(metric(ranks[order], k), values[order])
    assert (mrr(ranks, k) <= ndcg(ranks, k)).all()
    assert (ndcg(ranks, k) <= recall(ranks, k)).all()


def test_by_hand():
    ranks = np.array([1, 3, 10, 11, np.inf])
    assert recall(ranks, 10).tolist() == [1, 1, 1, 0, 0]
    assert ndcg(ranks, 10)[:2].tolist() == [1, 0.5]
    assert mrr(ranks, 10)[[0, 2]].tolist() == [1, 0.1]


@pytest.mark.parametrize("metric", ACCURACY)
@pytest.mark.parametrize(("ranks", "k"), [([np.nan], 5), ([0.0], 5), ([1.0], 0)])
def test_refuses_what_is_no_rank(metric, ranks, k):
    with pytest.raises(ValueError, match=r"Ranks count from 1|at least one place|at least one"):
        metric(np.array(ranks), k)


def test_coverage_counts_items_once_and_no_padding():
    lists = np.array([[0, 1, 5], [1, 2, -1]])
    assert coverage(lists, 10, 2) == 0.3
    assert coverage(lists, 10, 3) == 0.4
    assert coverage(np.full((2, 3), -1), 10, 3) == 0


def test_novelty_is_the_mean_information_in_bits():
    counts = np.array([3, 1, 0])  # smoothed: 4/7, 2/7, 1/7
    assert novelty(np.array([[0, 1], [2, -1]]), counts, 2) == pytest.approx(np.mean(-np.log2([4 / 7, 2 / 7, 1 / 7])))
    assert novelty(np.full((1, 2), -1), counts, 2) == 0


@given(st.integers(0, 1000), st.integers(2, 6))
def test_diversity_is_the_mean_over_pairs(seed, k):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(12, 3)).astype(np.float32)
    vectors[0] = 0
    lists = np.array([random.permutation(12)[:7] for _ in range(4)])
    lists[0, 3:] = -1
    lists[1, 1:] = -1
    expected = []
    for row in lists[:, :k]:
        chosen = vectors[row[row >= 0]]
        if len(chosen) > 1:
            norms = np.linalg.norm(chosen, axis=1)
            norms[norms == 0] = 1
            units = chosen / norms[:, None]
            cosines = units @ units.T
            expected.append(1 - np.mean(cosines[~np.eye(len(chosen), dtype=bool)]))
    assert diversity(lists, vectors, k) == pytest.approx(np.mean(expected), abs=1e-5)


def test_diversity_of_single_items_is_zero():
    assert diversity(np.array([[1, -1]]), np.eye(3), 2) == 0
