"""What a key with ``recommend`` learns about what somebody did. It needs ``admin`` to be told.

A list leaves out what its user has seen, so a key that may ask for lists can learn from them: that is said where keys
are described. What must hold is that no one question answers it, and that asking is written down.
"""

import statistics
from collections.abc import Callable
from typing import Any

from infra.attack.attacks import Outcome, attack, held, hurt, judged, not_tried
from infra.attack.target import ADMIN, Target

FEWEST_SEEN = 15  # of whom there is something to read


def _somebody(target: Target) -> tuple[str, list[str], list[str]]:
    """Return a user, items that they have seen, and as many that they have not."""
    user = next(one for one, seen in target.people.items() if len(set(seen)) >= FEWEST_SEEN)
    seen = sorted(set(target.people[user]))
    unseen = [item for item in target.items if item not in set(seen)]
    return user, seen[:8], unseen[:8]


def _told(target: Target, wish: Callable[[str, str], dict[str, Any]]) -> str | None:
    """Return how often a one-item list tells whether somebody has seen the item; None where it tells nothing."""
    user, seen, unseen = _somebody(target)
    right = 0
    for item in [*seen, *unseen]:
        answer = target.ask("POST", "/v1/recommend", {"user_id": user, "k": 1, "record": False, **wish(user, item)})
        if answer.status_code == 200:
            missing = item not in {one["item_id"] for one in answer.json()["items"]}
            right += missing == (item in seen)
    count = len(seen) + len(unseen)
    return f"{right} of {count}" if right > 0.8 * count else None


@attack("keyed", seconds=90)
def one_question_about_one_item(target: Target) -> Outcome:
    """No one list of a key with recommend tells whether somebody has seen an item."""
    unique = target.titles
    ways: dict[str, Callable[[str, str], dict[str, Any]]] = {
        "eq": lambda _, item: {"filter": {"field": "item_id", "eq": item}},
        "in": lambda _, item: {"filter": {"field": "item_id", "in": [item]}},
        "between": lambda _, item: {"filter": {"field": "item_id", "gte": item, "lte": item}},
        "contains": lambda _, item: {"filter": {"field": "item_id", "contains": item}, "k": 20},
        "not ne": lambda _, item: {"filter": {"not": {"field": "item_id", "ne": item}}},
        "any of all": lambda _, item: {"filter": {"any": [{"all": [{"field": "item_id", "eq": item}]}]}},
        "title": lambda _, item: {"filter": {"field": "title", "eq": unique[item]}, "k": 5},
        "part of a title": lambda _, item: {"filter": {"field": "title", "contains": unique[item]}, "k": 5},
        "title beside few": lambda _, item: {"filter": {"field": "title", "in": [unique[item], *_few(target)]}, "k": 5},
        "all others excluded": lambda _, item: {"exclude_ids": [one for one in target.items if one != item][:1_000]},
    }
    told = {name: found for name, way in ways.items() if (found := _told(target, way))}
    shown = ", ".join(f"{name} ({right})" for name, right in told.items())
    return judged(not told, f"{len(ways)} ways; told by: {shown or 'none'}")


def _few(target: Target) -> list[str]:
    return [target.titles[item] for item in target.items[:3]]


@attack("keyed")
def who_has_seen_an_item(target: Target) -> Outcome:
    """No one batch tells which of 256 people have seen an item."""
    counts: dict[str, int] = {}
    people = list(target.people)[:256]
    for user in people:
        for item in set(target.people[user]):
            counts[item] = counts.get(item, 0) + 1
    item = min(counts, key=lambda one: abs(counts[one] - len(people) / 4))
    body = {"users": [{"user_id": user} for user in people], "k": 1, "record": False}
    answer = target.ask("POST", "/v1/recommend/batch", body | {"filter": {"field": "item_id", "eq": item}})
    if answer.status_code != 200:
        return held(f"{answer.status_code} for a batch of {len(people)} about one item")
    empty = {one["user_id"] for one in answer.json()["answers"] if not one["items"]}
    have = {user for user in people if item in target.people[user]}
    right = len(people) - len(empty ^ have)
    return judged(right < 0.8 * len(people), f"right about {right} of {len(people)}, {len(have)} of whom have seen it")


@attack("keyed")
def a_list_without_a_trace(target: Target) -> Outcome:
    """Each list about somebody that a key with recommend is given is written down, whatever it asks."""
    user, *_ = _somebody(target)

    def known() -> int:
        count: int = target.told(f"/v1/users/{user}", ADMIN)["impressions"]
        return count

    before, asked = known(), 0
    for body in ({"user_id": user, "record": False}, {"users": [{"user_id": user}], "record": False}):
        path = "/v1/recommend/batch" if "users" in body else "/v1/recommend"
        asked += target.ask("POST", path, body).status_code == 200
    written = known() - before
    return judged(written >= asked, f"{asked} lists with record: false, {written} written down")


