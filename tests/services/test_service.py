"""What the service answers, asked over HTTP."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from recsys_client.schemas.recipes import RECIPES

ROUTES = {
    ("post", "/v1/recommend"),
    ("post", "/v1/recommend/batch"),
    ("post", "/v1/rank"),
    ("post", "/v1/similar"),
    *(("post", f"/v1/lists/{name}") for name in sorted(set(RECIPES) - {"for-you"})),
    ("post", "/v1/page"),
    ("post", "/v1/similar-users"),
    ("post", "/v1/search"),
    ("post", "/v1/embed"),
    ("post", "/v1/classify"),
    ("post", "/v1/events"),
    ("get", "/v1/items"),
    ("post", "/v1/items"),
    ("put", "/v1/items/{item_id}"),
    ("patch", "/v1/items/{item_id}"),
    ("get", "/v1/items/{item_id}"),
    ("delete", "/v1/items/{item_id}"),
    ("post", "/v1/items/{item_id}/release"),
    ("get", "/v1/users/{user_id}"),
    ("put", "/v1/users/{user_id}"),
    ("delete", "/v1/users/{user_id}"),
    ("get", "/v1/generations"),
    ("get", "/v1/adapters"),
    ("get", "/v1/adapters/{first}/compare/{second}"),
    ("post", "/v1/generations/{generation_id}/promote"),
    ("get", "/v1/promotions/{promotion_id}"),
    ("post", "/v1/generations/{generation_id}/shadow"),
    ("delete", "/v1/generations/{generation_id}/shadow"),
    ("post", "/v1/rollback"),
    ("get", "/v1/promotions"),
    ("get", "/v1/shadow"),
    ("get", "/v1/rates"),
    ("get", "/v1/recommendations/{rec_id}"),
    ("get", "/metrics"),
    ("get", "/livez"),
    ("get", "/readyz"),
}


@pytest.fixture
def user() -> str:
    """The id of a user that nobody has seen before."""
    return uuid.uuid4().hex


def recommend(service: httpx.Client, **body: Any) -> dict[str, Any]:
    response = service.post("/v1/recommend", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def post_events(service: httpx.Client, *events: dict[str, Any]) -> dict[str, Any]:
    response = service.post("/v1/events", json={"events": events})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {item["item_id"]: item["score"] for item in answer["items"]}


def test_an_answer_names_items_and_where_they_come_from(service: httpx.Client, known_user: str) -> None:
    answer = recommend(service, user_id=known_user, k=5, explain=True)
    assert set(answer) == {"rec_id", "items", "generation", "adapter", "fallback", "missing_ids", "took_ms"}
    assert len(answer["items"]) == len(set(ids(answer))) == 5
    for item in answer["items"]:
        assert set(item) == {"item_id", "score", "reasons", "fields", "promoted", "explanation"}
        assert list(item["fields"]) == ["title"]
        assert item["fields"]["title"]
    assert list(scores(answer).values()) == sorted(scores(answer).values(), reverse=True)
    assert answer["fallback"] is None
    assert answer["missing_ids"] == []
    assert uuid.UUID(answer["rec_id"]).version == 4
    assert answer["rec_id"] != recommend(service, user_id=known_user)["rec_id"]
    assert answer["generation"] == service.get("/v1/generations").json()["serving"]


def test_an_event_changes_the_next_answer(service: httpx.Client, known_user: str) -> None:
    before = recommend(service, user_id=known_user, k=20)
    clicked = ids(before)[1]
    assert post_events(service, {"user_id": known_user, "item_id": clicked})["accepted"] == 1
    after = recommend(service, user_id=known_user, k=20)
    assert clicked not in ids(after)
    both = scores(before).keys() & scores(after).keys()
    assert any(scores(before)[item] != scores(after)[item] for item in both)
    assert clicked in ids(recommend(service, user_id=known_user, k=200, exclude_seen=False))


def test_what_is_left_out_hangs_on_when_and_by_what_it_was_seen(service: httpx.Client, user: str) -> None:
    viewed, bought, old = ids(recommend(service, history=["i000"], k=3))
    long_ago = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    events = [
        {"user_id": user, "item_id": viewed, "event_type": "view"},
        {"user_id": user, "item_id": bought, "event_type": "purchase"},
        {"user_id": user, "item_id": old, "event_type": "purchase", "timestamp": long_ago},
    ]
    assert post_events(service, *events)["accepted"] == 3
    for form, missing in (
        (None, {viewed, bought, old}),
        (True, {viewed, bought, old}),
        (False, set()),
        ({"days": 7}, {viewed, bought}),
        ({"event_types": ["purchase"]}, {bought, old}),
        ({"days": 7, "event_types": ["purchase", "return"]}, {bought}),
        ({"event_types": ["return"]}, set()),
        ({}, {viewed, bought, old}),
    ):
        answer = recommend(service, user_id=user, k=80, exclude_seen=form)
        assert {viewed, bought, old} - set(ids(answer)) == missing, form
        both = {"users": [{"user_id": user}], "k": 80, "exclude_seen": form}
        (batch,) = service.post("/v1/recommend/batch", json=both).json()["answers"]
        assert ids(batch) == ids(answer)
        replayed = service.get(f"/v1/recommendations/{answer['rec_id']}", params={"replay": True}).json()
        assert replayed["replay"]["same"], (form, replayed["replay"]["differences"])
    refused = service.post("/v1/recommend", json={"user_id": user, "exclude_seen": {"dayz": 7}})
    assert refused.status_code == 422
    assert "dayz" in refused.json()["detail"]


def test_an_unknown_user_gets_what_is_popular_and_is_told_so(service: httpx.Client, user: str) -> None:
    stranger = recommend(service, user_id=user)
    assert stranger["fallback"] == "popular"
    assert len(stranger["items"]) == 10
    assert ids(stranger) == ids(recommend(service, history=[]))
    post_events(service, {"user_id": user, "item_id": ids(stranger)[0]})
    assert recommend(service, user_id=user)["fallback"] is None


def test_a_history_works_like_the_user_who_has_it(service: httpx.Client, user: str, catalogue: list[str]) -> None:
    history = catalogue[5:9]
    post_events(service, *[{"user_id": user, "item_id": item_id} for item_id in history])
    by_user, by_history = recommend(service, user_id=user), recommend(service, history=history)
    assert by_user["items"] == by_history["items"]
    assert by_user["items"] != recommend(service, history=history[::-1])["items"]  # the order counts


def test_live_events_follow_the_snapshot_in_the_order_of_time(
    service: httpx.Client, user: str, catalogue: list[str]
) -> None:
    now = datetime.now(UTC)
    history = catalogue[10:14]
    events = [
        {"user_id": user, "item_id": item_id, "timestamp": (now - timedelta(minutes=10 - minute)).isoformat()}
        for minute, item_id in enumerate(history)
    ]
    for event in reversed(events):
        post_events(service, event)
    assert recommend(service, user_id=user)["items"] == recommend(service, history=history)["items"]


def test_ids_that_the_catalogue_lacks_are_reported(service: httpx.Client, catalogue: list[str]) -> None:
    known = recommend(service, history=catalogue[:2])
    with_unknown = recommend(service, history=[catalogue[0], "no such item", catalogue[1]])
    assert with_unknown["missing_ids"] == ["no such item"]
    assert with_unknown["items"] == known["items"]


def test_excluded_items_and_items_outside_the_filter_are_not_offered(
    service: httpx.Client, catalogue: list[str]
) -> None:
    history = catalogue[:3]
    first, second, *_ = ids(recommend(service, history=history))
    assert first not in ids(recommend(service, history=history, exclude_ids=[first], k=200))
    only = recommend(service, history=history, filter={"field": "item_id", "eq": second})
    assert ids(only) == [second]


def test_fields_choose_the_columns(service: httpx.Client) -> None:
    answer = recommend(service, history=[], k=1, fields=["title", "item_id"])
    assert answer["items"][0]["fields"]["item_id"] == ids(answer)[0]
    assert recommend(service, history=[], k=1, fields=[])["items"][0]["fields"] == {}


def test_only_the_adapter_that_is_served_can_be_asked_for(service: httpx.Client) -> None:
    served = recommend(service, history=[])["adapter"]
    assert recommend(service, history=[], adapter=served)["adapter"] == served
    refused = service.post("/v1/recommend", json={"history": [], "adapter": "another"})
    assert refused.status_code == 404
    assert "'another'" in refused.json()["detail"]


def test_similar_items_leave_out_the_item_itself(service: httpx.Client, catalogue: list[str]) -> None:
    response = service.post("/v1/similar", json={"item_id": catalogue[0], "k": 7, "fields": ["title"]})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert set(answer) == {"items", "generation", "adapter", "took_ms"}
    assert len(ids(answer)) == 7
    assert catalogue[0] not in ids(answer)
    assert service.post("/v1/similar", json={"item_id": "no such item"}).status_code == 404


def test_repeated_events_are_counted_once(service: httpx.Client, user: str, catalogue: list[str]) -> None:
    named = {"user_id": user, "item_id": catalogue[0], "event_id": f"{user}-1", "value": 4.5, "event_type": "rating"}
    timed = {"user_id": user, "item_id": catalogue[1], "timestamp": "2026-01-31T12:00:00+01:00"}
    assert post_events(service, named, timed, named) == {"accepted": 2, "duplicates": 1, "rejected": []}
    assert post_events(service, named, {**timed, "timestamp": "2026-01-31T11:00:00Z"})["duplicates"] == 2


def test_an_event_id_with_another_content_is_a_conflict_and_the_first_stays(
    service: httpx.Client, user: str, catalogue: list[str]
) -> None:
    first = {"user_id": user, "item_id": catalogue[0], "event_id": f"{user}-1"}
    other = {**first, "item_id": catalogue[1]}
    answer = post_events(service, first, {"user_id": user, "item_id": "nothing"}, other, first)
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    assert [(one["index"], one["code"]) for one in answer["rejected"]] == [(1, "unknown-item"), (2, "conflict")]
    assert f"{user}-1" in answer["rejected"][1]["reason"]
    again = post_events(service, other)
    assert (again["accepted"], again["duplicates"], again["rejected"][0]["code"]) == (0, 0, "conflict")
    assert post_events(service, first)["duplicates"] == 1  # sent again after a lost answer
    assert recommend(service, user_id=user)["items"] == recommend(service, history=[catalogue[0]])["items"]


def test_events_that_name_an_answer_count_for_its_generation(
    service: httpx.Client, user: str, catalogue: list[str], eventually: Callable[[Callable[[], bool]], None]
) -> None:
    def counted() -> dict[str, float]:
        lines = service.get("/metrics").text.splitlines()
        found = [re.match(r'recsys_clicks_total\{generation="(.*)",outcome="(\w+)"\} (.*)', line) for line in lines]
        return {f"{match[1] and 'known'} {match[2]}": float(match[3]) for match in found if match}

    def brought(kind: str) -> dict[str, Any]:
        answer: dict[str, Any] = service.get("/v1/rates", params={"event_type": kind}).json()
        return answer

    listed = recommend(service, user_id=user, k=3)
    held, missing = ids(listed), next(item for item in catalogue if item not in ids(listed))
    clicks = [{"user_id": user, "item_id": item, "rec_id": listed["rec_id"]} for item in (*held[:2], held[0], missing)]
    clicks.append({"user_id": user, "item_id": held[0], "rec_id": "no answer of ours"})
    kind, before = f"click of {user}", counted()
    assert post_events(service, *({**one, "event_type": kind} for one in clicks)) == {
        "accepted": 5,
        "duplicates": 0,
        "rejected": [],
    }
    rates = brought(kind)
    (rate,) = (one for one in rates["rates"] if one["clicks"])
    assert (rate["generation"], rate["adapter"]) == (listed["generation"], listed["adapter"])
    assert (rate["clicks"], rate["clicked"], rates["unknown"], rates["unlisted"]) == (2, 1, 1, 1)
    assert rate["rate"] == 1 / rate["lists"]
    assert rate["low"] < rate["rate"] < rate["high"]
    assert brought("another kind")["rates"][0]["clicks"] == 0
    expected = {"known counted": 2, "known repeated": 1, "known unlisted": 1, " unknown": 1}
    eventually(lambda: all(counted().get(name, 0) - before.get(name, 0) == new for name, new in expected.items()))
    assert service.delete(f"/v1/users/{user}").status_code == 200
    assert not any(one["clicks"] for one in brought(kind)["rates"])


def test_impossible_events_are_rejected_one_by_one(service: httpx.Client, user: str, catalogue: list[str]) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
    later = (datetime.now(UTC) + timedelta(minutes=6)).isoformat()
    answer = post_events(
        service,
        {"user_id": user, "item_id": "no such item"},
        {"user_id": user, "item_id": catalogue[0], "timestamp": soon},
        {"user_id": user, "item_id": catalogue[1], "timestamp": later},
        {"user_id": user, "item_id": catalogue[2], "timestamp": "0001-01-01T00:00:00+14:00"},
    )
    assert answer["accepted"] == 1
    assert [rejection["index"] for rejection in answer["rejected"]] == [0, 2, 3]
    for word, rejection in zip(("no such item", "future", "1970"), answer["rejected"], strict=True):
        assert word in rejection["reason"]
    assert recommend(service, user_id=user)["items"] == recommend(service, history=[catalogue[0]])["items"]


ID_OF_257 = "x" * 257
EVENT = {"user_id": "u", "item_id": "i"}


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("recommend", "{not json", 400, "no JSON"),
        ("recommend", "[" * 100_000, 400, "body"),
        ("recommend", {}, 422, "exactly one of user_id and history"),
        ("recommend", {"user_id": "u", "history": []}, 422, "exactly one"),
        ("recommend", {"user_id": "u", "dievrsity": 1}, 422, "body.dievrsity"),
        ("recommend", {"user_id": "u", "k": 0}, 422, "body.k"),
        ("recommend", {"user_id": "u", "k": 201}, 422, "body.k"),
        ("recommend", {"user_id": ""}, 422, "body.user_id"),
        ("recommend", {"user_id": ID_OF_257}, 422, "body.user_id"),
        ("recommend", {"user_id": "a\u0000"}, 422, "body.user_id"),
        ("recommend", {"user_id": "a\nb"}, 422, "body.user_id"),
        ("recommend", '{"user_id": "\\ud800"}', 422, "body.user_id"),
        ("recommend", {"history": ["i"] * 1001}, 422, "body.history"),
        ("recommend", {"history": [], "exclude_ids": ["i"] * 1001}, 422, "body.exclude_ids"),
        ("recommend", {"history": [], "fields": ["nothing"]}, 422, "'nothing'"),
        ("recommend", {"history": [], "filter": {"field": "nothing", "eq": 1}}, 422, "nothing"),
        ("similar", {"item_id": "i", "fields": ["nothing"]}, 404, "'i'"),
        ("events", {"events": []}, 422, "body.events"),
        ("events", {"events": [EVENT] * 1001}, 422, "body.events"),
        ("events", {"events": [{**EVENT, "timestamp": "yesterday"}]}, 422, "body.events.0.timestamp"),
        ("events", {"events": [{**EVENT, "timestamp": 1_700_000_000}]}, 422, "2026-01-31T12:00:00Z"),
        ("events", {"events": [{**EVENT, "timestamp": "2026-01-31T12:00:00"}]}, 422, "timezone"),
        ("events", '{"events": [{"user_id": "u", "item_id": "i", "value": NaN}]}', 422, "body.events.0.value"),
        ("events", {"events": [{**EVENT, "wieght": 1}]}, 422, "body.events.0.wieght"),
        ("events", "x" * (4 * 2**20 + 1), 413, "4 MiB"),
        ("recommend", "x" * (2**20 + 1), 413, "1 MiB"),
        ("search", "x" * (2**19 + 1), 413, "512 KiB"),
        ("generations/none/shadow", "x" * (2**14 + 1), 413, "16 KiB"),
        ("recommend", {f"x{number}": 1 for number in range(10_000)}, 422, "body.x0"),
        ("events", {"events": [{f"x{number}": 1 for number in range(100)}] * 150}, 422, "body.events.0.x0"),
        ("nothing", {}, 404, "Not Found"),
    ],
)
def test_a_bad_request_is_explained(service: httpx.Client, path: str, body: Any, status: int, detail: str) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    response = service.post(f"/v1/{path}", content=content, headers={"Content-Type": "application/json"})
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) - {"errors"} == {"type", "title", "status", "code", "detail", "request_id"}
    assert ("errors" in problem) == (status == 422)
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert (response.status_code, problem["status"]) == (status, status)
    assert detail in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "pointer", "word"),
    [
        ("POST", "recommend", {"fields": ["title", "x"]}, "unknown-field", "/fields/1", "'x'"),
        ("POST", "recommend", {"limits": {"x": 1}}, "invalid-limits", "/limits", "x"),
        ("POST", "recommend", {"filter": {"any": [{"field": "x"}]}}, "invalid-filter", "/filter/any/0/field", "'x'"),
        ("POST", "search", {"filter": {"field": "year", "gt": "x"}}, "invalid-filter", "/filter/gt", "a whole number"),
        ("POST", "search", {"filter": {"field": "year", "\ud800": 1}}, "invalid-filter", "/filter/\\ud800", "operator"),
        ("PUT", "items/new", {"a/b": 1}, "invalid-item", "/a~1b", "no such column"),
        ("PUT", "items/new", {"genres": "War"}, "invalid-item", "/genres", "a list of texts"),
    ],
)
def test_what_does_not_fit_the_catalogue_is_pointed_to(
    service: httpx.Client, method: str, path: str, body: Any, code: str, pointer: str, word: str
) -> None:
    whole = {"recommend": {"history": []}, "search": {"query": "x"}, "items/new": {"title": "x"}}.get(path, {}) | body
    headers = {"Content-Type": "application/json"}
    problem = service.request(method, f"/v1/{path}", content=json.dumps(whole), headers=headers).json()
    (error,) = problem["errors"]
    assert (problem["code"], error["code"], error["pointer"]) == (code, code, pointer)
    assert word in error["detail"]


@pytest.mark.parametrize(("path", "mib"), [("/v1/events", 6), ("/v1/recommend", 2)])
def test_a_body_without_a_length_is_capped_too(service: httpx.Client, path: str, mib: int) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(mib):
            yield b" " * 2**20

    response = service.post(path, content=chunks(), headers={"Content-Type": "application/json"})
    assert response.status_code == response.json()["status"] == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/recommend", 405), ("DELETE", "/v1/events", 405), ("POST", "/readyz", 405)],
)
def test_a_wrong_address_is_a_problem_too(service: httpx.Client, method: str, path: str, status: int) -> None:
    response = service.request(method, path, headers={"Content-Type": "application/json"})
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.status_code == response.json()["status"] == status


def test_the_description_is_complete_and_valid(service: httpx.Client) -> None:
    document = service.get("/docs.json").json()
    OpenAPIV31SpecValidator(document).validate()
    described = {(method, path) for path, operations in document["paths"].items() for method in operations}
    assert described == ROUTES
    for method, path in ROUTES:
        operation = document["paths"][path][method]
        if "requestBody" in operation:
            assert {"200", "400", "413", "422", "503"} <= set(operation["responses"])
            assert "application/problem+json" in operation["responses"]["422"]["content"]
        if method == "get" and "{" not in path:
            assert service.get(path).status_code == 200
    for path in ("recommend", "recommend/batch", "rank", "similar", "search", "embed", "classify"):
        body = document["paths"][f"/v1/{path}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        for example in document["components"]["schemas"][body["$ref"].rsplit("/", 1)[1]]["examples"]:
            assert service.post(f"/v1/{path}", json=example).status_code in (200, 404)  # 404: an item of MovieLens


def test_generations_are_listed(service: httpx.Client) -> None:
    answer = service.get("/v1/generations").json()
    assert answer["serving"] == answer["current"]
    assert answer["problem"] is None
    assert [entry["id"] for entry in answer["generations"] if entry["current"]] == [answer["current"]]


def test_metrics_move(service: httpx.Client, user: str, catalogue: list[str]) -> None:
    def value(name: str) -> float:
        lines = service.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    names = {
        'recsys_request_duration_seconds_count{route="/v1/recommend",status="200"}': 1,
        'recsys_request_duration_seconds_count{route="/v1/recommend",status="422"}': 1,
        'recsys_request_duration_seconds_count{route="/v1/events",status="200"}': 1,
        'recsys_answers_total{fallback="popular"}': 1,
        'recsys_events_total{outcome="accepted"}': 1,
        'recsys_events_total{outcome="duplicate"}': 1,
        'recsys_events_total{outcome="rejected"}': 1,
    }
    before = {name: value(name) for name in names}
    recommend(service, user_id=user)
    service.post("/v1/recommend", json={})
    event = {"user_id": user, "item_id": catalogue[0], "event_id": user}
    post_events(service, event, event, {"user_id": user, "item_id": "no such item"})
    service.get(f"/invented/{user}")
    assert {name: value(name) - before[name] for name in names} == names
    assert user not in service.get("/metrics").text  # what callers invent must not become labels
    answer = recommend(service, history=[])
    labels = f'adapter="{answer["adapter"]}",generation="{answer["generation"]}"'
    assert value(f"recsys_generation_workers{{{labels}}}") == 1
