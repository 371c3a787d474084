"""What nobody needs any more goes, and nothing else: neither what another is writing nor what another reads."""

import fcntl
import signal
import subprocess
import sys
import tempfile

import lancedb
import numpy as np
import pytest

from recsys.artifacts import MANIFEST, STAGING_PREFIX, ArtifactError, staged_file, staged_folder, write_atomic
from recsys.home import Home
from recsys.ranking.candidates import VectorSource
from recsys.store.generations import clean_up, commit_generation, delete_generation, list_generations, promote
from recsys.store.index import build_index, indexing
from recsys.store.manifests import GenerationManifest

KILLED = """
import os, signal, sys
from pathlib import Path
from recsys.artifacts import staged_file, staged_folder

with staged_folder(Path(sys.argv[1]) / "generations") as folder, staged_file(Path(sys.argv[1]) / "runs" / "a") as file:
    (folder / "weights.bin").write_bytes(b"half")
    file.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
ITEMS = 50
IDS = [f"item-{row}" for row in range(ITEMS)]
TEXTS = [f"Title {row}" for row in range(ITEMS)]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def vectors(seed):
    return np.random.default_rng(seed).standard_normal((ITEMS, 8)).astype(np.float32)


def generation(home, seed, content="weights"):
    """Commit a generation of random vectors; return its id and its index."""
    with indexing(home.lance):
        index = build_index(home.lance, IDS, vectors(seed), TEXTS)
        manifest = GenerationManifest(snapshot="s", adapter="a", settings={}, index=index)
        with staged_folder(home.generations) as staging:
            (staging / "weights.bin").write_text(content)
            return commit_generation(home, staging, manifest), index


def tables(home):
    return set(lancedb.connect(home.lance).list_tables().tables)


def staged(home):
    return sorted(path.name for path in home.root.rglob(f"{STAGING_PREFIX}*"))


def test_what_a_killed_process_has_left_goes_and_what_one_at_work_writes_stays(home):
    done = subprocess.run([sys.executable, "-c", KILLED, str(home.root)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(staged(home)) == 2
    with staged_folder(home.generations) as folder, staged_file(home.runs) as file:
        assert clean_up(home) == 2
        assert staged(home) == sorted([folder.name, file.name])
        assert clean_up(home) == 0
    assert staged(home) == []


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
def test_whoever_loses_its_staging_to_a_clean_up_makes_another(home, monkeypatch, moment):
    home.runs.mkdir(parents=True)
    make, lock, made = tempfile.mkstemp, fcntl.flock, []

    def making(**options):
        made.append(make(**options))
        if len(made) == 1 and moment == "before it is opened":
            assert clean_up(home) == 1
        return made[-1]

    def locking(descriptor, operation):
        if len(made) == 1 and moment == "before it is locked":
            monkeypatch.setattr(fcntl, "flock", lock)
            assert clean_up(home) == 1
        return lock(descriptor, operation)

    monkeypatch.setattr(tempfile, "mkstemp", making)
    monkeypatch.setattr(fcntl, "flock", locking)
    write_atomic(home.runs / "record.json", b"{}")
    assert (home.runs / "record.json").read_bytes() == b"{}"
    assert len(made) == 2


def test_a_deleted_generation_takes_its_table_and_vectors_and_no_other(home):
    (first, own), (second, other) = generation(home, 1), generation(home, 2)
    for index in (own, other):
        VectorSource(home.lance, index)  # writes the file of vectors
    assert tables(home) == {own.table, other.table}
    delete_generation(home, first)
    assert tables(home) == {other.table}
    assert [path.name for path in home.lance.glob("*.npy")] == [f"{other.table}-{other.version}.npy"]
    np.testing.assert_array_equal(VectorSource(home.lance, other).vectors, vectors(2))
    assert [one.id for one in list_generations(home)] == [second]


def test_vectors_that_another_generation_shares_go_on_serving(home):
    (first, index), (second, same) = generation(home, 1, "first"), generation(home, 1, "second")
    assert (index, first == second) == (same, False)
    promote(home, second)
    delete_generation(home, first)
    source = VectorSource(home.lance, same)
    np.testing.assert_array_equal(source.vectors, vectors(1))
    assert source.worded("title", 3, np.ones(ITEMS, dtype=bool)).rows.tolist() == [0, 1, 2]


def test_what_is_served_keeps_its_table_and_cannot_be_deleted(home):
    served, index = generation(home, 1)
    promote(home, served)
    with pytest.raises(ArtifactError, match="is being served"):
        delete_generation(home, served)
    assert clean_up(home) == 0
    np.testing.assert_array_equal(VectorSource(home.lance, index).vectors, vectors(1))


def test_a_table_that_a_worker_reads_stays_until_it_is_done(home):
    deleted, index = generation(home, 1)
    source = VectorSource(home.lance, index)
    delete_generation(home, deleted)
    assert tables(home) == {index.table}
    assert len(source.worded("title", 3, np.ones(ITEMS, dtype=bool)).rows) == 3  # it still answers from it
    del source
    assert clean_up(home) == 1
    assert tables(home) == set()
    assert list(home.lance.glob("*.npy")) == []


def test_a_table_whose_generation_is_not_there_yet_stays(home):
    with indexing(home.lance):
        index = build_index(home.lance, IDS, vectors(1), TEXTS)
        assert clean_up(home) == 0
        assert tables(home) == {index.table}
    assert clean_up(home) == 1  # whoever built it has ended without a generation
    assert tables(home) == set()


def test_while_a_generation_cannot_be_read_no_table_goes(home):
    broken, index = generation(home, 1)
    path = home.generations / broken / MANIFEST
    content = path.read_text()
    path.write_text("{")
    assert clean_up(home) == 0
    path.write_text(content)
    np.testing.assert_array_equal(VectorSource(home.lance, index).vectors, vectors(1))


def test_files_of_vectors_of_other_versions_go(home):
    _, index = generation(home, 1)
    stray = home.lance / f"{index.table}-{index.version + 1}.npy"
    stray.write_bytes(b"of a table that was dropped")
    VectorSource(home.lance, index)
    clean_up(home)
    assert [path.name for path in home.lance.glob("*.npy")] == [f"{index.table}-{index.version}.npy"]
