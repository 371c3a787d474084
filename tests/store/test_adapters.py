"""Adapters appear whole or not at all, whatever ends the process that stores one."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from processes import PATIENCE_SECONDS

from recsys.artifacts import ArtifactError, remove_staging
from recsys.home import Home
from recsys.store import adapters
from recsys.store.adapters import delete_adapter, list_adapters, read_card, save_adapter, verify_adapter
from recsys.store.manifests import AdapterCard

CARD = AdapterCard(base="some base", task="classification")
KILLED = """
import os, signal, sys
from pathlib import Path
from recsys.home import Home
from recsys.store.adapters import save_adapter
from recsys.store.manifests import AdapterCard

def write(folder):
    (folder / "adapter_model.safetensors").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

save_adapter(Home(Path(sys.argv[1])), write, AdapterCard(base="some base"))
"""


def write(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text("{}")


def test_the_same_training_gives_the_same_adapter_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = save_adapter(home, write, CARD)
    assert save_adapter(home, write, CARD) == first
    assert save_adapter(home, write, replace(CARD, parent=first)) != first
    assert [card.id for card in list_adapters(home)] == sorted(card.id for card in list_adapters(home))
    assert len(list_adapters(home)) == 2
    delete_adapter(home, first)
    with pytest.raises(ArtifactError, match="There is no adapter"):
        read_card(home, first)


@pytest.mark.parametrize("step", ["digest_folder", "write_json", "commit_folder"])
def test_a_partial_adapter_is_never_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    home = Home(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(adapters, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_adapter(home, write, CARD)
    assert list_adapters(home) == []
    assert list(home.adapters.iterdir()) == []
    monkeypatch.undo()
    verify_adapter(home, save_adapter(home, write, CARD))


def test_a_killed_process_leaves_nothing_that_is_listed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=PATIENCE_SECONDS)
    assert done.returncode == -signal.SIGKILL
    assert [path.is_dir() for path in home.adapters.iterdir()] == [True]  # what it had written is still there
    assert list_adapters(home) == []
    assert remove_staging(home.adapters) == 1
    assert save_adapter(home, write, CARD) == list_adapters(home)[0].id


def test_an_adapter_whose_deletion_is_killed_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    adapter_id = save_adapter(home, write, CARD)

    def killed(folder: Path, ignore_errors: bool) -> None:
        (folder / "adapter_model.safetensors").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        delete_adapter(home, adapter_id)
    assert list_adapters(home) == []


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    adapter_id = save_adapter(home, write, CARD)
    verify_adapter(home, adapter_id)
    (home.adapters / adapter_id / "adapter_model.safetensors").write_bytes(b"others!")
    with pytest.raises(ArtifactError, match="has changed"):
        verify_adapter(home, adapter_id)
