"""Tables of sentences: which are taken, and what a wrong one is told before anything starts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import SettingError
from recsys.home import Home
from recsys.serving.answers import Recommendation
from recsys.serving.explanation import ENGLISH, Carried, Component, Explanation, Reason
from services.serve import ServeError, free_port, start
from services.worker.wording import REASONS, Wording


def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any) -> Wording:
    path = tmp_path / "reasons.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    monkeypatch.setenv(REASONS, str(path))
    return Wording.from_environment()


def test_the_nearest_language_is_taken_and_english_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, german: dict[str, str]
) -> None:
    wording = read(tmp_path, monkeypatch, {"de": german, "de-CH": german | {"popularity": "populär"}})
    for language, popular in (("de", "beliebt"), ("DE-at-1996", "beliebt"), ("de-ch", "populär")):
        table = wording.of(language)
        assert table is not None
        assert table["popularity"] == popular
    assert [wording.of(language) for language in (None, "en", "en-GB", "fr")] == [None] * 4
    monkeypatch.delenv(REASONS)
    assert Wording.from_environment().of("de") is None
    ours = read(tmp_path, monkeypatch, {"en": ENGLISH | {"popularity": "loved by all"}}).of(None)
    assert ours is not None
    assert ours["popularity"] == "loved by all"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"knn": None}, "de lacks knn"),
        ({"kann": "x"}, "kann"),
        ({"knn": "ohne Titel"}, "de.knn is 'ohne Titel'; it must have {title} once"),
        ({"knn": "{titel}"}, "title"),
        ({"knn": "{title.__class__}"}, "title"),
        ({"knn": "{title!r}"}, "title"),
        ({"knn": "{title:>99999999}"}, "title"),
        ({"knn": "{title} {title}"}, "once"),
        ({"knn": "{title"}, "title"),
        ({"popularity": "beliebt {title}"}, "no placeholder"),
        ({"again": "etwa alle {every} Tage"}, "it must have {every} once and {ago} once"),
        ({"unnamed": " "}, "de.unnamed must be a sentence"),
        ({"unnamed": 1}, "de.unnamed must be a sentence"),
    ],
)
def test_a_table_with_a_mistake_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, german: dict[str, str], change: dict[str, Any], said: str
) -> None:
    table = {name: value for name, value in {**german, **change}.items() if value is not None}
    with pytest.raises(SettingError) as refused:
        read(tmp_path, monkeypatch, {"de": table})
    assert said in str(refused.value)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"de": []}', '{"no language": {}}'])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    with pytest.raises(SettingError, match=r"reasons\.json"):
        read(tmp_path, monkeypatch, content)
    with pytest.raises(ServeError, match=r"reasons\.json"):
        start(Home(tmp_path), free_port())
    monkeypatch.setenv(REASONS, str(tmp_path / "nowhere"))
    with pytest.raises(SettingError, match="nowhere is missing"):
        Wording.from_environment()


def test_what_is_taken_again_is_said_in_days_and_in_english_where_a_table_is_older(german: dict[str, str]) -> None:
    table = german | {"again": "zuletzt vor {ago} Tagen, etwa alle {every}", "again_anytime": "immer wieder"}
    regular, anytime = Reason("again", "1", "Heat", 30.6, 29.2), Reason("again", "1", "Heat")
    assert regular.said_by(table) == "zuletzt vor 29 Tagen, etwa alle 31"
    assert anytime.said_by(table) == "immer wieder"
    assert replace(regular, every_days=0.2).said_by(table) == "immer wieder"
    assert regular.said_by(german) == "you come back to this about every 31 days; last 29 days ago"
    assert anytime.said_by(german) == "you come back to this"


def test_a_history_that_must_not_be_told_is_told_in_no_language(german: dict[str, str]) -> None:
    carried = [Carried("1", "Heat", 1.0)]
    parts = [Component("knn", 2.0, 0.0, carried, 0.0), Component("popularity", 0.5, 0.5, [], 0.0)]
    why = [Reason("knn", "1", "Heat"), Reason("popularity")]
    item = Recommendation("2", 2.5, (), {}, explanation=Explanation(parts, carried, 0.0, 0.5, [], why))
    assert item.said_by(german).reasons == ("mögen alle, die Heat mögen", "beliebt")
    hidden = item.without_history()
    assert hidden.reasons == ("liked by people who liked an earlier choice", "popular")
    said = hidden.said_by(german)
    assert said.reasons == ("mögen alle, die einer früheren Wahl mögen", "beliebt")
    assert said.explanation is not None
    assert said.explanation.reasons == [Reason("knn"), Reason("popularity")]
