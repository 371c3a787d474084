"""A backup of a home that a service answers from and writes into: restored, it answers alike, and no event is lost."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from recsys.home import Home
from recsys.serving.recommender import Recommender
from recsys.store.backups import back_up
from recsys.store.generations import current_id
from recsys.store.pointer import list_promotions
from recsys.store.restoring import restore

ASKED = [["i000"], ["i003", "i007", "i011"], []]


def test_a_service_that_writes_is_backed_up_and_comes_back_the_same(
    service: httpx.Client,
    classifying_home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent, stop = [], threading.Event()

    def send() -> None:
        while not stop.is_set():
            name = f"backed-up-{len(sent):05}"
            event = {"event_id": name, "user_id": "backed up", "item_id": "i001", "timestamp": "2026-01-01T00:00:00Z"}
            assert service.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
            sent.append(name)

    monkeypatch.setattr("recsys.database.copies.PAGES", 1)
    writer = threading.Thread(target=send)
    writer.start()
    try:
        while not sent:
            assert writer.is_alive()
        before = len(sent)
        made = back_up(classifying_home, tmp_path / "backups", tmp_path / "salt")
        after = len(sent)
    finally:
        stop.set()
        writer.join()
    other = Home(tmp_path / "home")
    restore(tmp_path / "backups", other, tmp_path / "salt")
    assert made.backup.served == current_id(other) == current_id(classifying_home)
    assert list_promotions(other) == list_promotions(classifying_home)
    with closing(sqlite3.connect(other.events_database)) as connection:
        ids = connection.execute("SELECT event_id FROM events WHERE user_id = 'backed up' ORDER BY event_id")
        found = [one for (one,) in ids]
    assert found == sent[: len(found)]
    assert before <= len(found) <= after + 1
    first, second = (Recommender.open(one) for one in (classifying_home, other))
    assert [first.recommend(asked, k=10).items for asked in ASKED] == [
        second.recommend(asked, k=10).items for asked in ASKED
    ]
