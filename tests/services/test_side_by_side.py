"""Two adapters over HTTP: measured as the library measures them, with lists as a request gets them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from variants import make_variant

from recsys.data.columns import TITLE
from recsys.home import Home
from recsys.interactive import comparison
from recsys.interactive.comparison import side_by_side
from recsys.store.adapters import save_adapter
from recsys.store.generations import current_id, read_generation
from recsys.store.manifests import AdapterCard
from recsys.store.names import ADAPTER, set_alias
from recsys_client import Client, NotFound
from services.edge.keys import create_key
from services.serve import running
from services.worker.comparisons import Comparisons


def test_two_adapters_are_compared_as_the_library_does_and_nobody_who_is_forgotten_is_shown(
    copy_of_home: Callable[[Path], Home], tmp_path: Path
) -> None:
    home = copy_of_home(tmp_path)
    first = read_generation(home, str(current_id(home)))[1].adapter
    generation, second = make_variant(home, {"content": 1.0}, worse=True)
    idle = save_adapter(home, lambda folder: (folder / "x").touch(), AdapterCard(base="none", task="none"))
    set_alias(home, ADAPTER, second, "challenger")
    _, token = create_key(home, "admin", ["admin"])
    _, limited = create_key(home, "limited", ["recommend"])
    with running(home) as url, Client(url, token, timeout=30, retries=9) as client:
        answer = client.compare_adapters(first, "challenger", users=4)
        assert (answer.first, answer.second, answer.comparable) == (first, second, True)
        assert answer.measured is not None
        rows = side_by_side(first, second, home=home).to_dicts()
        assert [one.model_dump() for one in answer.measured.slices] == rows
        assert (rows[0]["slice"], rows[0]["second"]) == ("total", 0.0)
        assert answer.measured.generations[1] == generation
        assert {one.name for one in answer.values} >= {"parent", "metrics.recsys.ndcg@10"}

        assert len(answer.people) == 4
        for person in answer.people:
            for adapter, listed in ((first, person.first), (second, person.second)):
                asked = client.recommend(user_id=person.user_id, adapter=adapter, k=5, fields=[TITLE])
                assert [one.item_id for one in listed] == [one.item_id for one in asked.items]
                assert [one.title for one in listed] == [one.fields[TITLE] for one in asked.items]
        forgotten = answer.people[0].user_id
        client.forget_user(forgotten)
        assert forgotten not in [one.user_id for one in client.compare_adapters(first, second, users=20).people]

        nothing = client.compare_adapters(first, idle)
        assert (nothing.measured, nothing.people) == (None, [])
        assert "No generation was made" in str(nothing.reason)
        with pytest.raises(NotFound, match="no adapter"):
            client.compare_adapters(first, "nobody")
        headers = {"Authorization": f"Bearer {limited}"}
        refused = httpx.get(f"{url}/v1/adapters/{first}/compare/{second}", headers=headers, timeout=30)
        assert refused.json()["code"] == "missing-scope"


def test_a_pair_is_measured_once(
    copy_of_home: Callable[[Path], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, measured = copy_of_home(tmp_path), []
    first = read_generation(home, str(current_id(home)))[1].adapter
    _, second = make_variant(home, {"content": 1.0})
    measure = comparison.measure

    def counting(*asked: Any) -> Any:
        measured.append(asked)
        return measure(*asked)

    monkeypatch.setattr(comparison, "measure", counting)
    comparisons = Comparisons(home)
    assert comparisons.of(first, second) is comparisons.of(first, second)
    assert comparisons.of(second, first) is not comparisons.of(first, second)
    assert len(measured) == 2
    _, _ = make_variant(home, {"content": 0.5}, adapter=second)  # a newer generation, by the same adapter
    comparisons.of(first, second)
    assert len(measured) == 3
