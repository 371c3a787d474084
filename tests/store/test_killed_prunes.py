"""A prune that is killed at any of its steps leaves everything whole or gone, and the next one ends the same."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from small_home import make_all

from recsys.artifacts import MANIFEST, STAGING_PREFIX
from recsys.data.snapshot import list_snapshots, open_snapshot
from recsys.home import Home
from recsys.store.adapters import list_adapters, verify_adapter
from recsys.store.generations import current_id, generation_snapshot, list_generations, promote, read_generation
from recsys.store.index import open_index
from recsys.store.retention import prune
from recsys.store.standing import stored_ids

# Dies at the n-th file or folder that Python opens, renames or removes below the home; 0: tells how many there were.
DYING = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from recsys.home import Home
from recsys.store.retention import prune
import recsys.store.index

home, at = sys.argv[1], int(sys.argv[2])
steps = 0

def step(event, arguments):
    global steps
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir") and str(arguments[0]).startswith(home):
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
prune(Home.of(home), now=datetime.now(UTC) + timedelta(days=10))
print(steps)
"""
TRIALS = 5


def died(home: Home, at: int) -> int:
    """Prune in a process that dies at a step; return how many there were, 0 where it died."""
    command = [sys.executable, "-c", DYING, str(home.root), str(at)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == (-signal.SIGKILL if at else 0), done.stderr
    return int(done.stdout) if not at else 0


def filled(root: Path) -> Home:
    """Return a home of six generations, of which the third and the fourth were served."""
    home = Home(root)
    made = [make_all(home, seed)[0] for seed in range(6)]
    for generation_id in made[2:4]:
        promote(home, generation_id)
    return home


def whole(home: Home) -> tuple[list[str], ...]:
    """Check all that is listed, and what it stands on; return the names."""
    generations, adapters = list_generations(home), list_adapters(home)
    assert {one.id for one in generations} == stored_ids(home.generations, MANIFEST)
    for one in generations:
        read_generation(home, one.id, verify=True)
        verify_adapter(home, one.adapter)
        generation_snapshot(home, one)
        open_index(home.lance, one.index)
    for card in adapters:
        verify_adapter(home, card.id)
    snapshots = [one.id for one in list_snapshots(home)]
    for snapshot_id in snapshots:
        open_snapshot(home, snapshot_id)
    tables = sorted(path.name for path in home.lance.glob("items-*"))
    return [one.id for one in generations], [card.id for card in adapters], snapshots, tables


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, tuple[list[str], ...]]:
    """How many steps a prune takes that nobody disturbs, and what it leaves."""
    home = filled(tmp_path_factory.mktemp("undisturbed") / "home")
    return died(home, 0), whole(home)


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_killed_prune_breaks_nothing_and_is_gone_on_with(
    tmp_path: Path, steps: tuple[int, tuple[list[str], ...]], trial: int
) -> None:
    count, left = steps
    home = filled(tmp_path / "home")
    served = current_id(home)
    died(home, 1 + count * (2 * trial + 1) // (2 * TRIALS))
    before = whole(home)
    assert current_id(home) == served
    assert all(set(after) <= set(found) for after, found in zip(left, before, strict=True))
    prune(home, now=datetime.now(UTC) + timedelta(days=10))
    assert whole(home) == left
    assert list(home.root.rglob(f"{STAGING_PREFIX}*")) == []
