"""What is broken is served by nobody and for no reason, whatever the gate says, and the log tells why."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from variants import make_variant

from recsys.artifacts import MANIFEST, ArtifactError, staged_folder
from recsys.errors import SettingError
from recsys.home import Home
from recsys.publishing.admission import publish
from recsys.publishing.rollback import roll_back
from recsys.publishing.verification import verify_answers, verify_stored
from recsys.serving.recommender import Recommender
from recsys.store import index
from recsys.store.generations import ConflictError, commit_generation, current_id, delete_generation, read_generation
from recsys.store.index import GENERATION_TAG, build_index, indexing
from recsys.store.manifests import IndexReference
from recsys.store.pointer import list_promotions
from recsys.store.promotions import LOG, Cause

REASON = Cause("ann", reason="A test.")
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def trained(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of the module's own, in which the trained generation is served from one test to the next."""
    return Home(Path(shutil.copytree(home.root, tmp_path_factory.mktemp("verified") / "home")))


@pytest.fixture
def served(trained: Home) -> str:
    return str(current_id(trained))


def bound(home: Home, change: Change = lambda _: None, at: IndexReference | None = None) -> str:
    """Commit a generation like the served one with other files, or over another index; return its id."""
    folder, manifest = read_generation(home, str(current_id(home)))
    with staged_folder(home.generations) as staging:
        shutil.copytree(folder, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
        change(staging)
        return commit_generation(home, staging, replace(manifest, index=at or manifest.index, notes={}))


def tensors(name: str, change: Callable[[dict[str, Any]], None]) -> Change:
    """Return what changes the tensors of a file."""

    def write(folder: Path) -> None:
        found = load_file(folder / name)
        change(found)
        save_file(found, folder / name)

    return write


def not_a_number(found: dict[str, Any]) -> None:
    found["towers.mean"][3] = np.nan


def fewer(found: dict[str, Any]) -> None:
    found["counts"] = found["counts"][:-1]


def indexed(home: Home, change: Callable[[list[str], Any], None], monkeypatch: pytest.MonkeyPatch) -> IndexReference:
    """Index the served vectors and ids again with a change, as nobody would who checks them."""
    source = Recommender.open(home)
    ids, vectors = list(source.catalogue.ids), np.array(source.scoring.source.vectors)
    change(ids, vectors)
    monkeypatch.setattr(index, "_check_vectors", lambda *_: None)
    with indexing(home.lance):
        return build_index(home.lance, ids, vectors, ["a text"] * len(ids))


def refused(home: Home, generation_id: str, said: str) -> None:
    """Check that neither force nor a rollback serves a generation, and that the log says why, each time."""
    served = current_id(home)
    for attempt in (
        lambda: publish(home, generation_id),
        lambda: publish(home, generation_id, force=True, cause=REASON),
        lambda: roll_back(home, generation_id, cause=REASON),
    ):
        before = len(list_promotions(home))
        with pytest.raises(ArtifactError, match=said):
            attempt()
        assert current_id(home) == served
        last = list_promotions(home)[0]
        assert len(list_promotions(home)) == before + 1
        assert (last.action, last.generation, last.previous, last.passed) == ("refused", generation_id, served, False)
        assert said in last.findings[0]
    assert (last.by, last.reason) == ("ann", "A test.")
    delete_generation(home, generation_id)


def test_what_the_pipeline_made_is_whole(trained: Home, served: str) -> None:
    assert verify_stored(trained, served).id == served
    verify_answers(trained, Recommender.open(trained))


def test_a_changed_file_is_refused(trained: Home) -> None:
    broken = bound(trained, lambda folder: (folder / "text.json").write_text("{}"))
    (trained.generations / broken / "system.json").write_text("{}")
    refused(trained, broken, "has changed since it was written")


def test_a_number_that_is_none_is_refused(trained: Home) -> None:
    refused(trained, bound(trained, tensors("text.safetensors", not_a_number)), "text.safetensors holds a number in")


def test_an_index_of_broken_vectors_or_of_other_items_is_refused(
    trained: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def zero(_: list[str], vectors: Any) -> None:
        vectors[7] = 0

    def infinite(_: list[str], vectors: Any) -> None:
        vectors[7, 0] = np.inf

    def others(ids: list[str], _: Any) -> None:
        ids[0] = "another"

    for change, said in ((zero, "is zero or not finite"), (infinite, "is zero or not finite"), (others, "its index")):
        refused(trained, bound(trained, at=indexed(trained, change, monkeypatch)), said)


def test_what_was_mistyped_is_no_refusal(trained: Home) -> None:
    before = list_promotions(trained)
    for name in ("0" * 16, "../generations", "nothing"):
        with pytest.raises(ArtifactError):
            publish(trained, name)
    assert list_promotions(trained) == before


def test_what_its_reader_stumbles_over_is_refused(trained: Home) -> None:
    broken = bound(trained, lambda folder: (folder / "system.json").write_text('{"experts": []}'))
    with pytest.raises(ArtifactError, match=f"Generation {broken} cannot be opened: KeyError"):
        publish(trained, broken, force=True, cause=REASON)
    assert "KeyError" in list_promotions(trained)[0].findings[0]
    delete_generation(trained, broken)


def test_other_counts_than_the_snapshot_has_are_refused(trained: Home, served: str) -> None:
    short = Recommender.open(trained, bound(trained, tensors("popularity.safetensors", fewer)))
    with pytest.raises(ArtifactError, match="it holds 79 counts of events by item, its snapshot 80"):
        verify_answers(trained, short)
    delete_generation(trained, short.generation_id)
    whole = Recommender.open(trained, served)
    rows = dict(list(whole.users.rows.items())[:-1])
    with pytest.raises(ArtifactError, match=r"it holds \d+ users, its snapshot \d+"):
        verify_answers(trained, replace(whole, users=replace(whole.users, rows=rows)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda items: items[:-1], "offers 9 items to somebody unknown, who was to get 10"),
        (lambda items: (*items[:-1], items[0]), "an item twice"),
        (lambda items: (*items[:-1], replace(items[-1], item_id="nothing")), "one that there is not"),
        (lambda items: (*items[:-1], replace(items[-1], score=float("nan"))), "a score that is no number"),
    ],
)
def test_an_answer_that_is_none_is_refused(
    trained: Home, served: str, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any], said: str
) -> None:
    answer = Recommender.recommend

    def changed(self: Recommender, *args: Any, **options: Any) -> Any:
        found = answer(self, *args, **options)
        return replace(found, items=change(found.items))

    monkeypatch.setattr(Recommender, "recommend", changed)
    with pytest.raises(ArtifactError, match=said):
        verify_answers(trained, Recommender.open(trained, served))