@attack("keyed")
def an_order_that_tells(target: Target) -> Outcome:
    """The order of given items, which tells something of what somebody has seen, is written down with who asked."""
    found: dict[str, list[float]] = {}
    people = [user for user, seen in target.people.items() if len(set(seen)) >= FEWEST_SEEN][:4]
    written = 0
    for user in people:
        seen = set(target.people[user])
        asked = [*sorted(seen)[:40], *[item for item in target.items if item not in seen][:160]]
        body = {"user_id": user, "item_ids": asked, "explain": True}
        answer = target.ask("POST", "/v1/rank", body)
        if answer.status_code != 200:
            return held(f"{answer.status_code} for an order of {len(asked)} items with explain")
        items, marks = answer.json()["items"], {}
        lineage = f"/v1/recommendations/{answer.json().get('rec_id')}"
        written += bool(target.ask("GET", lineage, key=ADMIN).json().get("key"))
        for one in items:
            marks.setdefault("score", {})[one["item_id"]] = one["score"]
            for part in (one["explanation"] or {}).get("components", []):
                marks.setdefault(part["name"], {})[one["item_id"]] = part["score"]
        count = len(seen & set(asked))
        for name, values in marks.items():
            best = sorted(values, key=lambda item, of=values: -of[item])[:count]
            found.setdefault(name, []).append(len(set(best) & seen) / count)
    means = {name: statistics.mean(values) for name, values in found.items()}
    best = max(means, key=lambda name: means[name])
    text = (
        f"{written} of {len(people)} written down; of as many as were seen, the best by {best} hold {means[best]:.0%}"
    )
    return judged(written == len(people) > 0, text)


@attack("keyed")
def explanations_that_name(target: Target) -> Outcome:
    """Explanations name to a key with recommend nothing that somebody did."""
    user, *_ = _somebody(target)
    seen, titles = set(target.people[user]), target.titles
    ids, words = set(), set()
    for path, body in (
        ("/v1/recommend", {"user_id": user, "k": 50, "explain": True}),
        ("/v1/rank", {"user_id": user, "item_ids": list(target.items[:100]), "explain": True}),
    ):
        for item in target.ask("POST", path, body).json()["items"]:
            explanation = item["explanation"]
            parts = [*explanation["history"], *(one for part in explanation["components"] for one in part["history"])]
            ids |= {one["item_id"] for one in parts}
            words |= {title for one in seen if (title := titles.get(one)) and title in " ".join(item["reasons"])}
            words |= {one["word"] for one in explanation["words"]}
    return judged(not ids and not words, f"{len(ids)} items and {len(words)} titles or words of the history named")


@attack("keyed")
def routes_of_others(target: Target) -> Outcome:
    """Users, lineage and generations answer admin alone."""
    user, *_ = _somebody(target)
    rec_id = target.ask("POST", "/v1/recommend", {"user_id": user}).json()["rec_id"]
    calls = [("GET", f"/v1/users/{user}"), ("GET", f"/v1/recommendations/{rec_id}"), ("GET", "/v1/generations")]
    calls += [("GET", "/v1/adapters"), ("GET", "/v1/shadow"), ("POST", "/v1/rollback"), ("DELETE", f"/v1/users/{user}")]
    open_to = []
    for method, path in calls:
        for key in set(target.keys) - {ADMIN}:
            if target.ask(method, path, {} if method == "POST" else None, key).status_code != 403:
                open_to.append(f"{method} {path} to {key}")
    return judged(not open_to, f"{len(calls)} routes; answered: {', '.join(open_to) or 'none'}")


@attack("keyed")
def event_ids_of_others(target: Target) -> Outcome:
    """A key with write is not told which events of others exist."""
    if "write" not in target.keys:
        return not_tried("it takes a key with the scope write")
    event = {"user_id": "attack-a", "item_id": target.items[0], "event_id": "attack-order-1"}
    target.ask("POST", "/v1/events", {"events": [event]}, ADMIN)
    other = {**event, "user_id": "attack-b"}
    answer = target.ask("POST", "/v1/events", {"events": [other, {**other, "event_id": "attack-order-2"}]}, "write")
    target.ask("DELETE", "/v1/users/attack-a", key=ADMIN)
    target.ask("DELETE", "/v1/users/attack-b", key=ADMIN)
    said = answer.json()
    text = (
        f"accepted {said.get('accepted')}, duplicates {said.get('duplicates')} of one id known to another and one new"
    )
    return hurt(text) if said.get("duplicates") == 1 else held(text)
