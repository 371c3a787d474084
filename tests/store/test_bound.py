"""What a generation stands on is what it was: a rewritten snapshot, a link and another's export go nowhere."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import pytest

import recsys
from recsys.artifacts import MANIFEST, ArtifactError, digest_file
from recsys.data.manifest import EVENTS, ITEMS, QUARANTINE
from recsys.data.snapshot import list_snapshots, open_snapshot
from recsys.home import Home
from recsys.models.encoder.export import CARD
from recsys.serving.new_texts import Encoder
from recsys.serving.recommender import Recommender
from recsys.store.adapters import read_card
from recsys.store.exports import open_encoder
from recsys.store.generations import current_id, earlier_ids, read_generation
from recsys.store.pointer import POINTER
from recsys.store.shadow import STATE, read_shadow
from recsys.training.resuming import Parent


@pytest.fixture
def place(home: Home, tmp_path: Path) -> Home:
    """A copy of a home with a served generation."""
    ignored = shutil.ignore_patterns("runs", "cache", "encoders")
    return Home(Path(shutil.copytree(home.root, tmp_path / "home", ignore=ignored)))


def snapshot_folder(place: Home) -> Path:
    return place.snapshots / read_generation(place, str(current_id(place)))[1].snapshot


def rewrite(folder: Path, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change a table and let the manifest say that this is how it was."""
    change(pl.read_parquet(folder / name)).write_parquet(folder / name)
    update_manifest(folder, lambda manifest: manifest["files"].update({name: digest_file(folder / name)}))


def update_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def retitle(folder: Path) -> None:
    rewrite(folder, ITEMS, lambda items: items.with_columns(title="?" + pl.col("title")))


def forget_a_digest(folder: Path) -> None:
    rewrite(folder, ITEMS, lambda items: items.reverse())
    update_manifest(folder, lambda manifest: manifest["files"].pop(ITEMS))


REWRITTEN = {
    "a title": retitle,
    "an event": lambda folder: rewrite(folder, EVENTS, lambda events: events[1:]),
    "a column": lambda folder: rewrite(folder, ITEMS, lambda items: items.with_columns(available=pl.lit(False))),
    "no table": lambda folder: rewrite(folder, ITEMS, lambda items: items.drop("title")),
    "the kind of its times": lambda folder: update_manifest(folder, lambda one: one.update(times_known=False)),
    "a table without a digest": forget_a_digest,
    "a file too many": lambda folder: (folder / "more.parquet").write_bytes(b""),
}


def said(call: Callable[[], object]) -> str:
    """Return how something is refused; empty where it is not."""
    try:
        call()
    except ArtifactError as error:
        return str(error)
    return ""


def before_binding(place: Home) -> None:
    """Make the served generation one that an older version has written, under the id that it would have had."""
    folder, manifest = read_generation(place, str(current_id(place)))
    older = replace(manifest, snapshot_digest=None, absent=frozenset({"snapshot_digest"})).sealed(manifest.files)
    (folder / MANIFEST).write_text(json.dumps(older.to_dict()))
    folder.rename(folder.parent / older.id)
    (place.generations / POINTER).write_text(json.dumps({"generation": older.id, "trail": [older.id]}))


@pytest.mark.parametrize("bound", [True, False], ids=["bound", "from before"])
def test_what_stands_on_a_rewritten_snapshot_is_refused(place: Home, tmp_path: Path, bound: bool) -> None:
    if not bound:
        before_binding(place)
    folder, kept = snapshot_folder(place), tmp_path / "kept"
    shutil.copytree(folder, kept)
    assert (read_generation(place, str(current_id(place)), verify=True)[1].snapshot_digest is not None) == bound
    assert Recommender.open(place).recommend([], k=1).items
    for what, change in REWRITTEN.items():
        change(folder)
        assert said(partial(Recommender.open, place)).startswith(str(folder)), what
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    Recommender.open(place)


def test_every_door_to_a_snapshot_is_guarded(place: Home) -> None:
    generation_id = str(current_id(place))
    manifest = read_generation(place, generation_id)[1]
    doors = {
        "a request": partial(Recommender.open, place, generation_id),
        "a text": partial(Encoder.open, place, generation_id),
        "an evaluation": partial(recsys.evaluate, generation_id, systems=["popularity"], home=place, progress=False),
        "going on": partial(Parent.open, place, manifest.adapter),
        "a training": partial(recsys.train, manifest.snapshot, home=place, progress=False),
        "its name": partial(open_snapshot, place, manifest.snapshot),
    }
    retitle(snapshot_folder(place))
    for door, enter in doors.items():
        assert "holds other events or items" in said(enter), door