def test_force_takes_a_reason_and_skips_no_check(trained: Home, served: str) -> None:
    worse, _ = make_variant(trained, {"popularity": 1.0}, worse=True)
    before = len(list_promotions(trained))
    with pytest.raises(SettingError, match="takes a reason"):
        publish(trained, worse, force=True)
    assert len(list_promotions(trained)) == before  # nothing was tried
    refusal = publish(trained, worse)
    assert (refusal.passed, current_id(trained)) == (False, served)
    forced = publish(trained, worse, force=True, cause=REASON)
    assert (forced.passed, current_id(trained)) == (False, worse)
    assert forced.findings[:-1] == refusal.findings[:-1]
    assert all(one.findings[-1].startswith("95 % of its answers take") for one in (forced, refusal))
    told, said = list_promotions(trained)[:2]
    assert (told.action, told.forced, told.passed, told.reason) == ("publish", True, False, "A test.")
    assert told.findings == list(forced.findings)
    assert (said.action, said.forced, said.passed, said.findings) == ("refused", False, False, list(refusal.findings))
    with pytest.raises(ConflictError, match=f"Generation {worse} is served, no longer {served}"):
        roll_back(trained, expected=served)
    assert roll_back(trained, cause=REASON) == served == current_id(trained)
    other, _ = make_variant(trained, {"popularity": 0.5}, worse=True)
    with pytest.raises(SettingError, match="was never served, and going back asks no gate"):
        roll_back(trained, other)
    assert current_id(trained) == served
    assert roll_back(trained, worse) == worse  # once it was
    (trained.generations / LOG).rename(trained.root / LOG)
    (trained.generations / LOG).mkdir()
    assert roll_back(trained, other) == other  # who cannot know is not kept from going back
    (trained.generations / LOG).rmdir()
    (trained.root / LOG).rename(trained.generations / LOG)
    assert roll_back(trained, served) == served
    table = lancedb.connect(trained.lance).open_table(read_generation(trained, worse)[1].index.table)
    assert {f"{GENERATION_TAG}{one}" for one in (served, worse)} <= set(table.tags.list())
    delete_generation(trained, worse)
    assert f"{GENERATION_TAG}{worse}" not in table.tags.list()
