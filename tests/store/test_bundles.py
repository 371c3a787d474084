"""A generation with all that it stands on in a folder: what is in it, and how a home comes to serve it."""

from pathlib import Path

import pytest
from variants import make_variant

from recsys.artifacts import ArtifactError
from recsys.home import Home
from recsys.serving.recommender import Recommender
from recsys.store import bundles
from recsys.store.bundles import bundle_generation, read_bundle, serve_bundle
from recsys.store.generations import current_id, read_generation
from recsys.store.pointer import list_promotions
from recsys.store.promotions import Cause

CAUSE = Cause(by="a test")


@pytest.fixture
def bundle(home: Home, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    bundle_generation(home, str(current_id(home)), folder)
    return folder


def test_it_holds_what_a_generation_stands_on_and_nothing_else(home: Home, bundle: Path) -> None:
    served = str(current_id(home))
    manifest = read_generation(home, served)[1]
    found = {path.relative_to(bundle).as_posix() for path in bundle.glob("*/*")}
    assert found == {
        f"snapshots/{manifest.snapshot}",
        f"adapters/{manifest.adapter}",
        f"lance/{manifest.index.table}.lance",
        f"generations/{served}",
    }
    assert read_bundle(bundle).generation == served
    with pytest.raises(ArtifactError, match="is missing"):
        read_bundle(bundle.parent)


def test_an_empty_home_serves_it_and_answers_alike(home: Home, bundle: Path, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    assert serve_bundle(bundle, other, CAUSE) == current_id(home)
    assert [(one.action, one.by) for one in list_promotions(other)] == [("publish", "a test")]
    first, second = (Recommender.open(one).recommend(["i1", "i2"], k=5) for one in (home, other))
    assert first.items == second.items
    assert serve_bundle(bundle, other, CAUSE) == current_id(home)
    assert len(list_promotions(other)) == 1


def test_a_home_that_serves_something_is_left_as_it_is(home: Home, bundle: Path, tmp_path: Path) -> None:
    served = Home(tmp_path / "served")
    serve_bundle(bundle, served, CAUSE)
    variant, _ = make_variant(served, {"rules": 1.0})
    other = tmp_path / "other bundle"
    bundle_generation(served, variant, other)
    assert serve_bundle(other, served, CAUSE) == current_id(home)


def test_what_is_broken_is_not_served(bundle: Path, home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    table = next(bundle.glob("snapshots/*/items.parquet"))
    whole = table.read_bytes()
    table.write_bytes(whole[:-1])
    with pytest.raises(ArtifactError, match="has changed"):
        serve_bundle(bundle, other, CAUSE)
    assert current_id(other) is None


def test_who_dies_half_way_leaves_nothing_half_and_the_next_goes_on(
    bundle: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, parts, install = Home(tmp_path / "other"), [], bundles._install

    def dying(source: Path, final: Path) -> None:
        parts.append(source)
        if len(parts) == 4:  # the generation itself
            raise KeyboardInterrupt
        install(source, final)

    with monkeypatch.context() as patch:
        patch.setattr(bundles, "_install", dying)
        with pytest.raises(KeyboardInterrupt):
            serve_bundle(bundle, other, CAUSE)
    assert current_id(other) is None
    assert serve_bundle(bundle, other, CAUSE) == current_id(home)
