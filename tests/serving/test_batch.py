"""Lists for many users: those that each would have got alone at that moment, whatever cuts the writing short."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.artifacts import MANIFEST, ArtifactError, digest_file, unheld
from recsys.data.columns import AVAILABLE, TITLE
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.live_items import ItemStore
from recsys.errors import RequestError, SettingError
from recsys.home import Home
from recsys.selection.dials import Boost
from recsys.selection.filters import FilterError
from recsys.selection.selection import Promotion
from recsys.serving.answers import ListRequest, NewItems, Seen
from recsys.serving.batch.changes import changed, write_changes
from recsys.serving.batch.lists import Batch, write_lists
from recsys.serving.batch.manifest import CHANGES, read_manifest
from recsys.serving.batch.places import place_of
from recsys.serving.batch.unfinished import UNFINISHED
from recsys.serving.live_generation import as_served
from recsys.serving.recommender import Recommender
from recsys.serving.users import Users
from recsys.store.generations import current_id
from recsys.store.retention import UNFINISHED as DAYS_KEPT
from recsys.store.retention import prune

NOW = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
PLAIN = ListRequest(fields=())
ODD = ("..", "a/b", "Zoë \u2603", "[bold]", "'; drop table events; --", "-1", "user_id")
FORGOTTEN = "u003"
KILLED = """
import os, signal, sys
from pathlib import Path
from recsys.home import Home
from recsys.serving.answers import ListRequest
from recsys.serving.batch import lists, unfinished
written = unfinished.commit_file
def killed(staging, final):
    if final.name == "part-00002.parquet":
        os.kill(os.getpid(), signal.SIGKILL)
    written(staging, final)
unfinished.commit_file = killed
home, folder, generation, now = sys.argv[1:]
lists.write_lists(Home.of(home), Path(folder), generation, ListRequest(fields=()), block_size=20, now=int(now))
"""


@pytest.fixture
def place(home: Home, tmp_path: Path) -> Home:
    """A home with live events of an old user, of new ones and of one who was then forgotten; an item of it is gone."""
    copied = Home(Path(shutil.copytree(home.root, tmp_path / "home")))
    database = Database.of(copied)
    events = [("u001", "i000"), *((user, "i004") for user in ODD), (FORGOTTEN, "i001"), ("u002", "unheard of")]
    add_events(database, events)
    people = Users(database)
    people.forget(FORGOTTEN)
    people.forget(ODD[0])
    ItemStore(database).put("i010", None)
    database.close()
    return copied


def add_events(database: Database, pairs: list[tuple[str, str]]) -> None:
    then = datetime(2024, 12, 1, tzinfo=UTC)
    EventStore(database).add(
        Event(user, item, then + timedelta(minutes=number)) for number, (user, item) in enumerate(pairs)
    )


def written(place: Home, folder: Path, request: ListRequest = PLAIN, **given: Any) -> Batch:
    return write_lists(place, folder, str(current_id(place)), request, **{"now": NOW, "block_size": 20, **given})


def rows(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(folder / part.name) for part in read_manifest(folder).parts])


def files(folder: Path) -> dict[str, str]:
    """The hash of every file, by its place."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in found}


