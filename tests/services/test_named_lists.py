"""Named lists and pages of rows over HTTP: attributed, replayed, refused with a sentence, and no tell-tales."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from recsys.home import Home
from recsys_client.schemas.page import DEFAULT_ROWS, RecipeName
from recsys_client.schemas.recipes import RECIPES
from services.edge.keys import create_key
from services.serve import running

ROUTES = sorted(set(RECIPES) - {"for-you", "buy-again"})  # nobody in this small world buys twice


def ask(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"/v1/{path}", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def of_recipe(recipe: str, catalogue: list[str]) -> dict[str, Any]:
    """Return what a recipe needs to have a list in this small world, whose users choose rarely."""
    own: dict[str, dict[str, Any]] = {
        "bought-together": {"item_ids": catalogue[:2], "days": 90},
        "new-arrivals": {"days": 400},
    }
    return own.get(recipe, {})


@pytest.mark.parametrize("recipe", ROUTES)
def test_a_list_is_recorded_replayed_and_brings_events(
    service: httpx.Client, known_user: str, catalogue: list[str], recipe: str
) -> None:
    user = f"buyer-{uuid.uuid4().hex[:8]}"
    seen = service.get(f"/v1/users/{known_user}").json()["history"]
    history = [event["item_id"] for event in seen]
    service.post("/v1/events", json={"events": [{"user_id": user, "item_id": item} for item in history[:6]]})
    answer = ask(service, f"lists/{recipe}", user_id=user, k=4, explain=True, **of_recipe(recipe, catalogue))
    assert answer["recipe"] == recipe
    assert answer["title"]
    assert answer["as_of"].startswith("2024-")
    assert answer["items"], "this small world has such a list"
    assert (answer["about"] is not None) == (recipe == "because-you-liked")
    for item in answer["items"]:
        parts = [part["score"] for part in item["explanation"]["components"]]
        assert sum(parts) == pytest.approx(item["score"], abs=1e-4)
    trace = service.get(f"/v1/recommendations/{answer['rec_id']}", params={"replay": True}).json()
    assert trace["request"]["recipe"] == recipe
    assert [item["item_id"] for item in trace["items"]] == ids(answer)
    assert trace["replay"]["same"], trace["replay"]["differences"]
    before = service.get("/v1/rates", params={"hours": 1, "event_type": recipe}).json()["rates"][0]["clicks"]
    event = {"user_id": user, "item_id": ids(answer)[0], "event_type": recipe, "rec_id": answer["rec_id"]}
    assert ask(service, "events", events=[event])["accepted"] == 1
    after = service.get("/v1/rates", params={"hours": 1, "event_type": recipe}).json()["rates"][0]["clicks"]
    assert after == before + 1


def test_an_event_is_viewed_last_at_once(service: httpx.Client, catalogue: list[str]) -> None:
    user = f"viewer-{uuid.uuid4().hex[:8]}"
    for item in (catalogue[3], catalogue[9], catalogue[3]):
        ask(service, "events", events=[{"user_id": user, "item_id": item, "event_id": uuid.uuid4().hex}])
        assert ids(ask(service, "lists/recently-viewed", user_id=user))[0] == item
    assert ids(ask(service, "lists/recently-viewed", user_id=user)) == [catalogue[3], catalogue[9]]


@pytest.mark.parametrize(
    ("path", "body", "said", "pointer"),
    [
        ("lists/trending", {"day": 7}, "did you mean 'days'", "/day"),
        ("lists/trending", {"days": 0}, "greater than or equal to 1", "/days"),
        ("lists/popular", {"user_id": "u", "history": []}, "not both", ""),
        ("lists/recently-viewed", {"user_id": "u", "exclude_seen": True}, "Input should be False", "/exclude_seen"),
        ("lists/popular", {"days": 3, "segment": True}, "days or segment", ""),
        ("lists/recently-viewed", {}, "exactly one", ""),
        ("lists/bought-together", {}, "required", "/item_ids"),
        ("lists/new-arrivals", {"column": "colour"}, "no item column 'colour'", "/column"),
        ("lists/new-arrivals", {"column": "title"}, "neither dates nor times", "/column"),
        ("similar", {"item_id": "i000", "by": "taste"}, "'text', 'behaviour' or 'both'", "/by"),
        ("page", {"rows": []}, "at least 1", "/rows"),
        ("page", {"rows": [{"recipe": "hot"}]}, "'trending'", "/rows/0/recipe"),
        ("page", {"rows": [{"recipe": "popular"}, {"recipe": "popular", "column": "year"}]}, "no column", "/rows/1"),
        ("page", {"rows": [{"recipe": "bought-together"}]}, "needs item_ids", "/rows/0"),
        ("page", {"rows": [{"recipe": "popular", "filter": {"field": "hue", "eq": 1}}]}, "'hue'", "/rows/0/filter"),
    ],
)
def test_what_does_not_fit_is_told_where(
    service: httpx.Client, path: str, body: dict[str, Any], said: str, pointer: str
) -> None:
    response = service.post(f"/v1/{path}", json=body)
    assert response.status_code == 422, response.text
    (error,) = response.json()["errors"]
    assert said in response.json()["detail"]
    assert error["pointer"].startswith(pointer)


def test_an_item_that_is_not_there_is_told(service: httpx.Client, catalogue: list[str]) -> None:
    for path, body in (
        ("bought-together", {"item_ids": ["nothing"]}),
        ("because-you-liked", {"item_id": "nothing"}),
    ):
        refused = service.post(f"/v1/lists/{path}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown-item")
    some = ask(service, "lists/bought-together", item_ids=["nothing", catalogue[0]])
    assert some["missing_ids"] == ["nothing"]


def test_a_page_holds_no_item_twice_and_the_likeliest_first(
    service: httpx.Client, known_user: str, catalogue: list[str]
) -> None:
    page = ask(service, "page", user_id=known_user, k=4)
    assert page["rows"][0]["recipe"] in ("for-you", "recently-viewed")
    assert {row["recipe"] for row in [*page["rows"], *page["left_out"]]} == set(DEFAULT_ROWS)
    found = [item for row in page["rows"] for item in ids(row)]
    assert len(set(found)) == len(found)
    utilities = [row["utility"] for row in page["rows"]]
    assert utilities == sorted(utilities, reverse=True)
    for row in page["rows"]:
        trace = service.get(f"/v1/recommendations/{row['rec_id']}", params={"replay": True}).json()
        assert trace["replay"]["same"], (row["recipe"], trace["replay"]["differences"])
    rows: list[dict[str, Any]] = [
        {"recipe": "new-arrivals", "days": 400, "k": 3},
        {"recipe": "because-you-liked"},
        {"recipe": "popular", "title": "Laughs", "filter": {"field": "genres", "contains": "Comedy"}},
        {"recipe": "because-you-liked", "item_id": "nothing"},
        {"recipe": "popular", "filter": {"field": "item_id", "in": catalogue[:2]}},
    ]
    stranger = ask(service, "page", rows=rows, fields=["genres"], filter={"field": "year", "gte": 1960})
    assert [row["row"] for row in stranger["rows"]] == [2, 0]
    assert stranger["rows"][0]["title"] == "Laughs"
    assert all(item["fields"]["genres"] == ["Comedy"] for item in stranger["rows"][0]["items"])
    assert len(stranger["rows"][1]["items"]) == 3
    left = {row["row"]: row["code"] for row in stranger["left_out"]}
    assert left == {1: "no-such-list", 3: "unknown-item", 4: "too-few-items"}


def test_the_rows_of_a_page_are_the_lists_that_there_are() -> None:
    assert set(RecipeName.__args__) == set(RECIPES)
    assert set(DEFAULT_ROWS) <= set(RECIPES)


def test_reasons_that_a_table_lacks_are_english(service: httpx.Client) -> None:
    (item,) = ask(service, "lists/popular", k=1, explain=True, language="de")["items"]
    assert item["reasons"] == [f"chosen by {int(item['score'])} people"]
    assert item["explanation"]["reasons"][0]["numbers"] == {"people": item["score"]}


def test_a_live_item_is_new_and_alike_by_its_text(
    service: httpx.Client, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    item = f"new-{uuid.uuid4().hex[:8]}"
    service.put(f"/v1/items/{item}", json={"title": "Desert Sheriff Saddle"}).raise_for_status()
    try:
        eventually(lambda: item in ids(ask(service, "lists/new-arrivals", k=200)))
        assert ids(ask(service, "lists/new-arrivals", k=200))[0] == item  # newer than all of the snapshot
        near = ask(service, "lists/because-you-liked", item_id=item, by="text", k=5, fields=["genres"])["items"]
        assert any(one["fields"]["genres"] == ["Western"] for one in near)
        assert ids(ask(service, "lists/bought-together", item_ids=[item])) == []
        assert item in ids(ask(service, "lists/trending", k=200))
        viewed = {"user_id": f"viewer-{item}", "item_id": item}
        ask(service, "events", events=[viewed])
        assert ids(ask(service, "lists/recently-viewed", user_id=viewed["user_id"])) == [item]
    finally:
        service.delete(f"/v1/items/{item}").raise_for_status()
    assert item not in ids(ask(service, "lists/new-arrivals", k=200))


def test_users_like_one_are_named_until_they_are_forgotten(
    copy_of_home: Callable[[Path], Home], tmp_path: Path
) -> None:
    with running(copy_of_home(tmp_path)) as url, httpx.Client(base_url=url, timeout=30) as client:
        found = ask(client, "similar-users", user_id="u000", k=3)["users"]
        assert len(found) == 3
        assert "u000" not in {one["user_id"] for one in found}
        assert found[0]["shared"] >= len(found[0]["items"]) > 0
        client.delete(f"/v1/users/{found[0]['user_id']}").raise_for_status()
        left = [one["user_id"] for one in ask(client, "similar-users", user_id="u000", k=2)["users"]]
        assert left == [one["user_id"] for one in found[1:]]
        items = [item["item_id"] for item in found[1]["items"]]
        given = ask(client, "similar-users", history=[*items, "nothing"], k=2)
        assert given["users"][0]["shared"] <= len(items)
        assert given["missing_ids"] == ["nothing"]


@pytest.fixture(scope="module")
def keyed(copy_of_home: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client whose key may ask for lists, and no more."""
    home = copy_of_home(tmp_path_factory.mktemp("keyed"))
    key = create_key(home, "shop", ["recommend"])[1]
    headers = {"authorization": f"Bearer {key}"}
    with running(home) as url, httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        yield client