def test_another_quarantine_is_another_generations_affair(place: Home) -> None:
    """What was set aside differs from one ingest of the same content to the next, and is read by no generation."""
    rewrite(snapshot_folder(place), QUARANTINE, lambda table: table)
    assert Recommender.open(place)


def link(path: Path, elsewhere: Path) -> None:
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("where", ["room", "folder", "file"])
@pytest.mark.parametrize("room", ["snapshots", "generations", "adapters", "lance"])
def test_links_are_refused_in_every_room(place: Home, tmp_path: Path, room: str, where: str) -> None:
    manifest = read_generation(place, str(current_id(place)))[1]
    names = {
        "snapshots": (manifest.snapshot, ITEMS),
        "generations": (manifest.id, "held_out.parquet"),
        "adapters": (manifest.adapter, "adapter_model.safetensors"),
        "lance": (f"{manifest.index.table}.lance", None),
    }
    folder, file = names[room]
    path = getattr(place, room)
    if where != "room":
        path /= folder
    if where == "file":
        path = path / file if file else next(one for one in sorted(path.rglob("*")) if one.is_file())
    link(path, tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="is a link"):
        Recommender.open(place)


def test_a_linked_file_of_vectors_is_made_again(place: Home, tmp_path: Path) -> None:
    Recommender.open(place)
    (vectors,) = place.lance.glob("*.npy")
    link(vectors, tmp_path / "elsewhere")
    Recommender.open(place)
    assert not vectors.is_symlink()


def test_linked_snapshots_are_not_listed(place: Home, tmp_path: Path) -> None:
    folder = snapshot_folder(place)
    assert [one.id for one in list_snapshots(place)] == [folder.name]
    link(folder, tmp_path / "elsewhere")
    assert list_snapshots(place) == []


def test_an_export_of_something_else_is_not_used(place: Home, tmp_path: Path) -> None:
    """Also where it is whole by its own card: a base without an adapter, a link, another layout."""
    adapter = read_generation(place, str(current_id(place)))[1].adapter
    card = read_card(place, adapter)
    opened = partial(open_encoder, place, card.base, card.max_tokens, "torch", card.base_digest)
    plain, adapted = opened(), opened(adapter_id=adapter)
    expected = adapted.encode(["a quiet film"])
    assert not (plain.encode(["a quiet film"]) == expected).all()
    made = {_adapter_of(path): path for path in place.encoders.glob("[!.]*")}
    base, own = made[None], made[adapter]
    shutil.rmtree(own)
    shutil.copytree(base, own)
    assert (opened(adapter_id=adapter).encode(["a quiet film"]) == expected).all()
    link(own, tmp_path / "elsewhere")
    assert (opened(adapter_id=adapter).encode(["a quiet film"]) == expected).all()
    assert not own.is_symlink()
    link(place.encoders, tmp_path / "encoders")
    with pytest.raises(ArtifactError, match="is a link"):
        opened()


def _adapter_of(folder: Path) -> str | None:
    found: str | None = json.loads((folder / CARD).read_text())["adapter"]
    return found


@pytest.mark.parametrize("content", ["[]", "{}", '{"generation": 5, "trail": []}', '{"generation": "x"}', "null", "{"])
def test_a_broken_pointer_is_refused_by_its_name(place: Home, content: str) -> None:
    (place.generations / POINTER).write_text(content)
    for read in (current_id, earlier_ids, Recommender.open):
        with pytest.raises(ArtifactError, match=r"current\.json"):
            read(place)


@pytest.mark.parametrize("content", ["[]", "{}", '{"generation": "x", "share": "all", "since": "x"}'])
def test_a_broken_shadow_is_refused_by_its_name(place: Home, content: str) -> None:
    (place.generations / STATE).write_text(content)
    with pytest.raises(ArtifactError, match=r"shadow\.json"):
        read_shadow(place)


@pytest.mark.parametrize("name", [POINTER, STATE])
def test_a_linked_pointer_is_refused(place: Home, tmp_path: Path, name: str) -> None:
    state = {"generation": str(current_id(place)), "share": 0.5, "since": "now", "trail": [str(current_id(place))]}
    (tmp_path / "elsewhere").write_text(json.dumps(state))
    (place.generations / name).unlink(missing_ok=True)
    os.symlink(tmp_path / "elsewhere", place.generations / name)
    with pytest.raises(ArtifactError, match="is a link"):
        (current_id if name == POINTER else read_shadow)(place)
