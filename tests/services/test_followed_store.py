"""A service over a home on an object store: started with an empty cache, it follows what another machine publishes."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from object_store import Store
from variants import make_variant

from recsys.errors import SettingError
from recsys.home import Home
from recsys.remote.following import reached
from recsys.store.generations import current_id, promote, rollback
from services.serve import running

Eventually = Callable[[Callable[[], bool]], None]


def test_a_service_elsewhere_follows_without_a_restart(
    object_store: Store,
    copy_of_home: Callable[[Path], Home],
    eventually: Eventually,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"s3://{object_store.bucket.name}/shop"
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "trainer"))
    trainer = copy_of_home(reached(url).root)
    first = str(current_id(trainer))
    rollback(trainer, to=first)  # puts what it stands on
    (trainer.generations / "current.json").unlink()
    promote(trainer, first)
    second, _ = make_variant(trainer, {"content": 1.0})

    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "server"))
    server = reached(url)
    with pytest.raises(SettingError, match="need a PostgreSQL, which all its machines share"), running(server):
        pass
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'shared.db'}")
    object_store.faults = lambda method, key: 503 if len(object_store.asked) % 3 == 0 else None
    with running(server, texts=False) as address:

        def answering() -> str:
            answer = httpx.post(f"{address}/v1/recommend", json={"user_id": "u000", "k": 3}, timeout=30).json()
            assert len(answer["items"]) == 3
            return str(answer["generation"])

        assert answering() == first
        promote(trainer, second)
        eventually(lambda: answering() == second)
        rollback(trainer)
        eventually(lambda: answering() == first)
        object_store.fault = 400, "ExpiredToken"
        assert answering() == first
        object_store.fault = None
        (object_store.bucket / "shop/state/generations/current.json").unlink()
        assert answering() == first
        promote(trainer, second)
        eventually(lambda: answering() == second)
