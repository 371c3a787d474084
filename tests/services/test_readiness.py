"""The first text after a start or a switch: readiness says what is loaded, and whoever asks too early is made to wait.

A test that holds the lock of exports keeps the service from opening an encoder for as long as it likes.
"""

import fcntl
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from variants import make_variant

from recsys.home import Home
from recsys.serving.recommender import Recommender
from recsys.store.generations import current_id, promote
from services.serve import ServeError, free_port, log_file, running, start, stop
from services.worker.encoders import Encoders
from services.worker.generation_cache import GenerationCache
from services.worker.loading import TEXTS

Copy = Callable[[Path], Home]
Eventually = Callable[[Callable[[], bool]], None]
TEXT = {"texts": ["a film"]}


@contextmanager
def no_encoder_opens(home: Home) -> Iterator[Callable[[], None]]:
    """Keep everybody from opening an exported encoder until the block ends or what it is given is called."""
    with (home.encoders / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def started(home: Home, texts: bool = True) -> Iterator[httpx.Client]:
    """A service that nobody has waited for."""
    port = free_port()
    server = start(home, port, texts=texts)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        stop(server)


def lists(client: httpx.Client) -> bool:
    try:
        return client.post("/v1/recommend", json={"history": []}).status_code == 200
    except httpx.TransportError:
        return False


def ready(client: httpx.Client) -> bool:
    return client.get("/readyz").status_code == 200


def embed_and_tell(client: httpx.Client, sent: threading.Event) -> httpx.Response:
    """Ask for a vector, and say when the request is sent."""

    def body() -> Iterator[bytes]:
        yield json.dumps(TEXT).encode()
        sent.set()

    return client.post("/v1/embed", content=body(), headers={"content-type": "application/json"})


def test_a_service_that_is_ready_has_loaded_what_texts_need(classifying_home: Home) -> None:
    with running(classifying_home) as url, httpx.Client(base_url=url, timeout=60) as client:
        for path, body in (
            ("embed", {"texts": ["x"]}),
            ("search", {"query": "a film"}),
            ("classify", {"texts": ["late"]}),
        ):
            assert client.get("/readyz").json() == {
                "generation": current_id(classifying_home),
                "texts": "ready",
                "classifier": "ready",
            }
            assert client.post(f"/v1/{path}", json=body).status_code == 200


def test_until_the_encoder_is_loaded_lists_are_answered_and_texts_wait(
    copy_of_home: Copy, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path)
    with no_encoder_opens(home) as let_go, started(home) as client:
        eventually(lambda: lists(client))
        refused = client.get("/readyz")
        assert refused.status_code == refused.json()["status"] == 503
        assert f"Generation {current_id(home)} answers lists" in refused.json()["detail"]
        assert "still being loaded" in refused.json()["detail"]
        late = client.post("/v1/search", json={"query": "a film"})
        assert late.status_code == late.json()["status"] == 503
        assert "still being loaded" in late.json()["detail"]
        assert late.headers["Retry-After"] == "2"
        assert lists(client)
        with ThreadPoolExecutor() as threads:
            sent = [threading.Event() for _ in range(3)]
            early = [threads.submit(embed_and_tell, client, event) for event in sent]
            assert all(event.wait(60) for event in sent)
            let_go()
            answers = [one.result() for one in early]
        assert [answer.status_code for answer in answers] == [200, 200, 200], [answer.text for answer in answers]
        eventually(lambda: ready(client))


def test_a_service_without_texts_ahead_is_ready_and_loads_them_when_one_comes(
    copy_of_home: Copy, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path)
    with no_encoder_opens(home) as let_go, started(home, texts=False) as client:
        eventually(lambda: lists(client))
        assert client.get("/readyz").json()["texts"] == "off"
        let_go()
        assert client.post("/v1/embed", json=TEXT).status_code == 200
        assert client.get("/readyz").json()["texts"] == "ready"


def test_an_encoder_that_cannot_be_loaded_is_said_and_tried_again(
    copy_of_home: Copy, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path)
    shutil.move(home.encoders, tmp_path / "elsewhere")
    home.encoders.write_text("no folder")
    with started(home) as client:
        eventually(lambda: lists(client))
        eventually(lambda: "texts cannot be encoded" in client.get("/readyz").json()["detail"])
        assert "File exists" in client.get("/readyz").json()["detail"]
        assert str(tmp_path) not in client.get("/readyz").text
        refused = client.post("/v1/embed", json=TEXT)
        assert refused.status_code == 503
        assert "File exists" in refused.json()["detail"]
        assert str(tmp_path) not in refused.text
        assert str(home.encoders) in log_file(home, int(client.base_url.port or 0)).read_text()
        assert refused.headers["Retry-After"] == "10"
        assert lists(client)
        home.encoders.unlink()
        shutil.move(tmp_path / "elsewhere", home.encoders)
        eventually(lambda: ready(client))
        assert client.post("/v1/embed", json=TEXT).status_code == 200


def test_after_a_switch_the_generation_before_answers_texts_until_the_encoder_is_there(
    copy_of_home: Copy, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path)
    first = current_id(home)
    second, adapter = make_variant(home, {"content": 1.0})
    with running(home) as url, httpx.Client(base_url=url, timeout=60) as client, no_encoder_opens(home) as let_go:

        def asked(path: str, **body: object) -> tuple[str, str]:
            answer = client.post(f"/v1/{path}", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()["generation"], answer.json()["adapter"]

        hidden = client.post("/v1/search", json={"query": "haunted", "k": 1}).json()["items"][0]["item_id"]
        promote(home, second)
        eventually(lambda: asked("recommend", history=[]) == (second, adapter))
        assert asked("search", query="haunted")[0] == asked("embed", texts=["haunted"])[0] == first
        assert client.delete(f"/v1/items/{hidden}").status_code == 200
        found = client.post("/v1/search", json={"query": "haunted", "k": 10}).json()
        assert found["generation"] == first
        assert hidden not in [item["item_id"] for item in found["items"]]
        state = client.get("/readyz")
        assert (state.status_code, state.json()["generation"], state.json()["texts"]) == (200, second, "loading")
        let_go()
        eventually(lambda: asked("embed", texts=["haunted"]) == (second, adapter))
        assert asked("search", query="haunted") == (second, adapter)


def test_generations_of_one_adapter_share_its_encoder(
    copy_of_home: Copy, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path)
    first = Recommender.open(home)
    second, _ = make_variant(home, {"content": 0.5}, adapter=first.adapter_id)
    encoders = Encoders(home, GenerationCache(home))
    encoders.serve(first.generation_id)
    encoders.wait(first.generation_id)
    with no_encoder_opens(home):
        encoders.serve(second)
        eventually(lambda: encoders.find(second) is not None)
    assert encoders.of(second).vectors is encoders.of(first.generation_id).vectors


def test_a_setting_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TEXTS, "perhaps")
    with pytest.raises(ServeError, match="RECSYS_TEXTS is 'perhaps'; it must be on or off"):
        start(Home(tmp_path), free_port())
