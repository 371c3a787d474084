"""Texts over HTTP: as vectors, and as searches."""

from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import HTTPException

from recsys.store.index import UnreadableError
from recsys_client.schemas.texts import SearchRequest
from services.routes import texts as routes

STRANGE = [
    "the",
    "AND OR NOT (",
    'title:"',
    "*:* x",
    "a^9~",
    "'; DROP TABLE x; --",
    "a\u0000b",
    "\u202ea",
    "\\n",
    "🎬 x",
]


def ask(service: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    response = service.post(f"/v1/{path}", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def titles(answer: dict[str, Any]) -> list[str]:
    return [item["fields"]["title"] for item in answer["items"]]


def test_a_text_has_the_same_unit_vector_alone_and_in_a_batch(service: httpx.Client) -> None:
    texts = [
        *["A long walk"] * 40,
        "A haunted cellar",
        "",
        "x" * 5_000,
        "Paris, a letter and a kiss " * 20,
        "é\u0000\u202e🎬",
        "Sheriff",
    ]
    answer = ask(service, "embed", texts=texts)
    assert set(answer) == {"vectors", "dimensions", "adapter", "model", "generation", "took_ms"}
    vectors = np.array(answer["vectors"])
    assert vectors.shape == (len(texts), answer["dimensions"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for place, text in list(enumerate(texts))[39:]:
        alone = np.array(ask(service, "embed", texts=[text], adapter=answer["adapter"])["vectors"][0])
        assert alone @ vectors[place] >= 0.9999
    assert vectors[0] @ vectors[-1] < 0.99


def test_a_title_finds_its_item_first_whatever_its_case(service: httpx.Client, catalogue: list[str]) -> None:
    everything = ask(service, "rank", history=[], item_ids=catalogue)
    for item in everything["items"][::9]:
        title = item["fields"]["title"]
        answer = ask(service, "search", query=f"  {title.upper()}! ", k=3)
        assert titles(answer)[0] == title
        assert answer["items"][0]["found_by"] == ["title", "meaning", "words"]
        scores = [found["score"] for found in answer["items"]]
        assert scores == sorted(scores, reverse=True)


def test_a_search_finds_by_words_and_by_meaning(service: httpx.Client) -> None:
    words = ask(service, "search", query="haunted", k=10)
    holding = [item for item in words["items"] if "Haunted" in item["fields"]["title"]]
    assert holding
    assert all("words" in item["found_by"] for item in holding)
    meaning = ask(service, "search", query="scary ghosts and monsters", k=10, fields=["title", "genres"])
    assert all(item["found_by"] == ["meaning"] for item in meaning["items"])
    assert sum(item["fields"]["genres"] == ["Horror"] for item in meaning["items"]) >= 6


def test_a_search_is_by_both_by_meaning_or_by_words(service: httpx.Client) -> None:
    asked = {"query": "haunted", "k": 50}
    words, meaning, both = (ask(service, "search", **asked, mode=one)["items"] for one in ("words", "meaning", "both"))
    assert {tuple(item["found_by"]) for item in words} == {("words",)}
    assert {tuple(item["found_by"]) for item in meaning} == {("meaning",)}
    assert both == ask(service, "search", **asked)["items"]
    assert {item["item_id"] for item in both[: len(words)]} == {item["item_id"] for item in words}
    assert all("Haunted" in item["fields"]["title"] for item in words)
    assert all(-1 <= item["score"] <= 1 for item in [*words, *meaning])
    assert ask(service, "search", query="nothing of that kind", mode="words")["items"] == []


def test_by_words_alone_is_refused_while_they_cannot_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise UnreadableError("LanceDB cannot read items-x: gone")

    recommender = SimpleNamespace(field_names=["title"])
    worker = SimpleNamespace(encoders=SimpleNamespace(search_of=lambda _: SimpleNamespace(search=fail)))
    monkeypatch.setattr(routes, "_answering", lambda *_: recommender)
    with pytest.raises(HTTPException, match="Words cannot be looked up at the moment") as refused:
        routes._search(worker, SearchRequest(query="a", mode="words"))  # type: ignore[arg-type]
    assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "10"})


def test_a_filter_holds_and_still_fills_the_list(service: httpx.Client) -> None:
    answer = ask(
        service,
        "search",
        query="haunted cellar",
        k=15,
        filter={"field": "genres", "contains": "Comedy"},
        fields=["genres"],
    )
    assert len(answer["items"]) == 15
    assert all(item["fields"]["genres"] == ["Comedy"] for item in answer["items"])


@pytest.mark.parametrize("query", [*STRANGE, "é" * 1_000])
def test_no_query_is_too_strange(service: httpx.Client, query: str) -> None:
    answer = ask(service, "search", query=query, k=5)
    assert len(answer["items"]) == 5


@pytest.mark.parametrize("query", ["", "  ", "?!", "🎬"])
def test_a_query_without_a_word_finds_what_is_popular(service: httpx.Client, catalogue: list[str], query: str) -> None:
    answer = ask(service, "search", query=query, k=5)
    assert answer["fallback"] == "popular"
    assert [item["item_id"] for item in answer["items"]] == catalogue[:5]


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("embed", {"texts": []}, 422, "body.texts"),
        ("embed", {"texts": ["a"] * 257}, 422, "body.texts"),
        ("embed", {"texts": ["a" * 10_001]}, 422, "body.texts.0"),
        ("embed", {"texts": ["a"], "adapter": "another"}, 404, "'another'"),
        ("search", {"query": "a" * 1_001}, 422, "body.query"),
        ("search", {"query": "a", "mode": "sense"}, 422, "body.mode"),
        ("search", {"query": "a", "fields": ["nothing"]}, 422, "'nothing'"),
        ("search", {"query": "a", "filter": {"field": "nothing", "eq": 1}}, 422, "body.filter"),
        ("search", {"query": "a", "adapter": "another"}, 404, "'another'"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    service: httpx.Client, path: str, body: dict[str, Any], status: int, detail: str
) -> None:
    response = service.post(f"/v1/{path}", json=body)
    assert response.status_code == response.json()["status"] == status
    assert detail in response.json()["detail"]
