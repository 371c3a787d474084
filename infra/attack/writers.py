"""What may be written: items, events and the records of answers stay bounded, and none of them waits for the others."""

import time
from functools import partial
from typing import Any

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.bounds import beside
from infra.attack.load import lag, repeat
from infra.attack.target import ADMIN, MIB, OTHER, WRITE, Target

GROWN_BYTES = 8 * MIB  # that one request may leave in the database
WAIT_MS = 2_000  # that events may take beside items
WAITING_MIB = 400


def _event(target: Target, key: str = ADMIN) -> bytes:
    event = {"user_id": "attack-waiting", "item_id": target.items[0]}
    return target.prepared("POST", "/v1/events", {"events": [event]}, key)


def _written(target: Target) -> int:
    """Return the bytes of the databases once what waits to be written is written."""
    target.ask("GET", "/v1/users/attack-nobody", key=ADMIN)
    time.sleep(1)
    return target.stored()


def _growth(target: Target, path: str, *bodies: dict[str, Any]) -> Outcome:
    """Send requests, of which one at least must be answered, and see what they leave."""
    if not target.home:
        return not_tried("its files are elsewhere")
    before, requests = _written(target), [target.prepared("POST", path, body) for body in bodies]
    answered = [target.reply(request)[0] for request in requests]
    grown, sent = _written(target) - before, sum(map(len, requests))
    evidence = f"{sent / MIB:.2f} MiB sent ({', '.join(map(str, answered))}), {grown / MIB:.1f} MiB left on disk"
    return judged(0 < grown < GROWN_BYTES and 200 in answered, f"{evidence}, {grown / sent:.1f} times as much")


def _filter(count: int) -> dict[str, Any]:
    return {"not": {"field": "title", "in": [f"{number:04}{'y' * 700}" for number in range(count)]}}


@attack("keyed", seconds=60)
def a_wish_for_many(target: Target) -> Outcome:
    """What a batch asks for is written down once, not once a person."""
    users = [{"history": [target.items[number % len(target.items)]]} for number in range(256)]
    exclude = [f"{number:04}{'x' * 250}" for number in range(1_000)]
    wishes = [{"users": users, "k": 1, "exclude_ids": exclude, "filter": _filter(count)} for count in (1_000, 90)]
    return _growth(target, "/v1/recommend/batch", *wishes)


@attack("keyed", seconds=60)
def a_wish_of_filters(target: Target) -> Outcome:
    """A large filter leaves little on disk."""
    wishes = [target.wish(k=1, filter={"any": [_filter(count)] * 4}) for count in (1_000, 20)]
    return _growth(target, "/v1/recommend", *wishes)


@attack("keyed", seconds=60)
def histories_of_nothing(target: Target) -> Outcome:
    """Histories of ids that nobody knows leave little on disk."""
    history = [f"{number:04}{'z' * 250}" for number in range(1_000)]
    return _growth(target, "/v1/recommend/batch", {"users": [{"history": history}] * 15, "k": 1})


@attack("keyed", seconds=120)
def answers_that_wait_to_be_written(target: Target) -> Outcome:
    """Answers that are not written down yet take little memory."""
    fields = list(target.told(f"/v1/items/{target.items[0]}")["fields"])[:50]
    request = target.prepared("POST", "/v1/recommend/batch", target.crowd(128, k=200, fields=fields))
    before, until, most = target.memory(), time.monotonic() + 20, 0.0
    with beside([partial(repeat, target, request)] * 2):
        while time.monotonic() < until:
            time.sleep(0.5)
            most = max(most, target.memory() - before)
    return judged(
        most < WAITING_MIB, f"batches of 128 × k 200 with all fields for 20 s: memory {most:+.0f} MiB at most"
    )


def _large_item(target: Target) -> dict[str, Any] | None:
    fields = target.told(f"/v1/items/{target.items[0]}")["fields"]
    name = next((one for one, value in fields.items() if isinstance(value, str) and one != "title"), None)
    many = next((one for one, value in fields.items() if isinstance(value, list)), None)
    if many:
        return {"title": "attack", many: [f"{number} " + "word " * 3_000 for number in range(225)]}
    return {"title": "attack", name: "word " * 3_990} if name else None


