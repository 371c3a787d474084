"""Generations and their pointer: what is sealed stays as it is, and a switch is whole or has not happened."""

import json
import os

import pytest

from recsys import artifacts
from recsys.artifacts import MANIFEST, ArtifactError, staged_folder
from recsys.home import Home
from recsys.store import generations
from recsys.store.generations import (
    ConflictError,
    clean_up,
    commit_generation,
    current_id,
    delete_generation,
    list_generations,
    newest_id,
    newest_last,
    promote,
    read_generation,
    rollback,
)
from recsys.store.manifests import GenerationManifest, IndexReference
from recsys.store.pointer import POINTER
from recsys.store.shadow import begin_shadow, end_shadow


@pytest.fixture
def place(tmp_path):
    return Home(tmp_path)


def make(place, content="weights", version=1, notes=None):
    index = IndexReference("t", version, rows=1, dimensions=1, digest="d")
    manifest = GenerationManifest(snapshot="s", adapter="a", settings={"seed": 0}, index=index, notes=notes or {})
    with staged_folder(place.generations) as staging:
        (staging / "weights.bin").write_text(content)
        return commit_generation(place, staging, manifest)


def test_equal_content_gives_one_id_whatever_the_notes(place):
    assert make(place, notes={"seconds": 1}) == make(place, notes={"seconds": 2}, version=7)
    assert make(place, "other") != make(place)


def test_nothing_is_current_before_the_first(place):
    make(place)
    assert current_id(place) is None
    with pytest.raises(ArtifactError, match="no earlier generation"):
        rollback(place)


def test_a_pointer_that_was_moved_meanwhile_is_not_moved_on(place):
    first, second, third = make(place, "1"), make(place, "2"), make(place, "3")
    promote(place, first, expected=None)
    promote(place, second, expected=first)
    for expected in (None, first):
        with pytest.raises(ConflictError, match=f"Generation {second} was published while {third}"):
            promote(place, third, expected=expected)
    assert current_id(place) == second
    promote(place, second, expected=first)  # it is there already, whoever put it there


def test_of_two_that_roll_back_at_once_one_goes_back(place):
    first, second, third = make(place, "1"), make(place, "2"), make(place, "3")
    for generation_id in (first, second, third):
        promote(place, generation_id)
    assert rollback(place, expected=third) == second
    with pytest.raises(ConflictError, match=f"Generation {second} is served, no longer {third}"):
        rollback(place, expected=third)
    assert current_id(place) == second


def test_what_is_deleted_while_its_files_are_read_is_not_pointed_at(place, monkeypatch):
    first, second = make(place, "1"), make(place, "2")
    promote(place, first)
    verify_folder = generations.verify_folder

    def overtaken(folder, files):
        verify_folder(folder, files)
        if folder.name == second:
            delete_generation(place, second)

    monkeypatch.setattr(generations, "verify_folder", overtaken)
    with pytest.raises(ArtifactError, match=f"There is no generation '{second}'"):
        promote(place, second)
    assert current_id(place) == first


def test_promote_and_rollback_walk_one_trail(place):
    first, second = make(place, "1"), make(place, "2")
    promote(place, first)
    promote(place, second)
    promote(place, second)
    assert current_id(place) == second
    assert rollback(place) == first == current_id(place)
    with pytest.raises(ArtifactError, match="no earlier generation"):
        rollback(place)


@pytest.mark.parametrize("damage", ["changed", "missing", "surplus", "link", "manifest"])
def test_a_damaged_generation_is_not_promoted(place, damage):
    good, bad = make(place, "1"), make(place, "2")
    promote(place, good)
    file = place.generations / bad / "weights.bin"
    if damage == "changed":
        file.write_text("3")
    elif damage == "missing":
        file.unlink()
    elif damage == "surplus":
        file.with_name("more.bin").write_text("x")
    elif damage == "link":
        file.unlink()
        file.symlink_to(place.generations / good / "weights.bin")
    else:
        manifest = json.loads((file.parent / MANIFEST).read_text())
        (file.parent / MANIFEST).write_text(json.dumps(manifest | {"adapter": "another"}))
    with pytest.raises(ArtifactError, match=r"weights|more|manifest"):
        promote(place, bad)
    assert current_id(place) == good


@pytest.mark.parametrize("name", ["../generations", "a/b", "..", "", ".staging-x", "no-such"])
def test_an_id_is_no_path(place, name):
    with pytest.raises(ArtifactError):
        read_generation(place, name)


def test_a_crash_while_the_pointer_is_written_keeps_the_old_one(place, monkeypatch):
    first, second = make(place, "1"), make(place, "2")
    promote(place, first)
    monkeypatch.setattr(artifacts.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("the power is gone")))
    with pytest.raises(OSError, match="power"):
        promote(place, second)
    monkeypatch.undo()
    assert current_id(place) == first
    promote(place, second)
    assert current_id(place) == second


def test_a_crash_before_the_rename_leaves_nothing_that_is_listed(place, monkeypatch):
    def interrupted():
        with staged_folder(place.generations) as staging:
            (staging / "weights.bin").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (place.generations / ".staging-killed").mkdir()  # what a killed process leaves
    assert list_generations(place) == []
    assert clean_up(place) == 1
    assert os.listdir(place.generations) == []


def test_what_is_served_cannot_be_deleted(place):
    first, second = make(place, "1"), make(place, "2")
    promote(place, first)
    promote(place, second)
    with pytest.raises(ArtifactError, match="is being served"):
        delete_generation(place, second)
    delete_generation(place, first)
    assert [entry.id for entry in list_generations(place)] == [second]
    with pytest.raises(ArtifactError, match="no earlier generation"):
        rollback(place)


def test_the_shadow_cannot_be_deleted(place):
    served, shadow = make(place, "1"), make(place, "2")
    promote(place, served)
    begin_shadow(place, shadow, 0.5)
    with pytest.raises(ArtifactError, match=f"is the shadow.* DELETE /v1/generations/{shadow}/shadow"):
        delete_generation(place, shadow)
    end_shadow(place)
    delete_generation(place, shadow)
    assert [entry.id for entry in list_generations(place)] == [served]


def test_a_broken_pointer_says_so(place):
    promote(place, make(place))
    (place.generations / POINTER).write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        current_id(place)


def test_the_newest_is_the_one_that_was_made_last_whatever_its_files_are_dated(place):
    made = [make(place, content) for content in "123"]
    for day, one in enumerate(reversed(made)):  # as a copy, a backup or rsync may date them
        os.utime(place.generations / one / MANIFEST, (1_700_000_000 + 86_400 * day,) * 2)
    assert [one.id for one in newest_last(place)] == made
    assert newest_id(place) == made[-1]
    promote(place, made[-1])
    assert newest_id(place, served=False) == made[-2]
    read_generation(place, made[0], verify=True)
