"""What live events mean to the next answer: looks count a little, dislikes take away for good, purchases undo them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from variants import give_meaning

from recsys.config import SignalConfig
from recsys.home import Home
from recsys.store.generations import promote
from services.serve import running

SIGNALS = (
    SignalConfig("target", "purchase"),
    SignalConfig("positive", "view", weight=0.2),
    SignalConfig("negative", "dislike"),
    SignalConfig("target", "rating", at_least=4),
    SignalConfig("negative", "rating", below=3),
    SignalConfig("ignored", "impression"),
)


@pytest.fixture(scope="module")
def shop(copy_of_home: Callable[[Path], Home], tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service to whose generation events mean what ``SIGNALS`` say."""
    home = copy_of_home(tmp_path_factory.mktemp("meaning"))
    promote(home, give_meaning(home, SIGNALS))
    with running(home) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def did(client: httpx.Client, user: str, event_type: str, item: str, value: float | None = None) -> None:
    event = {"user_id": user, "item_id": item, "event_type": event_type, "value": value}
    answer = client.post("/v1/events", json={"events": [event]})
    assert answer.json()["accepted"] == 1, answer.text


def listed(client: httpx.Client, user: str, **wish: Any) -> list[str]:
    answer = client.post("/v1/recommend", json={"user_id": user, "k": 80, **wish})
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def scores(client: httpx.Client, user: str, items: list[str]) -> dict[str, float]:
    answer = client.post("/v1/rank", json={"user_id": user, "item_ids": items}).json()
    return {item["item_id"]: item["score"] for item in answer["items"]}


def test_a_dislike_takes_its_item_away_and_its_like_down_until_it_is_undone(shop: httpx.Client) -> None:
    user, liked, disliked = "fussy", "i000", "i005"
    did(shop, user, "purchase", liked)
    near = [item["item_id"] for item in shop.post("/v1/similar", json={"item_id": disliked, "k": 3}).json()["items"]]
    before = scores(shop, user, near)
    did(shop, user, "dislike", disliked)
    assert disliked not in listed(shop, user)
    assert disliked not in listed(shop, user, exclude_seen=False)  # for good
    after = scores(shop, user, near)
    assert sum(after.values()) < sum(before.values())
    did(shop, user, "purchase", disliked)
    assert disliked in listed(shop, user, exclude_seen=False)
    assert sum(scores(shop, user, near).values()) > sum(after.values())


def test_a_look_leaves_its_item_in_the_lists_and_a_purchase_takes_it_out(shop: httpx.Client) -> None:
    user = "looker"
    did(shop, user, "view", "i010")
    assert "i010" in listed(shop, user)
    assert "i010" not in listed(shop, user, exclude_seen=True)
    did(shop, user, "purchase", "i010")
    assert "i010" not in listed(shop, user)
    assert "i010" in listed(shop, user, exclude_seen=False)


def test_values_and_unknown_types_mean_what_the_rules_say(shop: httpx.Client) -> None:
    user = "rater"
    for event_type, value, item, offered in (
        ("rating", 5.0, "i020", False),
        ("rating", 1.0, "i021", False),
        ("impression", None, "i022", True),
        ("newsletter", None, "i023", True),  # of a type that no rule knows: kept, and as if it were not
        ("interaction", None, "i024", False),  # without a type: a target
    ):
        did(shop, user, event_type, item, value)
        assert (item in listed(shop, user)) is offered, event_type
    assert "i021" not in listed(shop, user, exclude_seen=False)
    told = shop.get(f"/v1/users/{user}").json()["history"]
    assert [(event["event_type"], event["value"], event["means"]) for event in told] == [
        ("rating", 5.0, "target"),
        ("rating", 1.0, "negative"),
        ("impression", None, "ignored"),
        ("newsletter", None, "ignored"),
        ("interaction", None, "target"),
    ]


def test_the_list_can_be_made_again(shop: httpx.Client) -> None:
    did(shop, "replayed", "purchase", "i030")
    did(shop, "replayed", "dislike", "i031")
    answer = shop.post("/v1/recommend", json={"user_id": "replayed", "k": 20}).json()
    found = shop.get(f"/v1/recommendations/{answer['rec_id']}", params={"replay": True}).json()
    assert found["replay"]["same"], found["replay"]
