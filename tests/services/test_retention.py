"""What is kept of impressions: for how long, and how much."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from recsys.database.engine import Database
from recsys.database.impressions import Options
from recsys.errors import SettingError
from recsys.home import Home
from recsys.serving.users import Users
from services.edge.metrics import Metrics
from services.worker.impression_writer import DAYS, DEFAULT_MIB, MIB, Given, Impressions, Retention


@pytest.mark.parametrize("variable", [DAYS, MIB])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "many"])
def test_a_retention_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingError, match=variable):
        Retention.from_environment()


def test_the_environment_says_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DAYS, "7.5")
    assert Retention.from_environment() == Retention(7.5, DEFAULT_MIB)


def test_the_oldest_go_where_they_are_too_much(
    tmp_path: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys.database.impressions.PURGE_ROWS", 10)
    store = Users(Database.at(tmp_path / "events.db")).impressions
    manifest = SimpleNamespace(snapshot="s", flow_run=None, index=SimpleNamespace(table="t", version=1))
    recommender = SimpleNamespace(generation_id="g", adapter_id="0" * 16, items_version=0, manifest=manifest)
    impressions = Impressions(Home(tmp_path), store, metrics, Retention(mib=0.05))
    impressions.backlog.start()
    ids = [f"item-{number}" for number in range(50)]
    for number in range(100):
        given = Given(f"{number:032}", recommender, "u", Options({}), ids, ids, [1.0] * 50, None, True, None)  # type: ignore[arg-type]
        impressions.record(given)
        if number % 20 == 19:
            assert impressions.backlog.flush(60)
    impressions.backlog.close(60)
    assert 0 < store.size() <= 0.05 * 2**20
    assert store.find(f"{99:032}") is not None
    assert store.find(f"{0:032}") is None
    assert MIB in caplog.text
