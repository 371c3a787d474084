"""One conformance suite over every candidate source: a generation's own, and one with live items in front of it."""

from dataclasses import dataclass

import numpy as np
import pytest

from recsys.ranking.candidates import CandidateSource, VectorSource, recall
from recsys.serving.live_source import LiveSource
from recsys.store.index import build_index

DIMENSIONS = 16
ITEMS = {"exact": 2_000, "approximate": 25_000}
REWRITTEN = np.array([7, 1_234])
TEXTS = ["a live comedy", "a live tragedy", "nothing of that kind", "a live comedy"]  # the rewritten ones' first


@dataclass
class Case:
    source: CandidateSource
    items: int
    live: bool


@pytest.fixture(
    scope="module", params=[(kind, live) for kind in ITEMS for live in (False, True)], ids=lambda one: f"{one}"
)
def case(request, tmp_path_factory):
    kind, live = request.param
    items, random = ITEMS[kind], np.random.default_rng(0)
    vectors = random.standard_normal((items, DIMENSIONS)).astype(np.float32)
    ids, texts = [f"i{row}" for row in range(items)], ["even" if row % 2 == 0 else "odd" for row in range(items)]
    source = VectorSource(folder := tmp_path_factory.mktemp("lance"), build_index(folder, ids, vectors, texts))
    assert source.kind == kind
    if not live:
        return Case(source, items, live)
    # as large as the largest, so that live items are often among the best
    ours = 1.5 * random.standard_normal((len(TEXTS), DIMENSIONS)).astype(np.float32)
    longer = np.concatenate([vectors, ours[len(REWRITTEN) :]])
    longer[REWRITTEN] = ours[: len(REWRITTEN)]
    return Case(LiveSource(source, longer, REWRITTEN, TEXTS), len(longer), live)


def queries(count):
    return np.random.default_rng(2).standard_normal((count, DIMENSIONS)).astype(np.float32)


def masks(case, query):
    random, products = np.random.default_rng(1), case.source.vectors @ query
    yield "everything", np.ones(case.items, dtype=bool)
    yield "two percent", random.random(case.items) < 0.02
    yield "most", random.random(case.items) < 0.9
    yield "all but the best half", products < np.median(products)
    yield "the worst few", products < np.sort(products)[30]
    yield "nothing", np.zeros(case.items, dtype=bool)


def best(case, query, count, allowed):
    rows = np.flatnonzero(allowed)
    return set(rows[np.argsort(-(case.source.vectors[rows] @ query), kind="stable")[:count]].tolist())


def test_it_says_how_it_searches_and_holds_every_vector(case):
    assert case.source.kind in ITEMS
    assert case.source.vectors.shape == (case.items, DIMENSIONS)


def test_the_best_of_what_is_allowed_is_found(case):
    for query in queries(3):
        for name, allowed in masks(case, query):
            rows = case.source.search(query, 100, allowed)
            wanted = best(case, query, 100, allowed)
            assert allowed[rows].all(), name
            assert len(set(rows.tolist())) == len(rows) >= len(wanted), name
            least = 1.0 if case.source.kind == "exact" else 0.95
            assert len(wanted & set(rows.tolist())) >= least * len(wanted), name


def test_looking_at_all_queries_together_finds_the_same(case):
    several = queries(3)
    for name, allowed in masks(case, several[1]):
        prefetched = case.source.prefetch(several, 100, allowed)
        assert len(prefetched) == len(several)
        for query, one in zip(several, prefetched, strict=True):
            fewer = allowed & (np.arange(case.items) % 5 > 0)  # what one user may not be offered
            rows = set(case.source.search(query, 100, fewer, one).tolist())
            wanted = best(case, query, 100, fewer)
            assert fewer[list(rows)].all(), name
            assert len(wanted & rows) >= (1.0 if case.source.kind == "exact" else 0.95) * len(wanted), name


def test_its_recall_can_be_measured(case):
    named = case.source.named(queries(20), 100)
    assert all(len(set(rows.tolist())) == len(rows) >= 100 for rows in named)
    assert recall(case.source, queries(20), 10) >= 0.95


def test_words_find_what_is_allowed_and_no_more_than_is_asked_for(case):
    allowed = np.zeros(case.items, dtype=bool)
    allowed[::101] = True
    odd = [row for row in range(0, ITEMS[case.source.kind], 101) if row % 2 and row not in REWRITTEN]
    assert case.source.worded("odd", 5, allowed).rows.tolist() == odd[:5]
    assert len(case.source.worded("nowhere", 10, allowed).rows) == 0
    everything = np.ones(case.items, dtype=bool)
    found = case.source.worded("live comedy", 10, everything)
    whole, half = [int(REWRITTEN[0]), case.items - 1], [int(REWRITTEN[1])]
    assert found.rows.tolist() == (whole + half if case.live else [])
    assert (found.shares[:2] > 0.75).all()  # all of the query, in texts that are longer than most
    assert (found.shares[2:] < 0.5).all()


def test_a_share_says_how_much_of_a_query_was_found_whoever_holds_it(case):
    everything = np.ones(case.items, dtype=bool)
    known = case.source.worded("odd", 5, everything).shares
    half = case.source.worded("odd unheard", 5, everything).shares
    assert (known > 0.9).all()
    assert (half > 0).all()
    assert (half < 0.2).all()  # what nobody holds weighs more than what half of them hold
    assert case.source.worded("what is the odd, please", 5, everything).shares == pytest.approx(known)
