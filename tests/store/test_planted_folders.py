"""Adapters in their folder: what somebody has put there or changed is refused, and hides none of the others."""

import json
import os
import shutil

import pytest

from recsys.artifacts import ArtifactError, digest
from recsys.home import Home
from recsys.store.adapters import delete_adapter, list_adapters, read_card, save_adapter, verify_adapter
from recsys.store.generations import list_generations, read_generation
from recsys.store.manifests import CARD, AdapterCard


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def adapter(home):
    """The id of an adapter of one file."""
    return save_adapter(home, lambda folder: (folder / "weights").write_text("x"), AdapterCard(base="b", task="t"))


def rewrite(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc", "a/b", "a\0b", "x" * 5_000, "١" * 16, "0" * 17, "\ud800"]
)
def test_a_name_that_is_no_id_makes_no_path(home, adapter, name):
    for read in (read_card, verify_adapter, delete_adapter):
        with pytest.raises(ArtifactError, match="is no adapter id"):
            read(home, name)
    with pytest.raises(ArtifactError, match="is no generation id"):
        read_generation(home, name)
    assert verify_adapter(home, adapter)


def test_a_card_that_was_changed_is_noticed(home, adapter):
    rewrite(home.adapters / adapter / CARD, base="/somewhere/else")
    with pytest.raises(ArtifactError, match=r"card\.json has changed"):
        verify_adapter(home, adapter)


def test_files_outside_of_the_folder_do_not_count(home, adapter, tmp_path):
    (tmp_path / "secret").write_text("x")
    rewrite(home.adapters / adapter / CARD, files={"../../../secret": digest(b"x")})
    with pytest.raises(ArtifactError, match="is missing"):
        verify_adapter(home, adapter)


@pytest.mark.parametrize("link", ["file", "folder"])
def test_links_are_refused(home, adapter, tmp_path, link):
    path = home.adapters / adapter / ("weights" if link == "file" else "")
    os.replace(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="is a link"):
        verify_adapter(home, adapter)


def test_what_is_no_adapter_hides_none(home, adapter):
    cards = ["", "{}", "[]", "null", '{"id": "../../etc"}', f'{{"id": "{adapter}", "files": {{}}}}', "[" * 100_000]
    for number, card in enumerate(cards):
        folder = home.adapters / f"{number:016}"
        folder.mkdir()
        (folder / CARD).write_text(card)
    shutil.copytree(home.adapters / adapter, home.adapters / "a name of its own")
    assert [card.id for card in list_adapters(home)] == [adapter]


def test_what_is_no_generation_hides_none(home):
    for number, manifest in enumerate(["", "{}", '{"id": "0000000000000002"}']):
        folder = home.generations / f"{number:016}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(manifest)
        with pytest.raises(ArtifactError):
            read_generation(home, folder.name)
    assert list_generations(home) == []
