"""Labels over HTTP."""

from pathlib import Path

import httpx
import pytest
from synthetic import TICKETS

from recsys.home import Home
from recsys.store.names import ADAPTER, set_alias
from services.serve import running


def test_texts_get_the_label_that_they_were_trained_to_have(service: httpx.Client, classifying_home: Home) -> None:
    texts = [templates[0].format("late") for templates in TICKETS.values()]
    answer = service.post("/v1/classify", json={"texts": texts}).json()
    assert set(answer) == {"results", "adapter", "took_ms"}
    assert [result["label"] for result in answer["results"]] == list(TICKETS)
    for result in answer["results"]:
        assert set(result["probabilities"]) == set(TICKETS)
        assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert max(result["probabilities"], key=result["probabilities"].get) == result["label"]
    named = service.post("/v1/classify", json={"texts": texts, "adapter": answer["adapter"]}).json()
    assert named["results"] == answer["results"]
    set_alias(classifying_home, ADAPTER, answer["adapter"], "tickets")
    called = service.post("/v1/classify", json={"texts": texts, "adapter": "tickets"}).json()
    assert (called["adapter"], called["results"]) == (answer["adapter"], answer["results"])


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"texts": []}, 422, "body.texts"),
        ({"texts": ["a"] * 257}, 422, "body.texts"),
        ({"texts": ["a" * 10_001]}, 422, "body.texts.0"),
        ({"texts": ["a"], "labels": ["x"]}, 422, "labels"),
        ({"texts": ["a"], "adapter": "another"}, 404, "'another'"),
        ({"texts": ["a"], "adapter": "../../keys"}, 404, "keys"),
    ],
)
def test_bad_requests_are_refused(service: httpx.Client, body: dict, status: int, detail: str) -> None:
    response = service.post("/v1/classify", json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert detail in response.json()["detail"]


def test_an_adapter_of_items_does_not_classify_and_a_classifier_does_not_recommend(service: httpx.Client) -> None:
    cards = {card["task"]: card["id"] for card in service.get("/v1/adapters").json()["adapters"]}
    response = service.post("/v1/classify", json={"texts": ["a"], "adapter": cards["recommendation"]})
    assert response.status_code == 409
    assert "not for classification" in response.json()["detail"]
    response = service.post("/v1/recommend", json={"user_id": "a", "adapter": cards["classification"]})
    assert response.status_code == 409


def test_without_a_classifier_it_says_how_to_train_one(copy_of_home, tmp_path: Path, eventually) -> None:
    with running(Home(copy_of_home(tmp_path / "bare").root)) as url:

        def ask() -> httpx.Response:
            return httpx.post(f"{url}/v1/classify", json={"texts": ["a"]}, timeout=30)

        eventually(lambda: ask().status_code == 404)  # not while transformers is being imported
        assert "recsys classify" in ask().json()["detail"]