REQUESTS = {
    "plain": PLAIN,
    "with everything": ListRequest(
        k=7,
        offset=2,
        filter={"field": "year", "gte": 1960},
        exclude_seen=Seen(days=250),
        exclude_ids=["i020"],
        diversity=0.4,
        limits={"year": 2},
        promotions=[Promotion("i030", 3)],
        boosts=[Boost({"field": "genres", "contains": "Horror"}, 1.5)],
        new_items=NewItems(slots=1, strength=0.5),
        explain=True,
        fields=("title", "genres"),
    ),
    "of nothing": ListRequest(filter={"field": "year", "gte": 3000}, fields=()),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_lists_are_those_of_one_answer_each(place: Home, tmp_path: Path, name: str) -> None:
    request = REQUESTS[name]
    if name == "plain":  # one that takes the encoder
        database = Database.of(place)
        ItemStore(database).put("fresh", {TITLE: "Haunted Cellar", AVAILABLE: True})
        database.close()
    manifest = written(place, tmp_path / "lists", request).manifest
    database = Database.of(place)
    recommender, people = as_served(place, Recommender.open(place), database), Users(database)
    users = sorted({*recommender.users.rows, *ODD[1:]} - {FORGOTTEN})
    found = rows(tmp_path / "lists").partition_by("user_id", as_dict=True, maintain_order=True)
    assert manifest.users == len(users) == sum(part.users for part in manifest.parts)
    fallbacks = []
    for user in users:
        history = people.history(recommender.users, recommender.catalogue, user)
        answer = recommender.recommend(history, **vars(replace(request, now=NOW)))
        fallbacks.append(answer.fallback or "none")
        if not answer.items:
            assert (user,) not in found
            continue
        mine = found.pop((user,))
        assert mine["item_id"].to_list() == [item.item_id for item in answer.items]
        assert mine["rank"].to_list() == [*range(1, len(mine) + 1)]
        assert mine["score"].to_list() == pytest.approx([item.score for item in answer.items], rel=1e-4, abs=1e-4)
        assert mine["fallback"].unique().to_list() == [answer.fallback]
        for field in request.fields:
            assert mine[field].to_list() == [item.fields[field] for item in answer.items]
        if request.explain:
            assert [len(reasons) > 0 for reasons in mine["reasons"]] == [bool(item.reasons) for item in answer.items]
    database.close()
    assert found == {}
    assert manifest.answers == {link: fallbacks.count(link) for link in sorted(set(fallbacks))}
    assert manifest.parts == sorted(manifest.parts, key=lambda part: part.first)


def test_who_is_named_is_answered_once_and_strangers_get_what_is_popular(place: Home, tmp_path: Path) -> None:
    strangers = ["nobody", "\t", "Ω" * 256]
    given = ["u001", *strangers, "u001", FORGOTTEN]
    manifest = written(place, tmp_path / "lists", users=given, block_size=2).manifest
    found = rows(tmp_path / "lists")
    assert found["user_id"].unique(maintain_order=True).to_list() == sorted(set(given))
    assert manifest.answers == {"none": 1, "popular": 4}
    popular = found.filter(pl.col("user_id") != "u001").group_by("user_id").agg("item_id")
    assert popular["item_id"].n_unique() == 1
    assert [part.users for part in manifest.parts] == [2, 2, 1]
    assert written(place, tmp_path / "lists", users=sorted(set(given)), block_size=2).found


class FaultError(OSError):
    """A disk that is gone for a moment."""


def failing(monkeypatch: pytest.MonkeyPatch, at: int) -> list[int]:
    """Let the ``at``-th move to a final place fail, from 0; return what counts them."""
    moved, move = [0], os.replace

    def replaced(*paths: Any) -> None:
        moved[0] += 1
        if moved[0] == at + 1:
            raise FaultError
        move(*paths)

    monkeypatch.setattr(os, "replace", replaced)
    return moved


def test_whatever_write_fails_it_goes_on_and_ends_with_the_same(
    place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(place, tmp_path / "whole")
    whole, at = files(tmp_path / "whole"), 0
    assert len(whole) == 5
    while True:
        folder = tmp_path / f"cut-{at}"
        with monkeypatch.context() as patch:
            failing(patch, at)
            try:
                written(place, folder)
                break
            except FaultError:
                assert (folder / MANIFEST).exists() <= (len(files(folder)) >= len(whole))
        done = written(place, folder, now=NOW + 99 if (folder / UNFINISHED).exists() else NOW)
        assert files(folder) == whole
        assert not (folder / UNFINISHED).exists()
        assert done.found == (at == 11)
        at += 1
    assert at == 12  # begun, its folder, four files with their notes, the manifest, and the removal of what was begun


def test_killed_for_good_it_goes_on_as_of_the_moment_when_it_began(place: Home, tmp_path: Path) -> None:
    """What comes in afterwards counts in the next lists; who is forgotten afterwards is forgotten in these."""
    written(place, tmp_path / "whole")
    folder, generation = tmp_path / "cut", str(current_id(place))
    command = [sys.executable, "-W", "ignore", "-c", KILLED, place.root, folder, generation, NOW]
    killed = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert {"part-00000.parquet", "part-00001.parquet"} == {path.name for path in folder.glob("part-*")}
    assert {oct(path.stat().st_mode)[-2:] for path in (folder / UNFINISHED, folder / UNFINISHED / "begun.json")} == {
        "00"
    }
    first = (folder / "part-00000.parquet").stat().st_mtime_ns
    database = Database.of(place)
    add_events(database, [("u058", "i003"), ("u058", "i007"), ("newcomer", "i003")])
    ItemStore(database).put("i050", None)
    database.close()
    (folder / "part-00001.parquet").write_bytes(b"cut short")
    written(place, folder, now=NOW + 86_400)
    assert files(folder) == files(tmp_path / "whole")
    assert (folder / "part-00000.parquet").stat().st_mtime_ns == first
    later = rows(written(place, tmp_path / "later").folder)
    assert "newcomer" in later["user_id"]
    assert "i050" not in later["item_id"]
    assert "i050" in rows(folder)["item_id"]


def test_who_is_forgotten_meanwhile_is(place: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing(patch, 2)  # all is fixed, and no list is written
        with pytest.raises(FaultError):
            written(place, tmp_path / "lists")
    database = Database.of(place)
    Users(database).forget("u005")
    database.close()
    written(place, tmp_path / "lists")
    found = rows(tmp_path / "lists").filter(user_id="u005")
    assert found["fallback"].to_list() == ["popular"] * 10


def test_what_is_asked_for_otherwise_is_refused_and_told(place: Home, tmp_path: Path) -> None:
    folder, generation = tmp_path / "lists", str(current_id(place))
    written(place, folder)
    before = files(folder)
    others: list[tuple[str, Callable[[], object]]] = [
        ("k was 10 and is 5", lambda: written(place, folder, replace(PLAIN, k=5))),
        ("filter was None and is", lambda: written(place, folder, replace(PLAIN, filter={"field": "year", "gte": 1}))),
        ("users were all and are a list", lambda: written(place, folder, users=["u001"])),
        ("block size was 20 and is 30", lambda: written(place, folder, block_size=30)),
        (
            f"generation was {generation} and is 0123456789abcdef",
            lambda: write_lists(place, folder, "0123456789abcdef", PLAIN, block_size=20),
        ),
    ]
    for told, ask in others:
        with pytest.raises(ArtifactError, match=told):
            ask()
    assert written(place, folder, now=NOW + 5).found
    assert files(folder) == before
    for name, content in (("notes.txt", "mine"), (MANIFEST, "{}")):
        other = tmp_path / name / "folder"
        other.mkdir(parents=True)
        (other / name).write_text(content)
        with pytest.raises(ArtifactError, match="Give another folder"):
            written(place, other)
        assert files(other).keys() == {name}
    with unheld(folder), pytest.raises(ArtifactError, match="Another process writes lists"):
        written(place, folder)


@pytest.mark.parametrize(
    ("request_", "error", "told"),
    [
        (replace(PLAIN, filter={"field": "yaer", "gte": 1}), FilterError, "yaer"),
        (replace(PLAIN, fields=("yaer",)), RequestError, "there is no 'yaer'"),
        (replace(PLAIN, k=0), RequestError, "at least 1"),
    ],
)
def test_a_request_that_does_not_fit_leaves_the_folder_free(
    place: Home, tmp_path: Path, request_: ListRequest, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        written(place, tmp_path / "lists", request_)
    with pytest.raises(SettingError, match="at least 1"):
        written(place, tmp_path / "lists", block_size=0)
    assert written(place, tmp_path / "lists", users=["u001"]).manifest.users == 1


def test_the_changes_make_the_new_lists_of_the_old(place: Home, tmp_path: Path) -> None:
    old = written(place, tmp_path / "old", users=["gone", *(f"u{user:03}" for user in range(30))], block_size=7)
    shown = rows(old.folder).filter(user_id="u000")["item_id"].to_list()
    barely = replace(PLAIN, exclude_ids=[shown[3]])
    new = written(place, tmp_path / "new", barely, users=[f"u{user:03}" for user in range(10, 40)], block_size=4)
    fed = write_changes(new, old.folder)
    feed = {row["user_id"]: row for row in pl.read_parquet(new.folder / CHANGES).iter_rows(named=True)}
    before, after = (lists_by_user(one.folder) for one in (old, new))
    assert list(feed) == sorted(user for user in {*before, *after} if before.get(user) != after.get(user))
    assert 0 < len(feed) < 41
    assert fed.manifest.changes is not None
    assert fed.manifest.changes.users == len(feed)
    for user, row in feed.items():
        was, now = before.get(user, []), after.get(user, [])
        assert row["item_ids"] == now
        assert row["entered"] == [item for item in now if item not in was]
        assert row["left"] == [item for item in was if item not in now]
        both = [item for item in now if item in was]
        assert row["moved"] == [item for item in both if now.index(item) != was.index(item)]
    assert feed["gone"]["item_ids"] == []
    written_at = (new.folder / CHANGES).stat().st_mtime_ns
    assert write_changes(written(place, new.folder, barely, users=list(after), block_size=4), old.folder) == replace(
        fed, found=True
    )
    assert (new.folder / CHANGES).stat().st_mtime_ns == written_at
    assert write_changes(old, old.folder).manifest.changes.users == 0  # type: ignore[union-attr]
    nobody = write_changes(written(place, tmp_path / "nobody", users=[]), old.folder)
    assert pl.read_parquet(nobody.folder / CHANGES)["user_id"].to_list() == sorted(before)
    with pytest.raises(ArtifactError, match="missing"):
        write_changes(new, tmp_path / "nowhere")


def test_a_list_in_another_order_is_another() -> None:
    def lists(**of: str) -> pl.DataFrame:
        listed = [(user, item, rank) for user, items in of.items() for rank, item in enumerate(items, 1)]
        return pl.DataFrame(listed, schema={"user_id": pl.String, "item_id": pl.String, "rank": pl.Int32}, orient="row")

    found = changed(lists(same="abc", turned="acb", shorter="ab"), lists(same="abc", turned="abc", shorter="abc"))
    assert found.to_dicts() == [
        {"user_id": "shorter", "item_ids": ["a", "b"], "entered": [], "left": ["c"], "moved": []},
        {"user_id": "turned", "item_ids": ["a", "c", "b"], "entered": [], "left": [], "moved": ["c", "b"]},
    ]


def lists_by_user(folder: Path) -> dict[str, list[str]]:
    found = rows(folder).group_by("user_id", maintain_order=True).agg("item_id")
    return dict(zip(found["user_id"].to_list(), found["item_id"].to_list(), strict=True))


def test_lists_below_the_home_have_a_folder_a_day_and_go_after_a_month(place: Home, tmp_path: Path) -> None:
    batch = written(place, tmp_path / "lists", users=["u001"])
    inputs = batch.manifest.inputs
    folder = place_of(place, inputs, NOW)
    assert folder.name == f"batch-{inputs.generation}-2025-01-01-{inputs.id[:8]}"
    (folder / UNFINISHED).mkdir(parents=True)
    tomorrow = NOW + 86_400
    assert place_of(place, inputs, tomorrow) == folder  # it is not finished
    (folder / UNFINISHED).rmdir()
    assert place_of(place, inputs, tomorrow) != folder
    shutil.copytree(batch.folder, folder, dirs_exist_ok=True)
    assert [one.why for one in prune(place).stays if one.name == folder.name] == ["lists of users"]
    late = datetime.now(UTC) + DAYS_KEPT
    with unheld(folder):
        assert [one.why for one in prune(place, now=late).stays if one.name == folder.name] == ["a process writes it"]
    assert folder.name in {one.name for one in prune(place, now=late).goes}
    assert not folder.exists()


def test_a_manifest_says_where_the_lists_came_from(place: Home, tmp_path: Path) -> None:
    manifest = written(place, tmp_path / "lists").manifest
    document = json.loads((tmp_path / "lists" / MANIFEST).read_text())
    opened = Recommender.open(place)
    assert (manifest.inputs.generation, manifest.adapter, manifest.snapshot) == (
        opened.generation_id,
        opened.adapter_id,
        opened.snapshot_id,
    )
    assert document["asked"] == "2025-01-01T00:00:00+00:00"
    assert (document["events"], document["items"]) == (1, 1)
    assert document["inputs"]["request"]["k"] == 10
    assert {part["name"]: part["sha256"] for part in document["parts"]} == {
        name: sha256 for name, sha256 in files(tmp_path / "lists").items() if name.startswith("part-")
    }
