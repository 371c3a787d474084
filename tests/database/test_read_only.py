"""A home on a disk for reading alone: what is known is read, what is missing is empty, and nothing is accepted."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from recsys.database import engine
from recsys.database.comparisons import ShadowStore
from recsys.database.engine import Database
from recsys.database.events import Event
from recsys.database.live_items import ItemStore
from recsys.database.rates import RateStore
from recsys.home import Home
from recsys.serving.users import Users

EVENT = Event("u", "i", datetime(2024, 1, 1, tzinfo=UTC))


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody, and so not root either, may write where a database lies."""
    access = os.access
    monkeypatch.setattr(engine.os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))


def test_what_was_stored_is_read_and_nothing_is_accepted(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home = Home(tmp_path)
    database = Database.of(home)
    users = Users(database)
    users.events.add([EVENT])
    database.close()
    request.getfixturevalue("read_only")
    database = Database.of(home)
    assert database.read_only
    users = Users(database)
    assert [event.item_id for event in users.events.history("u")] == ["i"]
    ItemStore(database, 1_000), ShadowStore(database), RateStore(database)
    with pytest.raises(OperationalError, match="readonly"):
        users.events.add([Event("u", "other", EVENT.timestamp)])
    with pytest.raises(OperationalError, match="readonly"):
        users.forget("u")
    database.close()
    assert sorted(path.name for path in tmp_path.glob("events.db*")) == ["events.db"]


@pytest.mark.usefixtures("read_only")
def test_tables_that_are_missing_are_empty_and_accept_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "events.db").touch()
    database = Database.of(Home(tmp_path))
    users = Users(database)
    assert list(users.events.history("u")) == []
    with pytest.raises(OperationalError, match="readonly"):
        users.events.add([EVENT])
    database.close()
