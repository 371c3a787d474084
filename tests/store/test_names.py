"""Aliases, tags and notes: they stand beside what never changes, move, and are never taken for an id."""

import json
import os
import shutil
from pathlib import Path

import pytest

from recsys.artifacts import ArtifactError
from recsys.errors import SettingError
from recsys.home import Home
from recsys.store import names
from recsys.store.adapters import delete_adapter, list_adapters, save_adapter, verify_adapter
from recsys.store.adapters import when_made as adapter_made
from recsys.store.manifests import CARD, CLASSIFICATION, AdapterCard
from recsys.store.names import ADAPTER, GENERATION, SNAPSHOT, meant, read_names, remove_alias, set_alias, set_tags
from recsys.texts.labels import newest_classifier


def stored(home: Home, content: str = "x") -> str:
    return save_adapter(
        home, lambda folder: (folder / "w").write_text(content), AdapterCard(base="b", task=CLASSIFICATION)
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_an_alias_stands_for_one_and_moves(home: Home) -> None:
    first, second = stored(home, "1"), stored(home, "2")
    assert set_alias(home, ADAPTER, first, "champion") is None
    assert meant(home, ADAPTER, "champion") == first
    assert set_alias(home, ADAPTER, second, "champion") == first
    assert set_alias(home, ADAPTER, second, "champion") is None  # it has it already
    assert meant(home, ADAPTER, "champion") == second
    assert read_names(home, ADAPTER).label(second) == f"{second} (champion)"
    assert read_names(home, ADAPTER).label(first) == first
    assert remove_alias(home, ADAPTER, "champion") == second
    with pytest.raises(ArtifactError, match="No adapter has the alias 'champion'; there are none"):
        remove_alias(home, ADAPTER, "champion")


def test_names_are_no_part_of_what_has_them_and_go_with_it(home: Home) -> None:
    adapter = stored(home)
    set_alias(home, ADAPTER, adapter, "champion")
    set_tags(home, ADAPTER, adapter, add=("small data", "übung"))
    names.set_note(home, ADAPTER, adapter, "For the spring catalogue.\nAsk Ann.")
    verify_adapter(home, adapter)
    assert [card.id for card in list_adapters(home)] == [adapter]
    assert stored(home) == adapter
    copied = Home(Path(shutil.copytree(home.root, home.root.with_name("copy"))))
    assert read_names(copied, ADAPTER).of(adapter) == {
        "aliases": ["champion"],
        "tags": ["small data", "übung"],
        "note": "For the spring catalogue.\nAsk Ann.",
    }
    delete_adapter(home, adapter)
    assert read_names(home, ADAPTER).of(adapter) == {"aliases": [], "tags": [], "note": None}
    assert stored(home) == adapter  # the same again has no names of the one before
    with pytest.raises(ArtifactError, match="no name of one"):
        meant(home, ADAPTER, "champion")


def test_tags_are_many_and_each_is_there_once(home: Home) -> None:
    adapter, other = stored(home, "1"), stored(home, "2")
    for one in (adapter, other):
        set_tags(home, ADAPTER, one, add=("a", "b"))
    set_tags(home, ADAPTER, adapter, add=("a", "c"), remove=("b", "nothing"))
    assert read_names(home, ADAPTER).tags == {adapter: ["a", "c"], other: ["a", "b"]}
    with pytest.raises(SettingError, match="20 are the most"):
        set_tags(home, ADAPTER, adapter, add=tuple(f"tag {number}" for number in range(20)))
    for bad in ("", " x", "a\u202eb", "a\nb", 65 * "x"):
        with pytest.raises(SettingError, match="is no tag"):
            set_tags(home, ADAPTER, adapter, add=(bad,))
    with pytest.raises(SettingError, match="A note has up to"):
        names.set_note(home, ADAPTER, adapter, 2_001 * "x")


@pytest.mark.parametrize(
    "alias", ["", "Champion", "a b", "a/b", "..", "../x", "-x", 65 * "x", "0123456789abcdef", "beef", "1234"]
)
def test_an_alias_is_a_plain_word_and_never_how_an_id_begins(home: Home, alias: str) -> None:
    adapter = stored(home)
    with pytest.raises(SettingError):
        set_alias(home, ADAPTER, adapter, alias)
    set_alias(home, ADAPTER, adapter, "v2.1-beef_x")
    set_alias(home, ADAPTER, adapter, "abc")  # too short to be how an id begins
    assert read_names(home, ADAPTER).of(adapter)["aliases"] == ["abc", "v2.1-beef_x"]


def test_how_an_id_begins_is_enough_where_no_other_does(home: Home) -> None:
    for name in ("aaaa111111111111", "aaaa222222222222", "bbbb111111111111"):
        (home.adapters / name).mkdir(parents=True)
        (home.adapters / name / CARD).write_text("{}")
    assert meant(home, ADAPTER, "aaaa1") == "aaaa111111111111"
    assert meant(home, ADAPTER, "bbbb") == "bbbb111111111111"
    with pytest.raises(ArtifactError, match="aaaa begins 2 adapter ids: aaaa111111111111, aaaa222222222222"):
        meant(home, ADAPTER, "aaaa")
    for name in ("bbb", "cccc", "*", "aaaa[1]*", "../adapters", "."):
        with pytest.raises(ArtifactError, match="is no adapter id and no name of one"):
            meant(home, ADAPTER, name)
    assert meant(home, ADAPTER, "0123456789abcdef") == "0123456789abcdef"  # whoever reads it says that there is none
    assert meant(home, SNAPSHOT, "0123456789abcdef") == "0123456789abcdef"


def test_a_slip_is_told_what_was_meant(home: Home) -> None:
    adapter = stored(home)
    set_alias(home, ADAPTER, adapter, "champion")
    with pytest.raises(ArtifactError, match=r"'champoin' is no adapter id .* Did you mean champion\?"):
        meant(home, ADAPTER, "champoin")
    with pytest.raises(ArtifactError, match=r"'champion' is no generation id .* `recsys generations` lists"):
        meant(home, GENERATION, "champion")  # each kind has names of its own
    with pytest.raises(ArtifactError, match="There is no adapter '0123456789abcdef'"):
        set_alias(home, ADAPTER, "0123456789abcdef", "x")


def test_a_moved_alias_is_seen_at_once_and_a_broken_file_is_named(home: Home) -> None:
    first, second = stored(home, "1"), stored(home, "2")
    for _ in range(20):  # however quick the clock of the file system is
        for adapter in (first, second):
            set_alias(home, ADAPTER, adapter, "champion")
            assert meant(home, ADAPTER, "champion") == adapter
    path = home.adapters / names.FILE
    path.write_text(json.dumps({"aliases": {"champion": 5}}))
    with pytest.raises(ArtifactError, match=r"names.json is not as it was written: aliases.champion is 5, not text"):
        meant(home, ADAPTER, "champion")
    path.write_text(json.dumps({"aliases": {"champion": first}}))  # of a version that knew no tags
    set_tags(home, ADAPTER, first, add=("a",))
    assert json.loads(path.read_text()) == {"aliases": {"champion": first}, "tags": {first: ["a"]}, "notes": {}}
    path.unlink()
    path.symlink_to(home.adapters / second / CARD)
    with pytest.raises(ArtifactError, match="is a link"):
        read_names(home, ADAPTER)


def test_what_was_made_last_stays_last_when_a_home_is_copied(home: Home) -> None:
    made = [stored(home, content) for content in "123"]
    cards = {card.id: card for card in list_adapters(home)}
    before = {one: adapter_made(home, cards[one]) for one in made}
    assert sorted(made, key=lambda one: before[one]) == made
    for day, one in enumerate(reversed(made)):  # as a copy, a backup or rsync may date them
        for path in (home.adapters / one, home.adapters / one / CARD):
            os.utime(path, (1_700_000_000 + 86_400 * day,) * 2)
    assert newest_classifier(home) == made[-1]
    assert {card.id: adapter_made(home, card) for card in list_adapters(home)} == before
    old = json.loads((home.adapters / made[0] / CARD).read_text())
    del old["made"]  # as older versions have written it: its file's date is all there is
    (home.adapters / made[0] / CARD).write_text(json.dumps(old))
    os.utime(home.adapters / made[0] / CARD, (1_700_000_000, 1_700_000_000))
    verify_adapter(home, made[0])
    assert adapter_made(home, next(card for card in list_adapters(home) if card.id == made[0])).year == 2023
