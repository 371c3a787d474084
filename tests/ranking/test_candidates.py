"""Candidates of a large catalogue, through LanceDB's index: whatever is filtered away, the list is filled."""

import shutil

import numpy as np
import pytest

from recsys.ranking import candidates
from recsys.ranking.candidates import VectorSource
from recsys.store.index import UnreadableError, build_index

ITEMS = 25_000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    vectors = np.random.default_rng(0).standard_normal((ITEMS, 16)).astype(np.float32)
    ids, texts = [f"i{row}" for row in range(ITEMS)], ["even" if row % 2 == 0 else "odd" for row in range(ITEMS)]
    return (folder := tmp_path_factory.mktemp("lance")), build_index(folder, ids, vectors, texts)


@pytest.fixture(scope="module")
def source(place):
    made = VectorSource(*place)
    assert made.kind == "approximate"
    return made


def masks(source, query):
    random, products = np.random.default_rng(1), source.vectors @ query
    yield "everything", np.ones(ITEMS, dtype=bool)
    yield "two percent", random.random(ITEMS) < 0.02
    yield "most", random.random(ITEMS) < 0.9
    yield "all but the best half", products < np.median(products)
    yield "the worst few", products < np.sort(products)[30]


@pytest.mark.parametrize("exact_allowed", [0, 10_000, candidates.EXACT_ALLOWED])
def test_a_list_is_filled_whatever_the_filter_leaves(source, monkeypatch, exact_allowed):
    monkeypatch.setattr(candidates, "EXACT_ALLOWED", exact_allowed)
    query = np.random.default_rng(2).standard_normal(16).astype(np.float32)
    for name, allowed in masks(source, query):
        rows = source.search(query, 200, allowed)
        assert allowed[rows].all(), name
        most = -(-200 * ITEMS // allowed.sum()) + candidates.SPARE
        assert min(200, allowed.sum()) <= len(set(rows.tolist())) == len(rows) <= most, name
        prefetch = source.prefetch(np.stack([-query, query]), 200, allowed)
        assert sorted(source.search(query, 200, allowed, prefetch[1])) == sorted(rows), name
        best = np.flatnonzero(allowed)[np.argsort(-(source.vectors[allowed] @ query))[:200]]
        assert len(set(rows.tolist()) & set(best.tolist())) >= 0.95 * len(best), name


def test_as_much_of_the_index_is_read_as_queries_need(source):
    queries = np.random.default_rng(3).standard_normal((20, 16)).astype(np.float32)
    probes = source.tuned_probes(queries)
    assert 1 <= probes < candidates.partitions(ITEMS)

    def recall(probes):
        found = [rows.tolist() for rows in source.named(queries, candidates.SPARE, probes)]
        best = [np.argsort(-(source.vectors @ query))[:10].tolist() for query in queries]
        return np.mean([len(set(one) & set(other)) / 10 for one, other in zip(best, found, strict=True)])

    assert recall(probes) >= 0.95
    assert recall(1) < 0.95


@pytest.mark.parametrize("probes", [1, 9, 40, candidates.partitions(ITEMS)])
def test_searches_for_many_find_what_lancedb_finds_for_each(place, source, monkeypatch, probes):
    many = VectorSource(*place)
    many.prepare_for_many()
    monkeypatch.setattr(many, "_nearest", None)  # nobody asks LanceDB any more
    queries = np.random.default_rng(4).standard_normal((300, 16)).astype(np.float32)
    for count in (1, 100, 700):
        alone, together = source.named(queries, count, probes), many.named(queries, count, probes)
        for query, rows, others in zip(queries, alone, together, strict=True):
            assert len(set(others.tolist())) == len(others) == len(rows)
            # what float32 rounds off may decide who is the last
            last = (source.vectors[rows] @ query).min()
            odd = np.setxor1d(rows, others)
            assert len(odd) <= 2
            assert source.vectors[odd] @ query == pytest.approx(np.full(len(odd), last), abs=0.15)
    assert len(many.named(np.empty((0, 16), np.float32), 10, probes)) == 0


@pytest.mark.parametrize("damage", ["another kind of file", "cut short", "other centres", "other codes"])
def test_an_index_of_another_make_is_left_to_lancedb(place, source, tmp_path, caplog, damage):
    folder, reference = place
    shutil.copytree(folder, tmp_path / "lance")
    other = VectorSource(tmp_path / "lance", reference)
    query = np.random.default_rng(5).standard_normal((1, 16)).astype(np.float32)
    wanted = set(source.named(query, 100)[0].tolist())
    assert set(other.named(query, 100)[0].tolist()) == wanted  # LanceDB has opened its files
    (index,) = tmp_path.glob("lance/*/_indices/*/index.idx")
    codes = index.with_name("auxiliary.idx")
    content = bytearray(index.read_bytes())
    if damage == "another kind of file":
        index.write_bytes(content[:-4] + b"else")
    elif damage == "cut short":
        index.write_bytes(content[:100])
    elif damage == "other centres":
        content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
        index.write_bytes(content)
    else:
        codes.write_bytes(codes.read_bytes().replace(b'\\"end\\":', b'\\"end\\":1'))
    other.prepare_for_many()
    assert "query by query" in caplog.text
    assert set(other.named(query, 100)[0].tolist()) == wanted


def test_words_are_found_whatever_the_filter_leaves(source):
    allowed = np.zeros(ITEMS, dtype=bool)
    allowed[::1_001] = True
    assert source.worded("odd", 10, allowed).rows.tolist() == [row for row in range(0, ITEMS, 1_001) if row % 2][:10]
    assert len(source.worded("odd", 300, np.ones(ITEMS, dtype=bool)).rows) == 300
    assert len(source.worded("nowhere", 10, allowed).rows) == 0


def test_an_index_that_cannot_be_read_is_made_up_for(tmp_path):
    random = np.random.default_rng(0)
    vectors, texts = random.standard_normal((ITEMS, 8)).astype(np.float32), ["word"] * ITEMS
    reference = build_index(tmp_path / "lance", [f"i{row}" for row in range(ITEMS)], vectors, texts)
    broken = VectorSource(tmp_path / "lance", reference)
    shutil.rmtree(tmp_path / "lance")
    query, everything = random.standard_normal(8).astype(np.float32), np.ones(ITEMS, dtype=bool)
    assert broken.kind == "approximate"
    assert len(broken.prefetch(query[None], 100, everything)[0].named) == 0
    found = set(broken.search(query, 100, everything).tolist())
    assert found == set(np.argsort(-(vectors @ query))[:100].tolist())
    with pytest.raises(UnreadableError, match="LanceDB cannot read items-"):
        broken.worded("word", 10, everything)
