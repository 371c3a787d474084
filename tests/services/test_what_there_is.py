"""What there is, as every route, the command line and a notebook say it; giving items back; putting what is shown."""

import json
from dataclasses import dataclass

import httpx
import pytest
from live_world import Eventually, World
from typer.testing import CliRunner

import recsys
from flows.cli import app

pytestmark = pytest.mark.processor


@dataclass(frozen=True)
class Everywhere:
    """All that tells whether there is an item."""

    world: World

    def found(self, item_id: str) -> dict[str, bool]:
        """Return what every route says, by its name: whether there is such an item."""
        ask, send, named = self.world.ask, self.world.send, {"item_id": item_id}
        page = httpx.get(f"{self.world.url}/v1/items", params={"after": item_id[:-1]}, timeout=30).json()["items"]
        together = send("POST", "/v1/lists/bought-together", item_ids=[item_id])
        promoted = {"promotions": [{"item_id": item_id, "slot": 1}], "history": ["i000"]}
        row = {
            "rows": [{"recipe": "bought-together", "item_ids": [item_id]}, {"recipe": "popular"}],
            "history": ["i000"],
        }
        return {
            "item": send("GET", f"/v1/items/{item_id}").status_code == 200,
            "items": item_id in [one["item_id"] for one in page],
            "rank": item_id not in ask("POST", "/v1/rank", history=["i000"], item_ids=[item_id])["missing_ids"],
            "ranked": bool(ask("POST", "/v1/rank", history=["i000"], item_ids=[item_id])["items"]),
            "similar": send("POST", "/v1/similar", **named).status_code == 200,
            "bought together": together.status_code == 200,
            "because you liked": send("POST", "/v1/lists/because-you-liked", **named).status_code == 200,
            "excluded": not ask("POST", "/v1/recommend", history=["i000"], exclude_ids=[item_id])["missing_ids"],
            "promoted": not ask("POST", "/v1/recommend", **promoted)["missing_ids"],
            "page": "unknown-item" not in [one["code"] for one in ask("POST", "/v1/page", **row)["left_out"]],
        }

    def takes_events(self, item_id: str) -> bool:
        """Tell whether what people did with an item is stored."""
        event = {"user_id": "walker", "item_id": item_id}
        return not self.world.ask("POST", "/v1/events", events=[event])["rejected"]

    def offered(self, item_id: str) -> dict[str, bool]:
        """Return likewise whether it is offered."""
        title = self.world.ask("GET", f"/v1/items/{item_id}")["fields"]["title"]
        found = self.world.ask("POST", "/v1/search", query=title, k=200)["items"]
        popular = self.world.ask("POST", "/v1/lists/popular", k=200)["items"]
        return {
            "item": self.world.ask("GET", f"/v1/items/{item_id}")["recommendable"],
            "recommend": self.world.holds(item_id),
            "search": item_id in [one["item_id"] for one in found],
            "popular": item_id in [one["item_id"] for one in popular],
        }


def test_every_route_agrees_on_what_there_is(world: World, eventually: Eventually) -> None:
    everywhere = Everywhere(world)
    world.put("walk-live", title="Saddle Outlaw Canyon", genres=["Western"])
    world.put("walk-gone", title="Prank Uncle")
    world.ask("DELETE", "/v1/items/walk-gone")
    world.ask("DELETE", "/v1/items/i036")
    world.put("i040", title="Kiss Garden Summer", year=2044)
    version = world.put("i044", title="Haunted Cellar", available=False)
    eventually(lambda: world.known(version))
    for item_id, offered in (("i048", True), ("walk-live", True), ("i040", True), ("i044", False)):
        for found in (everywhere.found(item_id) for _ in range(2)):
            assert set(found.values()) == {True}, (item_id, found)
        own = everywhere.offered(item_id)
        assert everywhere.takes_events(item_id)
        assert set(own.values()) == {offered} or (item_id == "walk-live" and not own.pop("popular")), (item_id, own)
    for item_id in ("walk-gone", "i036", "nothing"):
        for found in (everywhere.found(item_id) for _ in range(2)):
            assert set(found.values()) == {False}, (item_id, found)
        assert not world.holds(item_id)
        assert everywhere.takes_events(item_id) == (item_id != "nothing")  # what people did before counts
        world.ask("DELETE", f"/v1/items/{item_id}", status=404)
        world.ask("PATCH", f"/v1/items/{item_id}", status=404, year=1999)


