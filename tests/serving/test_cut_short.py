"""Files that are cut short under an open generation: its answers stay what they were, and nobody dies of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys.artifacts import MAPPED_FROM, ArtifactError
from recsys.home import Home
from recsys.ranking.candidates import VectorSource
from recsys.store.index import build_index, drop_indexes

# In a process of its own: reading a mapped page that is gone ends it by SIGBUS.
ANSWERING = """
import os, sys
from pathlib import Path
from recsys.home import Home
from recsys.serving.recommender import Recommender

home = Home(Path(sys.argv[1]))
recommender = Recommender.open(home)
known = list(recommender.users.rows)[3]

def answers():
    history = recommender.history(known)
    return [
        recommender.recommend(history, k=20, explain=True),
        recommender.recommend([], k=20),
        recommender.similar(history[0], k=20),
        recommender.rank(history, recommender.catalogue.ids[:20]),
    ]

before = answers()
files = [path for path in home.root.rglob("*") if path.is_file()]
for path in files:
    os.truncate(path, 0)
assert answers() == before
print(len(files), "files were cut short")
"""


def test_answers_stay_what_they_were(home: Home, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("runs", "cache", "encoders")
    shutil.copytree(home.root, tmp_path / "home", ignore=ignored)
    command = [sys.executable, "-c", ANSWERING, str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("files were cut short\n")


@pytest.mark.parametrize("least", [0, MAPPED_FROM], ids=["mapped", "read"])
def test_vectors_in_memory_hold_their_table_like_mapped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr("recsys.store.index.MAPPED_FROM", least)
    reference = build_index(tmp_path, ["a", "b"], np.eye(2, dtype=np.float32), ["A", "B"])
    source = VectorSource(tmp_path, reference)
    assert not source.vectors.flags.writeable
    row = source.vectors[1]
    del source
    assert drop_indexes(tmp_path, list) == []  # a view is still there
    assert row.tolist() == [0, 1]
    del row
    assert drop_indexes(tmp_path, list) == [reference.table]


def test_a_table_that_is_cut_short_is_refused_or_read_and_nothing_else(tmp_path: Path) -> None:
    """Whatever LanceDB raises about a file, a generation over it cannot be loaded, and that is told as such."""
    ids, kept = [f"i{row}" for row in range(50)], tmp_path / "kept"
    reference = build_index(kept, ids, np.random.default_rng(0).random((50, 8), dtype=np.float32), ids)
    VectorSource(kept, reference)
    refused = 0
    for number, file in enumerate(sorted(path for path in kept.rglob("*.*") if path.is_file())):
        place = tmp_path / str(number)
        shutil.copytree(kept, place)
        os.truncate(place / file.relative_to(kept), file.stat().st_size // 3)
        try:
            VectorSource(place, reference)
        except ArtifactError:
            refused += 1
    assert refused
