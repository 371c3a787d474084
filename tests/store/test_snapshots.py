"""Snapshots as a list shows them, and deleting one: refused where anything stands on it, else whole or not at all."""

from pathlib import Path

import pytest
from small_home import make_all, make_snapshot

from recsys.artifacts import MANIFEST, ArtifactError
from recsys.data.snapshot import list_snapshots, open_snapshot
from recsys.home import Home
from recsys.store.adapters import delete_adapter
from recsys.store.generations import delete_generation
from recsys.store.snapshots import delete_snapshot, list_stored, read_stored


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_list_says_who_stands_on_each(home: Home) -> None:
    generation, adapter, used = make_all(home, 1)
    free = make_snapshot(home, 2)
    first, second = list_stored(home)
    assert (first.manifest.id, second.manifest.id) == (used, free)
    assert (first.generations, first.adapters) == ((generation,), (adapter,))
    assert (second.generations, second.adapters) == ((), ())
    files = [path.stat().st_size for path in (home.snapshots / free).iterdir()]
    assert second.bytes == sum(files)
    assert read_stored(home, free).to_dict()["counts"]["events"] == 1


def test_what_stands_on_a_snapshot_must_go_first(home: Home) -> None:
    generation, adapter, used = make_all(home, 1)
    with pytest.raises(ArtifactError, match=f"Generation {generation} stands on .* recsys generations delete"):
        delete_snapshot(home, used)
    delete_generation(home, generation)
    with pytest.raises(ArtifactError, match=f"Adapter {adapter} learnt from .* recsys adapters delete"):
        delete_snapshot(home, used)
    delete_adapter(home, adapter)
    delete_snapshot(home, used)
    assert list_snapshots(home) == []
    assert list(home.snapshots.iterdir()) == []


def test_what_is_open_is_not_deleted(home: Home) -> None:
    free = make_snapshot(home, 1)
    opened = open_snapshot(home, free)
    with pytest.raises(ArtifactError, match="A process reads snapshot"):
        delete_snapshot(home, free)
    assert opened.items().height
    del opened
    delete_snapshot(home, free)


def test_a_damaged_one_can_be_deleted_and_beside_a_broken_generation_none(home: Home) -> None:
    generation, _, _ = make_all(home, 1)
    damaged = make_snapshot(home, 2)
    (home.snapshots / damaged / MANIFEST).write_text("{")
    path = home.generations / generation / MANIFEST
    content = path.read_text()
    path.write_text("{")
    with pytest.raises(ArtifactError, match=f"Generation {generation} cannot be read, and may stand on"):
        delete_snapshot(home, damaged)
    path.write_text(content)
    delete_snapshot(home, damaged)
    assert not (home.snapshots / damaged).exists()


@pytest.mark.parametrize("name", ["../adapters", "0" * 16])
def test_what_is_not_there_is_told(home: Home, name: str) -> None:
    make_snapshot(home, 1)
    for asked in (read_stored, delete_snapshot):
        with pytest.raises(ArtifactError, match=r"is no snapshot id|There is no snapshot"):
            asked(home, name)
