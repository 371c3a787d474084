"""Ranking rules over HTTP: batches, given items, promotions, diversity, limits, explanations."""

import uuid
from typing import Any

import httpx
import pytest


def ask(service: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    response = service.post(f"/v1/{path}", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_batch_gives_everybody_the_answer_of_a_single_request(
    service: httpx.Client, known_user: str, catalogue: list[str]
) -> None:
    people: list[dict[str, Any]] = [
        {"user_id": known_user},
        {"user_id": uuid.uuid4().hex},
        {"history": catalogue[:7]},
        {"history": []},
        {"history": ["no such item", catalogue[3]]},
        {"history": ["no such item"]},
        {"history": catalogue[20:60]},
    ]
    wish: dict[str, Any] = {"k": 12, "diversity": 0.4, "limits": {"genres": 4}, "exclude_ids": catalogue[:1]}
    answer = ask(service, "recommend/batch", users=people, **wish)
    assert set(answer) == {"answers", "generation", "adapter", "took_ms"}
    assert len(answer["answers"]) == len(people)
    for person, found in zip(people, answer["answers"], strict=True):
        single = ask(service, "recommend", **person, **wish)
        assert found["user_id"] == person.get("user_id")
        assert ids(found) == ids(single)
        for one, other in zip(found["items"], single["items"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert (found["fallback"], found["missing_ids"]) == (single["fallback"], single["missing_ids"])
    assert len({found["rec_id"] for found in answer["answers"]}) == len(people)


def test_reasons_are_in_the_language_that_is_asked_for(
    service: httpx.Client, catalogue: list[str], german: dict[str, str]
) -> None:
    titles = {one: service.get(f"/v1/items/{one}").json()["fields"]["title"] for one in catalogue[:3]}
    person = {"history": catalogue[:3]}

    def told(language: str | None) -> list[list[dict[str, Any]]]:
        listed = ask(service, "recommend", **person, k=5, explain=True, language=language)["items"]
        (batched,) = ask(service, "recommend/batch", users=[person], k=5, explain=True, language=language)["answers"]
        order = ask(service, "rank", **person, item_ids=catalogue[5:9], explain=True, language=language)["items"]
        return [listed, batched["items"], order]

    english = told(None)
    for ours, theirs in zip(told("de-AT"), english, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            codes = one["explanation"]["reasons"]
            assert codes == other["explanation"]["reasons"]
            assert one["reasons"] == [german[why["code"]].format(title=why["title"]) for why in codes]
            assert one["reasons"] != other["reasons"]
            assert all(why["title"] == titles.get(why["item_id"] or "") for why in codes)
    said = [[item["reasons"] for item in items] for items in english]
    assert [[item["reasons"] for item in items] for items in told("fr")] == said
    unknown = ask(service, "recommend", history=[], k=1, explain=True, language="DE")["items"]
    assert unknown[0]["reasons"] == ["beliebt"]
    assert service.post("/v1/recommend", json={"history": [], "language": "no language"}).status_code == 422


@pytest.mark.parametrize("whom", ["known", "history", "nobody"])
def test_pages_of_a_list_repeat_nothing(
    service: httpx.Client, known_user: str, catalogue: list[str], whom: str
) -> None:
    person: dict[str, Any] = {
        "known": {"user_id": known_user},
        "history": {"history": catalogue[:5]},
        "nobody": {"user_id": uuid.uuid4().hex},
    }[whom]
    wish = person | {"k": 7, "limits": {"genres": 15}, "promotions": [{"item_id": catalogue[9], "slot": 3}]}
    first = ask(service, "recommend", **wish)
    pages = [first, *(ask(service, "recommend", **wish, offset=7 * n, generation=first["generation"]) for n in (1, 2))]
    found = [item for page in pages for item in ids(page)]
    assert len(set(found)) == len(found) == 21
    assert set(found) == set(ids(ask(service, "recommend", **wish | {"k": 21})))
    for page in pages:
        trace = service.get(f"/v1/recommendations/{page['rec_id']}", params={"replay": True}).json()
        assert [item["item_id"] for item in trace["items"]] == ids(page)  # each page is an answer of its own
        assert trace["replay"]["same"]
    (batched,) = ask(service, "recommend/batch", users=[person], offset=14, **{name: wish[name] for name in LISTED})[
        "answers"
    ]
    assert ids(batched) == ids(pages[2])


LISTED = ("k", "limits", "promotions")


@pytest.mark.parametrize(
    ("path", "body"), [("similar", {"item_id": None}), ("search", {"query": "a film"}), ("search", {"query": "!"})]
)
def test_pages_of_what_is_alike_and_found_repeat_nothing(
    service: httpx.Client, catalogue: list[str], path: str, body: dict[str, Any]
) -> None:
    body = {name: value or catalogue[0] for name, value in body.items()}
    whole = ids(ask(service, path, **body, k=40))
    pages = [ids(ask(service, path, **body, k=8, offset=start)) for start in range(0, 40, 8)]
    assert [item for page in pages for item in page] == whole
    assert ids(ask(service, path, **body, k=8, offset=292)) == []


@pytest.mark.parametrize("path", ["recommend", "similar", "search"])
def test_a_list_has_an_end(service: httpx.Client, path: str) -> None:
    body = {"recommend": {"history": []}, "similar": {"item_id": "x"}, "search": {"query": "x"}}[path]
    refused = service.post(f"/v1/{path}", json={**body, "k": 200, "offset": 101})
    assert refused.status_code == 422
    assert "300" in refused.json()["detail"]


def test_given_items_are_ranked_with_the_scores_of_a_recommendation(
    service: httpx.Client, known_user: str, catalogue: list[str]
) -> None:
    listed = ask(service, "recommend", user_id=known_user, k=30, exclude_seen=False)
    answer = ask(service, "rank", user_id=known_user, item_ids=[*sorted(catalogue), "no such item", catalogue[0]])
    assert set(answer) == {"items", "generation", "adapter", "fallback", "missing_ids", "took_ms"}
    assert sorted(ids(answer)) == sorted(catalogue)
    assert answer["missing_ids"] == ["no such item"]
    scores = {item["item_id"]: item["score"] for item in answer["items"]}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert {item["item_id"]: item["score"] for item in listed["items"]}.items() <= scores.items()
    assert ask(service, "rank", user_id=uuid.uuid4().hex, item_ids=catalogue[:3])["fallback"] == "popular"


def test_promotions_stand_in_their_slots_and_nowhere_else(
    service: httpx.Client, known_user: str, catalogue: list[str]
) -> None:
    before = ids(ask(service, "recommend", user_id=known_user, k=10))
    third, last = before[0], next(item for item in catalogue if item not in before)
    promotions = [
        {"item_id": last, "slot": 10},
        {"item_id": third, "slot": 3},
        {"item_id": "no such item", "slot": 1},
        {"item_id": before[1], "slot": 2},
    ]
    answer = ask(service, "recommend", user_id=known_user, k=10, promotions=promotions, exclude_ids=[before[1]])
    assert len(set(ids(answer))) == 10
    assert (ids(answer)[2], ids(answer)[9]) == (third, last)
    assert [place for place, item in enumerate(answer["items"]) if item["promoted"]] == [2, 9]
    assert before[1] not in ids(answer)  # excluded is excluded
    assert answer["missing_ids"] == ["no such item"]


def test_an_explanation_adds_up(service: httpx.Client, known_user: str) -> None:
    answer = ask(service, "recommend", user_id=known_user, k=10, explain=True)
    for item in answer["items"]:
        parts = item["explanation"]
        assert sum(part["score"] for part in parts["components"]) == pytest.approx(item["score"], abs=1e-4)
        for part in [*parts["components"], {**parts, "score": item["score"]}]:
            shares = part["baseline"] + part["other_history"] + sum(one["score"] for one in part["history"])
            assert shares == pytest.approx(part["score"], abs=1e-4)
    assert any(item["explanation"]["history"] and item["explanation"]["words"] for item in answer["items"])
    assert ask(service, "recommend", user_id=known_user)["items"][0]["explanation"] is None


def test_boosts_and_an_objective_move_items_and_are_told(
    service: httpx.Client, known_user: str, catalogue: list[str]
) -> None:
    old = {"field": "year", "lt": 1980}
    wish: dict[str, Any] = {
        "boosts": [
            {"filter": old, "strength": 2},
            {"filter": {"field": "genres", "contains": "Comedy"}, "strength": -1.5},
            {"filter": {"field": "title", "eq": "no such title"}, "strength": 3},
        ],
        "objective": {"field": "year", "weight": 0.1},
        "explain": True,
    }
    plain, moved = (ask(service, "recommend", user_id=known_user, k=12, fields=["year"], **more) for more in ({}, wish))
    before, after = (sum(item["fields"]["year"] < 1980 for item in answer["items"]) for answer in (plain, moved))
    assert after > before
    trace = service.get(f"/v1/recommendations/{moved['rec_id']}", params={"replay": True}).json()
    assert trace["replay"]["same"]
    assert trace["request"]["boosts"] == wish["boosts"]
    (batched,) = ask(service, "recommend/batch", users=[{"user_id": known_user}], k=12, **wish)["answers"]
    ranked = ask(service, "rank", user_id=known_user, item_ids=ids(moved), **wish, language="de")
    assert ids(batched) == ids(ranked) == ids(moved)
    for item, other in zip(moved["items"], ranked["items"], strict=True):
        assert item["score"] == other["score"]
        parts = {part["name"]: part["score"] for part in item["explanation"]["components"]}
        assert sum(parts.values()) == pytest.approx(item["score"], abs=1e-4)
        assert (parts.get("boosts", 0) > 0) == (item["fields"]["year"] < 1980)
        told = {reason["code"]: reason["what"] for reason in item["explanation"]["reasons"] if "what" in reason}
        assert (told.get("boosted") == "year below 1980") == (item["fields"]["year"] < 1980)
        assert ("boosted by the shop: year below 1980" in item["reasons"]) == ("boosted" in told)
        assert ("boosted by the shop: year below 1980" in other["reasons"]) == ("boosted" in told)  # no German yet
    nobody = ask(service, "recommend", history=[], k=12, fields=["year"], **wish)
    assert nobody["fallback"] == "popular"
    assert nobody["items"][0]["fields"]["year"] < 1980


@pytest.mark.parametrize("path", ["recommend", "recommend/batch", "rank"])
def test_dials_that_do_not_fit_the_catalogue_are_refused_by_their_place(service: httpx.Client, path: str) -> None:
    body: dict[str, Any] = {
        "recommend": {"history": []},
        "recommend/batch": {"users": [{"history": []}]},
        "rank": {"history": [], "item_ids": ["i"]},
    }[path]
    nowhere = {"filter": {"all": [{"field": "colour", "eq": "red"}]}, "strength": 1}
    fine = {"filter": {"field": "year", "gte": 1990}, "strength": 1}
    for wrong, pointer, code in (
        ({"boosts": [fine, nowhere]}, "/boosts/1/filter/all/0/field", "invalid-filter"),
        ({"boosts": [fine | {"strength": 3.5}]}, "/boosts/0/strength", "invalid-request"),
        ({"boosts": [fine] * 11}, "/boosts", "invalid-request"),
        ({"objective": {"field": "title", "weight": 0.5}}, "/objective/field", "invalid-objective"),
        ({"objective": {"field": "colour", "weight": 0.5}}, "/objective/field", "invalid-objective"),
        ({"objective": {"field": "year", "weight": 2}}, "/objective/weight", "invalid-request"),
    ):
        response = service.post(f"/v1/{path}", json={**body, **wrong})
        assert response.status_code == 422, response.text
        assert response.json()["code"] == code
        assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("recommend", {"history": [], "diversity": 1.1}, "body.diversity"),
        ("recommend", {"history": [], "limits": {"nothing": 1}}, "body.limits"),
        ("recommend", {"history": [], "limits": {"genres": 0}}, "body.limits.genres"),
        ("recommend", {"history": [], "promotions": [{"item_id": "i", "slot": 11}]}, "outside a list of k = 10"),
        ("recommend", {"history": [], "promotions": [{"item_id": "i", "slot": 1}] * 2}, "of their own"),
        ("recommend", {"history": [], "promotions": [{"item_id": "i", "slot": 0}]}, "body.promotions.0.slot"),
        ("recommend/batch", {"users": []}, "body.users"),
        ("recommend/batch", {"users": [{"history": []}] * 257}, "body.users"),
        ("recommend/batch", {"users": [{}]}, "exactly one"),
        ("recommend/batch", {"users": [{"history": []}] * 201, "explain": True}, "at most 2,000 items"),
        (
            "recommend/batch",
            {"users": [{"history": []}] * 250, "k": 8, "explain": True, "diversity": 0.5},
            "ask for at most 234,",
        ),
        (
            "recommend/batch",
            {"users": [{"history": []}] * 256, "k": 200, "diversity": 0.5, "limits": {"genres": 20}},
            "ask for at most 151,",
        ),
        ("recommend/batch", {"users": [{"history": []}], "filter": {"field": "nothing", "eq": 1}}, "body.filter"),
        ("rank", {"history": [], "item_ids": []}, "body.item_ids"),
        ("rank", {"history": [], "item_ids": ["i"] * 1001}, "body.item_ids"),
        ("rank", {"history": [], "item_ids": ["i"], "k": 3}, "body.k"),
    ],
)
def test_what_cannot_be_wished_for_is_refused(
    service: httpx.Client, path: str, body: dict[str, Any], detail: str
) -> None:
    response = service.post(f"/v1/{path}", json=body)
    assert response.status_code == response.json()["status"] == 422
    assert detail in response.json()["detail"]


def test_given_items_are_explained_when_asked(service: httpx.Client, known_user: str, catalogue: list[str]) -> None:
    plain = ask(service, "rank", user_id=known_user, item_ids=catalogue[:5])
    assert all(item["explanation"] is None for item in plain["items"])
    explained = ask(service, "rank", user_id=known_user, item_ids=catalogue[:5], explain=True)
    for item in explained["items"]:
        parts = sum(component["score"] for component in item["explanation"]["components"])
        assert parts == pytest.approx(item["score"], rel=1e-3, abs=1e-3)
