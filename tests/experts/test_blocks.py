"""Experts by blocks of items: to the last digit what the whole products give, ties and all, whatever a block holds."""

import numpy as np
import pytest
from scipy import sparse

from recsys.data.sequences import EventSignals, Sequences
from recsys.experts.knn import SHRINKAGE, fit_knn
from recsys.experts.rules import fit_rules
from recsys.experts.sparse import history_matrix, keep_largest, row_blocks

CATALOGUE, WINDOW, NEIGHBOURS = 40, 5, 6


@pytest.fixture(scope="module", params=["alike", "of three kinds"])
def train(request):
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 15, 120)
    items = (CATALOGUE * rng.random(lengths.sum()) ** 2).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if request.param == "alike":
        return Sequences(items, offsets)
    kinds = rng.integers(0, 3, len(items)).astype(np.int8)
    weights = np.array([1.0, 0.25, -1.0], np.float32)[kinds]
    roles = ("target", "positive", "negative")
    return Sequences(items, offsets, None, EventSignals(kinds, weights, roles, (True, True, True)))


def largest_of_each(matrix: np.ndarray) -> np.ndarray:
    """Keep the largest entries of each row, of equal ones those of the smaller column."""
    kept = np.zeros_like(matrix)
    for row, own in zip(kept, matrix, strict=True):
        first = np.argsort(-own, kind="stable")[:NEIGHBOURS]
        row[first] = own[first]
    return kept


def whole_knn(train: Sequences) -> np.ndarray:
    users = history_matrix(train.liked(), CATALOGUE, decay=1.0)
    together = (users.T @ users).toarray()
    counts = np.diag(together).copy()
    np.fill_diagonal(together, 0)
    return largest_of_each(together / (np.sqrt(counts[:, None] * counts) + np.float32(SHRINKAGE)))


def whole_rules(train: Sequences) -> np.ndarray:
    train = train.liked()
    rows, weights = train.rows(), np.ones(len(train.items), np.float32)
    weights = weights if train.signals is None else train.signals.weights
    total = np.zeros((CATALOGUE, CATALOGUE), np.float32)
    for distance in range(1, WINDOW + 1):
        part = np.zeros_like(total)
        for place in np.flatnonzero(rows[distance:] == rows[:-distance]):
            before, after = train.items[place], train.items[place + distance]
            if before != after:
                part[before, after] += np.float32(1 / distance) * (weights[place + distance] * weights[place])
        total += part
    counts = np.bincount(train.items, weights, minlength=CATALOGUE).astype(np.float32)
    return largest_of_each(total * (1 / np.sqrt(np.maximum(counts, 1 if train.signals is None else 1e-3)))[:, None])


@pytest.mark.parametrize("most", [1, 100, 2**23])
def test_blocks_give_what_the_whole_gives(train, most, monkeypatch):
    monkeypatch.setattr("recsys.experts.sparse.ENTRIES_AT_ONCE", most)
    knn = fit_knn(train, CATALOGUE, NEIGHBOURS, decay=1.0).matrix
    rules = fit_rules(train, CATALOGUE, WINDOW, NEIGHBOURS, decay=1.0).matrix
    wanted = whole_knn(train)
    np.testing.assert_array_equal(knn.toarray(), wanted)
    np.testing.assert_array_equal(rules.toarray(), whole_rules(train))
    assert max(np.diff(knn.indptr)) == max(np.diff(rules.indptr)) == NEIGHBOURS
    assert len(np.unique(wanted[wanted > 0])) < np.count_nonzero(wanted)  # there are ties


def test_no_block_holds_more_than_it_may():
    entries = np.random.default_rng(0).integers(0, 30, 200)
    blocks = list(row_blocks(entries, 100))
    assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(200))
    assert all(entries[block].sum() <= 100 for block in blocks)
    assert list(row_blocks(np.array([500, 1, 500]), 100)) == [slice(0, 1), slice(1, 2), slice(2, 3)]


def test_keep_largest_leaves_short_rows_as_they_are():
    rng = np.random.default_rng(0)
    matrix = sparse.random(50, 30, 0.3, format="csr", random_state=rng, dtype=np.float32)
    matrix.data = rng.integers(1, 5, matrix.nnz).astype(np.float32)
    np.testing.assert_array_equal(keep_largest(matrix, NEIGHBOURS).toarray(), largest_of_each(matrix.toarray()))