def test_a_command_and_a_notebook_answer_as_the_service_does(world: World, eventually: Eventually) -> None:
    world.put("cell-live", title="Saddle Outlaw Canyon", genres=["Western"])
    world.ask("DELETE", "/v1/items/i052")
    version = world.put("i056", title="Kiss Garden Summer", year=2045)
    eventually(lambda: world.known(version))
    events = [{"user_id": "walker", "item_id": item_id} for item_id in ("i000", "cell-live", "i056")]
    assert world.ask("POST", "/v1/events", events=events)["accepted"] == 3
    answer = world.ask("POST", "/v1/recommend", user_id="walker", k=200, record=False)
    served = {item["item_id"]: item["score"] for item in answer["items"]}
    assert "i052" not in served
    run = CliRunner().invoke(
        app, ["recommend", "--user", "walker", "--k", "200", "--home", str(world.home.root), "--json"]
    )
    assert run.exit_code == 0, run.output
    told = {item["item_id"]: item["score"] for item in json.loads(run.stdout)["items"]}
    assert list(told) == list(served)
    assert told == pytest.approx(served, abs=1e-4)
    loaded = recsys.load(home=world.home, progress=False)
    assert {"cell-live"} <= set(loaded.items["item_id"])
    assert "i052" not in loaded.items["item_id"].to_list()
    assert loaded.recommend("walker", k=200)["item_id"].to_list() == list(served)
    assert loaded.search("Saddle Outlaw Canyon", k=1)["item_id"].to_list()
    own = recsys.load(home=world.home, progress=False, live=False)
    assert "cell-live" not in own.items["item_id"].to_list()
    world.ask("DELETE", "/v1/items/cell-live")


def test_a_release_gives_an_item_back_to_the_catalogue(world: World, eventually: Eventually) -> None:
    old = {item_id: world.ask("GET", f"/v1/items/{item_id}") for item_id in ("i060", "i064")}
    world.ask("POST", "/v1/items/i060/release", status=404)
    world.put("i060", title="Kiss Garden Summer", year=2046)
    version = world.ask("DELETE", "/v1/items/i064")["version"]
    eventually(lambda: world.known(version))
    changed = world.ask("GET", "/v1/items/i060")
    assert (changed["source"], changed["fields"]["year"]) == ("live", 2046)
    assert changed["changed_at"] is not None
    for item_id in old:
        version = world.ask("POST", f"/v1/items/{item_id}/release")["version"]
    eventually(lambda: world.known(version))
    for item_id, item in old.items():
        assert world.ask("GET", f"/v1/items/{item_id}") == item
        assert world.holds(item_id)
    assert world.listed(filter={"field": "year", "eq": 2046}) == []
    world.put("its/own/release", title="Prank Uncle")
    refused = world.ask("POST", "/v1/items/its/own/release/release", status=409)
    assert refused["code"] == "not-in-catalogue"
    assert world.ask("GET", "/v1/items/its/own/release")["source"] == "live"
    world.ask("DELETE", "/v1/items/its/own/release")
    version = world.ask("POST", "/v1/items/its/own/release/release")["version"]  # the deletion is forgotten, too
    eventually(lambda: world.known(version))
    world.ask("GET", "/v1/items/its/own/release", status=404)


def test_what_is_shown_can_be_put(world: World) -> None:
    shown = world.ask("GET", "/v1/items/i068")
    world.put("i068", **shown["fields"])
    put = world.ask("GET", "/v1/items/i068")
    assert put["fields"] == shown["fields"]
    assert put["source"] == "live"
    world.put("i068", **put["fields"], available=None)
    assert world.ask("GET", "/v1/items/i068")["recommendable"]
