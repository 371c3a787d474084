"""Faults under a running service: what can be answered still is, and it heals by itself."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import ModuleType

import httpx
import psutil
import pytest
from processes import PATIENCE_SECONDS
from prometheus_client.parser import text_string_to_metric_families
from variants import make_variant
from workers import workers_of

from recsys.home import Home
from recsys.store.generations import current_id, promote
from services.serve import free_port, running, start, stop

Copy = Callable[[Path], Home]
Eventually = Callable[[Callable[[], bool]], None]
WORKERS = 2
WRITERS = 200
CLIENTS = 16
PEOPLE = 10  # whose lists make one answer; those under way have a few seconds when the service ends


def numbers(url: str, name: str, **labels: str) -> list[float]:
    """Return the values of a metric, one for each of its labels."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return [sample.value for sample in samples if sample.labels.items() >= labels.items()]


def test_a_killed_worker_comes_back_and_its_numbers_go(
    copy_of_home: Copy, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path / "killed")
    with running(home, workers=WORKERS) as url:
        eventually(lambda: numbers(url, "recsys_generation_workers") == [WORKERS])
        killed = min(workers_of(home))
        os.kill(killed, signal.SIGKILL)
        psutil.Process(killed).wait(PATIENCE_SECONDS)
        for _ in range(20):  # each over a connection of its own
            answer = httpx.post(f"{url}/v1/recommend", json={"history": []}, timeout=30)
            assert answer.status_code == 200, answer.text
        eventually(lambda: len(workers_of(home)) == WORKERS)
        eventually(lambda: numbers(url, "recsys_generation_workers") == [WORKERS])
        put = httpx.put(f"{url}/v1/items/i001", json={"title": "Known to all who live"}, timeout=30)
        assert put.status_code == 200, put.text
        eventually(lambda: numbers(url, "recsys_live_items_version") == [put.json()["version"]])


