"""Lists for many users are those that the service gives over HTTP at that moment, live events and options included."""

from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from recsys.home import Home
from recsys.store.generations import current_id

REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with options": {
        "k": 6,
        "filter": {"field": "year", "gte": 1955},
        "diversity": 0.3,
        "limits": {"year": 1},
        "promotions": [{"item_id": "i041", "slot": 2}],
        "boosts": [{"filter": {"field": "genres", "contains": "Comedy"}, "strength": 0.7}],
        "exclude_seen": {"days": 30},
        "exclude_ids": ["i007"],
        "new_items": {"slots": 1},
        "fields": ["title", "year"],
    },
}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_user_gets_the_list_of_the_route(
    classifying_home: Home, service: httpx.Client, tmp_path: Path, name: str
) -> None:
    from flows.batch import batch_lists

    served = str(current_id(classifying_home))
    events = [
        {"user_id": user, "item_id": item, "timestamp": f"2026-01-0{day}T00:00:00Z", "event_id": f"batch-{user}-{item}"}
        for user in ("u011", "batch newcomer")
        for day, item in enumerate(("i001", "i005", "i009"), 1)
    ]
    service.post("/v1/events", json={"events": events}).raise_for_status()
    found = batch_lists(str(tmp_path), home=str(classifying_home.root), request=REQUESTS[name], block_size=50)
    rows = pl.read_parquet(f"{tmp_path}/part-*.parquet")
    users = rows["user_id"].unique(maintain_order=True).to_list()
    assert {"u011", "batch newcomer"} <= set(users)
    assert (len(users), found["inputs"]["generation"]) == (found["users"], served)
    body = {"users": [{"user_id": user} for user in users], "record": False, "generation": served, **REQUESTS[name]}
    answers = service.post("/v1/recommend/batch", json=body).raise_for_status().json()["answers"]
    lists = rows.partition_by("user_id", maintain_order=True)
    for answer, mine in zip(answers, lists, strict=True):
        assert mine["item_id"].to_list() == [item["item_id"] for item in answer["items"]], answer["user_id"]
        assert mine["score"].to_list() == pytest.approx([item["score"] for item in answer["items"]], rel=1e-4, abs=1e-4)
        assert mine["fallback"].unique().to_list() == [answer["fallback"]]
        for field in REQUESTS[name].get("fields", ()):
            assert mine[field].to_list() == [item["fields"][field] for item in answer["items"]]