@attack("keyed", seconds=120)
def items_of_megabytes(target: Target) -> Outcome:
    """An item is small, and large ones keep no event waiting."""
    if WRITE not in target.keys or not (body := _large_item(target)):
        return not_tried("it takes a key with the scope write, and a column of texts")
    statuses = []

    def put() -> None:
        for number in range(4):
            request = target.prepared("PUT", f"/v1/items/attack-{number}", body, WRITE)
            statuses.append(target.reply(request)[0])

    waited = lag(target, put, _event(target))
    for number in range(4):
        target.ask("DELETE", f"/v1/items/attack-{number}", key=WRITE)
    size = len(target.prepared("PUT", "/", body, WRITE)) / MIB
    stored = sum(200 <= status < 300 for status in statuses)
    evidence = f"{stored} of 4 items of {size:.1f} MiB stored ({statuses[0]}); an event waited {waited:,.0f} ms"
    return judged(not stored and waited < WAIT_MS, evidence)


@attack("keyed", seconds=60)
def items_that_nobody_is_offered(target: Target) -> Outcome:
    """Items that are put unavailable, as fast as can be, keep no event of another key waiting."""
    if WRITE not in target.keys:
        return not_tried("it takes a key with the scope write")
    requests = [
        target.prepared("PUT", f"/v1/items/attack-gone-{number}", {"title": "x", "available": False}, WRITE)
        for number in range(4)
    ]

    def put() -> None:
        until = time.monotonic() + 8
        while time.monotonic() < until:
            time.sleep(0.2)

    # beside() first: its processes are forked from one without threads
    with beside([partial(repeat, target, request) for request in requests]):
        waited = lag(target, put, _event(target))
    return judged(waited < WAIT_MS, f"4 connections for 8 s: an event of another key waited {waited:,.0f} ms")


@attack("keyed", seconds=60)
def times_at_the_ends(target: Target) -> Outcome:
    """Events and items from the ends of time, with odd ids and numbers, are refused in words."""
    if WRITE not in target.keys:
        return not_tried("it takes a key with the scope write")
    item = target.items[0]
    events: list[dict[str, Any]] = [
        {"user_id": "a", "item_id": item, "timestamp": time}
        for time in (
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "1970-01-01T00:00:00+14:00",
            1e308,
            "now",
        )
    ]
    events += [{"user_id": name, "item_id": item} for name in ("\x00", "\u2028", "\u0085", "x" * 257, "", 1)]
    events += [{"user_id": "a", "item_id": item, "value": value} for value in (10**400, "1", [1], True)]
    odd = []
    for event in events:
        answer = target.ask("POST", "/v1/events", {"events": [event]}, WRITE)
        if answer.status_code not in (200, 400, 422) or answer.json().get("accepted"):
            odd.append(f"{answer.status_code} for {str(event)[:60]}")
    columns = {"year": 10**30, "nothing": 1, "__proto__": {}, "title": "x" * 20_001}
    for name, value in columns.items():
        answer = target.ask("PUT", "/v1/items/attack-odd", {"title": "x", name: value}, WRITE)
        if answer.status_code not in (400, 413, 422):
            odd.append(f"{answer.status_code} for a column {name}")
    return judged(not odd, f"{len(events) + len(columns)} odd things; not refused: {', '.join(odd) or 'none'}")


@attack("keyed")
def a_key_that_reads_what_it_writes(target: Target) -> Outcome:
    """A key with write reads nothing, and one with recommend writes nothing."""
    calls = [
        ("POST", "/v1/recommend", WRITE),
        ("POST", "/v1/embed", WRITE),
        ("GET", f"/v1/items/{target.items[0]}", WRITE),
    ]
    calls += [("POST", "/v1/events", OTHER), ("PUT", "/v1/items/x", OTHER), ("DELETE", "/v1/items/x", OTHER)]
    taken = [
        f"{method} {path} by {key}"
        for method, path, key in calls
        if key in target.keys and target.ask(method, path, {}, key).status_code != 403
    ]
    return judged(not taken, f"{len(calls)} calls; taken: {', '.join(taken) or 'none'}")