def succeeds(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def add(url: str, user: str, item: str, event_id: str = "") -> httpx.Response:
    event = {"user_id": user, "item_id": item, "event_id": event_id or f"{user} {item}"}
    return httpx.post(f"{url}/v1/events", json={"events": [event]}, timeout=60)


def recommend(url: str, **body: object) -> dict:
    """Return an answer that there must be, whatever is broken."""
    answer = httpx.post(f"{url}/v1/recommend", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def assert_refused_for_now(answer: httpx.Response) -> None:
    assert answer.status_code == answer.json()["status"] == 503, answer.text
    assert answer.headers["Retry-After"] == "1"


def test_a_database_that_is_gone_is_said_and_found_again(
    copy_of_home: Copy, known_user: str, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path / "gone")
    with running(home) as url:
        assert add(url, "ann", "i001").json()["accepted"] == 1
        expected = recommend(url, user_id="ann")["items"]
        (files := tmp_path / "elsewhere").mkdir()
        for file in home.root.glob("events.db*"):
            shutil.move(file, files / file.name)

        assert_refused_for_now(add(url, "ann", "i002"))
        assert not home.events_database.exists()
        for user in ("ann", known_user):
            assert recommend(url, user_id=user)["fallback"] == "degraded"
        assert recommend(url, history=["i001"])["fallback"] is None
        people = {"users": [{"user_id": "ann"}, {"history": ["i001"]}]}
        answers = httpx.post(f"{url}/v1/recommend/batch", json=people, timeout=60).json()["answers"]
        assert [answer["fallback"] for answer in answers] == ["degraded", None]
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
        assert numbers(url, "recsys_answers_total", fallback="degraded")[0] >= 3

        for file in files.iterdir():
            shutil.move(file, home.root / file.name)
        eventually(lambda: recommend(url, user_id="ann")["fallback"] is None)
        assert recommend(url, user_id="ann")["items"] == expected
        assert add(url, "ann", "i001").json()["duplicates"] == 1


def test_an_older_copy_of_the_database_is_read_from_its_beginning(
    copy_of_home: Copy, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path / "older")

    def title() -> str:
        return httpx.get(f"{url}/v1/items/i001", timeout=60).json()["fields"]["title"]

    def known(version: int) -> bool:
        return numbers(url, "recsys_live_items_version") == [version]

    with running(home) as url:
        assert httpx.put(f"{url}/v1/items/i001", json={"title": "First"}, timeout=60).json()["version"] == 1
        copy = tmp_path / "copy.db"
        with sqlite3.connect(home.events_database) as database:
            database.execute("VACUUM INTO ?", [str(copy)])
        for version in (2, 3):
            assert httpx.put(f"{url}/v1/items/i001", json={"title": "Later"}, timeout=60).json()["version"] == version
        eventually(lambda: known(3))
        for file in home.root.glob("events.db-*"):
            file.unlink()
        os.replace(copy, home.events_database)
        eventually(lambda: known(1))
        assert title() == "First"
        assert recommend(url, history=[], k=200, filter={"field": "title", "eq": "First"})["items"]


def test_a_locked_database_holds_up_neither_answers_nor_those_who_cannot_be_stored(
    copy_of_home: Copy, known_user: str, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path / "locked")
    with running(home) as url:
        assert add(url, "ann", "i001").status_code == 200
        shed = Event()

        def write(number: int) -> httpx.Response:
            answer = add(url, "ann", "i002", f"while locked {number}")
            if answer.status_code != 200:
                assert_refused_for_now(answer)
                shed.set()
            return answer

        lock = sqlite3.connect(home.events_database, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(WRITERS) as threads:
            writers = [threads.submit(write, number) for number in range(WRITERS)]
            assert shed.wait(PATIENCE_SECONDS)
            for _ in range(20):
                assert recommend(url, user_id=known_user)["fallback"] is None
            lock.execute("ROLLBACK")
            lock.close()
            answers = [writer.result() for writer in writers]
        eventually(lambda: add(url, "ann", "i002", "afterwards").status_code == 200)
        stored = [answer.status_code for answer in answers].count(200)
        perhaps = sum("may still be done" in answer.text for answer in answers)  # who waited longest is told that
        assert stored < WRITERS
        assert sum(numbers(url, "recsys_shed_total")) > 0
        live = httpx.get(f"{url}/v1/users/ann", timeout=60).json()["events"]["live"]
        assert 2 + stored <= live <= 2 + stored + perhaps


def test_on_a_full_disk_answers_go_on_and_nothing_is_said_to_be_stored(
    copy_of_home: Copy, known_user: str, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path / "full")
    with running(home) as url:
        assert add(url, "ann", "i001").status_code == 200
        worker = psutil.Process(*workers_of(home))
        limit = worker.rlimit(psutil.RLIMIT_FSIZE)
        worker.rlimit(psutil.RLIMIT_FSIZE, (0, limit[1]))  # no file grows, as if there were no room
        try:
            for number in range(5):
                assert_refused_for_now(add(url, "ann", "i002", f"no room {number}"))
            assert recommend(url, user_id=known_user)["fallback"] is None
        finally:
            worker.rlimit(psutil.RLIMIT_FSIZE, limit)
        eventually(lambda: add(url, "ann", "i002", "room").status_code == 200)
        assert httpx.get(f"{url}/v1/users/ann", timeout=60).json()["events"]["live"] == 2


@pytest.mark.parametrize("damage", ["changed", "deleted"])
def test_a_restart_on_a_broken_generation_serves_the_one_before_and_heals(
    copy_of_home: Copy, tmp_path: Path, eventually: Eventually, damage: str
) -> None:
    home = copy_of_home(tmp_path / "broken")
    first = current_id(home)
    second, _ = make_variant(home, {"content": 1.0})
    promote(home, second)
    file = home.generations / second / "system.json"
    whole = file.read_bytes()
    if damage == "changed":
        file.write_bytes(whole.replace(b"1", b"2"))
    else:
        file.unlink()
    with running(home) as url:
        assert recommend(url, history=["i001"])["generation"] == first
        state = httpx.get(f"{url}/v1/generations", timeout=60).json()
        assert (state["serving"], state["current"]) == (first, second)
        assert "system.json" in state["problem"]
        assert f"Generation {first} answers meanwhile" in state["problem"]
        file.write_bytes(whole)
        eventually(lambda: recommend(url, history=["i001"])["generation"] == second)
        assert httpx.get(f"{url}/v1/generations", timeout=60).json()["problem"] is None


def test_the_end_of_the_service_drops_no_request(copy_of_home: Copy, tmp_path: Path, eventually: Eventually) -> None:
    home, port = copy_of_home(tmp_path / "ended"), free_port()
    url = f"http://127.0.0.1:{port}"
    body = {"users": [{"history": [f"i{number:03}"]} for number in range(PEOPLE)]}
    server = start(home, port, workers=WORKERS)
    answered = Event()

    def ask_until_refused(client: httpx.Client | ModuleType) -> int:
        """Ask again and again; refused is who cannot connect any more, everybody else has to get an answer."""
        count = 0
        while True:
            try:
                answer = client.post(f"{url}/v1/recommend/batch", json=body, timeout=60)
            except httpx.ConnectError:
                return count
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["answers"]) == PEOPLE
            count += 1
            answered.set()

    try:
        eventually(lambda: succeeds(f"{url}/readyz"))
        with ThreadPoolExecutor(CLIENTS) as threads, ExitStack() as stack:
            kept = [stack.enter_context(httpx.Client()) for _ in range(CLIENTS // 2)]
            # half of them over a kept connection, half over a new one each time
            askers = [threads.submit(ask_until_refused, client) for client in (*kept, *[httpx] * (CLIENTS // 2))]
            assert answered.wait(PATIENCE_SECONDS)
            server.terminate()
            assert server.wait(PATIENCE_SECONDS) == 0
            assert sum(asker.result() for asker in askers) > 0
    finally:
        stop(server)


def test_files_that_go_while_they_serve_are_missed_only_where_they_are_needed(
    copy_of_home: Copy, known_user: str, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path / "going")
    served = str(current_id(home))
    with running(home, texts=False) as url:  # its encoder is not loaded yet
        expected = recommend(url, user_id=known_user)
        for folder in (home.generations / served, home.lance, home.snapshots, home.adapters):
            shutil.move(folder, tmp_path / folder.name)
        assert recommend(url, user_id=known_user)["items"] == expected["items"]
        assert httpx.post(f"{url}/v1/similar", json={"item_id": "i001"}, timeout=60).status_code == 200
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200  # it can answer

        def search_says_why() -> bool:
            """Whoever comes while transformers is being imported is told that it takes too long."""
            search = httpx.post(f"{url}/v1/search", json={"query": "desert"}, timeout=60)
            assert search.status_code == search.json()["status"] == 503
            return served in search.json()["detail"]

        eventually(search_says_why)
        for path in ("promote", "shadow"):
            answer = httpx.post(f"{url}/v1/generations/{served}/{path}", json={}, timeout=60)
            assert answer.status_code == 404
        state = httpx.get(f"{url}/v1/generations", timeout=60).json()
        assert (state["serving"], state["generations"]) == (served, [])

        for folder in (home.generations / served, home.lance, home.snapshots, home.adapters):
            shutil.move(tmp_path / folder.name, folder)
        eventually(lambda: httpx.post(f"{url}/v1/search", json={"query": "x"}, timeout=60).status_code == 200)
        assert httpx.post(f"{url}/v1/generations/{served}/promote", json={}, timeout=60).status_code == 200


def test_a_file_that_breaks_while_it_serves_changes_no_answer_and_cannot_be_switched_to(
    copy_of_home: Copy, known_user: str, tmp_path: Path, eventually: Eventually
) -> None:
    home = copy_of_home(tmp_path / "breaking")
    first = str(current_id(home))
    second, _ = make_variant(home, {"content": 1.0})
    with running(home) as url:
        expected = recommend(url, user_id=known_user)["items"]
        for generation_id in (first, second):
            file = home.generations / generation_id / "towers.safetensors"
            file.write_bytes(file.read_bytes()[:-1] + b"?")
        assert recommend(url, user_id=known_user)["items"] == expected
        refused = httpx.post(
            f"{url}/v1/generations/{second}/promote", json={"force": True, "reason": "It is broken."}, timeout=60
        )
        assert refused.status_code == 409
        assert "towers.safetensors has changed" in refused.json()["detail"]
        named = httpx.post(f"{url}/v1/recommend", json={"history": [], "generation": second}, timeout=60)
        assert named.status_code == 409
        assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
        assert recommend(url, user_id=known_user)["generation"] == first
    server = start(home, port := free_port())
    try:  # nothing is whole any more
        eventually(lambda: succeeds(f"http://127.0.0.1:{port}/livez"))
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60)
        assert answer.status_code == answer.json()["status"] == 503
        assert "towers.safetensors has changed" in answer.json()["detail"]
    finally:
        stop(server)