def test_a_key_without_admin_is_told_no_history(keyed: httpx.Client, known_user: str, catalogue: list[str]) -> None:
    for recipe in ("recently-viewed", "because-you-liked", "buy-again"):
        refused = keyed.post(f"/v1/lists/{recipe}", json={"user_id": known_user})
        assert (refused.status_code, refused.json()["code"]) == (403, "tells-history")
        assert keyed.post(f"/v1/lists/{recipe}", json={"history": catalogue[:3]}).status_code == 200
    about = {"item_id": catalogue[0], "by": "text", "exclude_seen": False, "explain": True, "k": 1}
    given = ask(keyed, "lists/because-you-liked", user_id=known_user, **about)
    assert given["items"][0]["explanation"]["reasons"][0]["item_id"] == catalogue[0]
    few = {"filter": {"field": "item_id", "in": catalogue[:9]}}
    refused = keyed.post("/v1/lists/popular", json={"user_id": known_user, **few})
    assert (refused.status_code, refused.json()["code"]) == (403, "tells-history")
    new = ask(keyed, "lists/new-arrivals", user_id=known_user, days=400, explain=True, k=30)
    for item in new["items"]:
        assert not item["explanation"]["history"]
        assert all(reason["item_id"] is None for reason in item["explanation"]["reasons"])
    assert keyed.post("/v1/similar-users", json={"user_id": known_user}).json()["code"] == "missing-scope"
    page = ask(keyed, "page", user_id=known_user, k=3)
    assert {row["recipe"] for row in page["left_out"] if row["code"] == "tells-history"} == {
        "recently-viewed",
        "because-you-liked",
        "buy-again",
    }
    assert page["rows"]
