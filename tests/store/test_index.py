"""The vector index: bound to its vectors, exact where small, near enough where large."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import lancedb
import numpy as np
import pytest

from recsys.artifacts import ArtifactError
from recsys.errors import VectorError
from recsys.ranking.candidates import VectorSource
from recsys.store import index
from recsys.store.index import build_index, drop_indexes, keep_version, map_vectors, open_index, release_version


def some_vectors(rows=200, width=8, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def ids(rows=200):
    return [f"item-{row}" for row in range(rows)]


def texts(rows=200):
    return [f"Title {row} | genres: Comedy" for row in range(rows)]


def test_vectors_come_back_as_they_went_in_and_twice_is_once(tmp_path):
    reference = build_index(tmp_path, ids(), some_vectors(), texts())
    assert build_index(tmp_path, ids(), some_vectors(), texts()) == reference
    np.testing.assert_array_equal(map_vectors(tmp_path, open_index(tmp_path, reference), reference), some_vectors())


@pytest.mark.parametrize("name", ["Jürgen", "a home", "what?#1", "100%20", "[x]*{y}"])
def test_a_folder_of_any_name_keeps_all_of_its_index(tmp_path, name):
    folder = tmp_path / name / "lance"
    reference = build_index(folder, ids(), some_vectors(), texts())
    assert build_index(folder, ids(), some_vectors(), texts()) == reference
    assert len(VectorSource(folder, reference).vectors) == 200
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_workers_share_one_file_of_vectors_which_is_made_again_when_damaged(tmp_path):
    reference = build_index(tmp_path, ids(), some_vectors(), texts())
    first, second = (VectorSource(tmp_path, reference).vectors for _ in range(2))
    (path,) = tmp_path.glob("*.npy")
    assert not first.flags.writeable
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-4] + b"\0\0\0\0")
    np.testing.assert_array_equal(VectorSource(tmp_path, reference).vectors, second)
    assert path.read_bytes() == content
    assert drop_indexes(tmp_path, list) == [reference.table]
    assert not list(tmp_path.glob("*.npy"))


def test_a_table_that_was_changed_is_refused_also_beside_a_good_file(tmp_path):
    reference = build_index(tmp_path, ids(), some_vectors(), texts())
    VectorSource(tmp_path, reference)
    table = lancedb.connect(tmp_path).open_table(reference.table)
    table.update(where="row = 3", values={"vector": some_vectors(seed=1)[3].tolist()})
    with pytest.raises(ArtifactError, match="not those of the generation"):
        VectorSource(tmp_path, replace(reference, version=table.version))


def test_other_vectors_of_the_same_shape_are_another_table(tmp_path):
    first, second = (build_index(tmp_path, ids(), some_vectors(seed=seed), texts()) for seed in (0, 1))
    assert first.table != second.table


def test_vectors_of_another_encoder_are_refused_though_the_shape_agrees(tmp_path):
    reference = build_index(tmp_path, ids(), some_vectors(), texts())
    table = lancedb.connect(tmp_path).open_table(reference.table)
    table.update(where="row = 3", values={"vector": some_vectors(seed=1)[3].tolist()})
    forged = replace(reference, version=table.version)
    with pytest.raises(ArtifactError, match="not those of the generation"):
        VectorSource(tmp_path, forged)
    VectorSource(tmp_path, reference)  # the version that the generation names is untouched


def test_other_texts_of_the_same_vectors_are_refused_too(tmp_path):
    reference = build_index(tmp_path, ids(), some_vectors(), texts())
    assert build_index(tmp_path, ids(), some_vectors(), [*texts()[:-1], "?"]).table != reference.table
    table = lancedb.connect(tmp_path).open_table(reference.table)
    table.update(where="row = 3", values={"text": "Buy this"})
    forged = replace(reference, version=table.version)
    with pytest.raises(ArtifactError, match="not those of the generation"):
        VectorSource(tmp_path, forged)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_broken_vector_never_reaches_an_index(tmp_path, value):
    vectors = some_vectors()
    vectors[5] = value
    with pytest.raises(VectorError, match="item-5"):
        build_index(tmp_path, ids(), vectors, texts())
    assert drop_indexes(tmp_path, list) == []


def test_a_missing_table_or_version_says_what_to_do(tmp_path):
    reference = build_index(tmp_path, ids(), some_vectors(), texts())
    with pytest.raises(ArtifactError, match="publish again"):
        open_index(tmp_path / "elsewhere", reference)
    with pytest.raises(ArtifactError, match="no version 99"):
        open_index(tmp_path, replace(reference, version=99))


def test_a_table_that_a_crash_left_unfinished_is_built_again(tmp_path):
    reference = build_index(tmp_path, ids(), some_vectors(), texts())
    table = lancedb.connect(tmp_path).open_table(reference.table)
    table.tags.delete(index.TAG)
    again = build_index(tmp_path, ids(), some_vectors(), texts())
    np.testing.assert_array_equal(map_vectors(tmp_path, open_index(tmp_path, again), again), some_vectors())


def test_of_those_who_build_the_same_at_once_one_builds_it(tmp_path):
    with ThreadPoolExecutor(max_workers=4) as pool:
        built = [pool.submit(build_index, tmp_path, ids(), some_vectors(), texts()) for _ in range(4)]
        (reference,) = {one.result() for one in built}
    np.testing.assert_array_equal(map_vectors(tmp_path, open_index(tmp_path, reference), reference), some_vectors())


def test_only_tables_that_nothing_names_are_dropped(tmp_path):
    first, second = (build_index(tmp_path, ids(), some_vectors(seed=seed), texts()) for seed in (0, 1))
    assert drop_indexes(tmp_path, lambda: [first]) == [second.table]
    open_index(tmp_path, first)


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_search_finds_the_largest_dot_products_that_are_allowed(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(index, "APPROXIMATE_FROM", 10**9 if kind == "exact" else 100)
    monkeypatch.setattr("recsys.ranking.candidates.APPROXIMATE_FROM", 10**9 if kind == "exact" else 100)
    monkeypatch.setattr("recsys.ranking.candidates.EXACT_ALLOWED", 10)
    vectors = some_vectors(2_000, 16)
    source = VectorSource(tmp_path, build_index(tmp_path, ids(2_000), vectors, texts(2_000)))
    assert source.kind == kind
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(20):
        query = rng.standard_normal(16).astype(np.float32)
        allowed = rng.random(2_000) > 0.05
        rows = source.search(query, 50, allowed)
        assert allowed[rows].all()
        best = np.flatnonzero(allowed)[np.argsort(-(vectors[allowed] @ query))[:50]]
        found += len(set(rows.tolist()) & set(best.tolist()))
    assert found / (20 * 50) > (0.999 if kind == "exact" else 0.95)


@pytest.mark.parametrize("name", ["lance", "läden ?100%"])
def test_a_clean_up_of_versions_leaves_what_a_generation_names(tmp_path, name):
    tmp_path = tmp_path / name
    reference = build_index(tmp_path, ids(), some_vectors(), texts())
    table = lancedb.connect(tmp_path).open_table(reference.table)
    for _ in range(2):  # another may have tagged it already
        keep_version(tmp_path, reference, "0123456789abcdef")
    index._open_for_tags(tmp_path, reference.table).tags.delete(index.TAG)
    table.delete("true")
    with (
        pytest.warns(UserWarning, match="every version"),
        pytest.raises(RuntimeError, match="generation-0123456789abcdef"),
    ):
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
    assert open_index(tmp_path, reference).count_rows() == len(ids())
    release_version(tmp_path, reference, "0123456789abcdef")
    with pytest.warns(UserWarning, match="every version"):
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
    with pytest.raises(ArtifactError, match="has no version"):
        open_index(tmp_path, reference)
    release_version(tmp_path, replace(reference, table="none"), "0123456789abcdef")
