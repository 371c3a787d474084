"""What must not leak: planted words are looked for in all that a service writes and says; inner ports are not open."""

import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from sqlalchemy.exc import SQLAlchemyError
from workers import listening, processes_of

from recsys.database.engine import Database
from recsys.home import Home
from services.edge.keys import PREFIX, create_key
from services.serve import running

WRONG = f"{PREFIX}canary-of-a-wrong-key-{'x' * 20}"
PERSONAL = {name: f"canary-{name}" for name in ("user", "event", "query", "filter", "title", "history", "cookie")}


def ask_everything(client: httpx.Client, event: dict[str, str]) -> list[httpx.Response]:
    """Send what succeeds and what fails, each with planted words."""
    person = {"user_id": PERSONAL["user"]}
    bodies = [
        ("/v1/recommend", person),
        ("/v1/recommend", {"history": [PERSONAL["history"]]}),
        ("/v1/recommend", {**person, "filter": {"field": "title", "contains": PERSONAL["filter"]}}),
        ("/v1/recommend", {**person, "filter": {"field": PERSONAL["filter"], "eq": 1}}),
        ("/v1/recommend", {**person, PERSONAL["filter"]: 1}),
        ("/v1/recommend", {**person, "adapter": PERSONAL["filter"]}),
        ("/v1/similar", {"item_id": PERSONAL["history"]}),
        ("/v1/events", {"events": [event]}),
        ("/v1/events", {"events": [{**event, "event_id": PERSONAL["event"], "timestamp": "never"}]}),
    ]
    answers = [client.post(path, json=body, headers={"Cookie": PERSONAL["cookie"]}) for path, body in bodies]
    broken = f'{{"user_id": "{PERSONAL["user"]}'
    answers.append(client.post("/v1/recommend", content=broken, headers={"Content-Type": "application/json"}))
    answers.append(client.post("/v1/events", content=b" " * (4 * 2**20 + 1)))
    answers.append(client.put("/v1/items/canary", json={"title": PERSONAL["title"], "year": PERSONAL["title"]}))
    answers.append(client.put("/v1/items/canary", json={"title": PERSONAL["title"]}))
    answers.append(client.get(f"/v1/users/{PERSONAL['user']}"))
    answers.append(client.get(f"/{PERSONAL['user']}"))
    answers.append(client.get("/v1/generations", headers={"Authorization": f"Bearer {WRONG}"}))
    return answers


def test_nothing_secret_is_written_or_said_and_no_inner_port_is_open(
    copy_of_home: Callable[[Path], Home], tmp_path: Path
) -> None:
    home = copy_of_home(tmp_path / "home")
    _, admin = create_key(home, "admin", ["admin"])
    _, reader = create_key(home, "reader", ["recommend"])
    event = {"user_id": PERSONAL["user"], "item_id": "i001", "event_id": PERSONAL["event"]}
    with running(home) as url:
        port = httpx.URL(url).port
        assert listening(processes_of(home)) == {("tcp", "127.0.0.1", port)}

        answers: list[httpx.Response] = []
        headers = {token: {"Authorization": f"Bearer {token}"} for token in (admin, reader)}
        with httpx.Client(base_url=url, timeout=60, headers=headers[admin]) as client:
            answers.append(client.post("/v1/search", json={"query": PERSONAL["query"]}))
            with closing(sqlite3.connect(home.events_database, isolation_level=None)) as lock:
                lock.execute("BEGIN IMMEDIATE")
                answers.append(client.post("/v1/events", json={"events": [event]}))
        for token in (admin, reader):
            with httpx.Client(base_url=url, timeout=60, headers=headers[token]) as client:
                answers += ask_everything(client, event)
                shutil.move(home.events_database, tmp_path / "elsewhere")
                answers += ask_everything(client, event)
                shutil.move(tmp_path / "elsewhere", home.events_database)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nAuthorization Bearer {admin}\r\n\r\n".encode())
            said = connection.recv(65536).decode()
        said += "".join(answer.text + str(answer.headers) for answer in answers)
        said += httpx.get(f"{url}/metrics").text + httpx.get(f"{url}/docs.json").text
    assert {answer.status_code for answer in answers} >= {200, 400, 401, 403, 404, 413, 422, 503}
    for secret in (admin, reader, WRONG):
        assert secret not in said

    written = [path for path in home.runs.rglob("*") if path.is_file()]
    assert any(path.name == "server.log" and path.stat().st_size for path in written)
    for path in written:
        content = path.read_bytes()
        for word in (admin, reader, WRONG, *PERSONAL.values()):
            assert word.encode() not in content, f"{path.name} holds {word}"
    for path in (path for path in home.root.rglob("*") if path.is_file()):
        assert not any(secret.encode() in path.read_bytes() for secret in (admin, reader, WRONG)), path


@pytest.mark.parametrize(
    "url", ["mysql://me:canary@db/x", "postgresql+psycopg://me:canary@127.0.0.1:1/x", "postgres:me:canary@db"]
)
def test_a_database_that_cannot_be_opened_does_not_tell_the_password(url: str) -> None:
    with pytest.raises((ValueError, SQLAlchemyError, ModuleNotFoundError)) as caught:
        Database(url)
    assert "canary" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"
