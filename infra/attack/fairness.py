"""Two keys side by side: whatever one of them asks for, the other's single requests take at most twice as long."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.load import compared
from infra.attack.target import OTHER, WRITE, Target

CONNECTIONS = 4
SECONDS = 130


def _limits(target: Target) -> dict[str, int]:
    fields = target.told(f"/v1/items/{target.items[0]}")["fields"]
    return {name: 2 for name, value in fields.items() if isinstance(value, str | int | list)}


@attack("keyed", seconds=170, traceless=True)
def batches_of_one_key(target: Target) -> Outcome:
    """Batches of 256 with k 200, diversity and limits, or explanations, hold up no other key."""
    heavy = target.crowd(k=200, diversity=0.5, limits=_limits(target), record=False)
    told = target.crowd(256, k=7, explain=True, record=False)
    requests = [target.prepared("POST", "/v1/recommend/batch", body) for body in (heavy, told)]
    return compared(target, requests * (CONNECTIONS // 2), pairs=4)


@attack("keyed", seconds=60, traceless=True)
def work_that_nobody_waits_for(target: Target) -> Outcome:
    """When a caller has left, the work for it ends."""
    if target.pid is None:
        return not_tried("its processor time is not ours to read")
    body = target.crowd(k=200, diversity=0.5, limits=_limits(target), record=False)
    request = target.prepared("POST", "/v1/recommend/batch", body)
    idle = min(_spent(target, 2) for _ in range(5)) / 2  # the least: work of before may go on
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(target.connect()).sendall(request)
        time.sleep(1)
    more = _spent(target, 15) - 15 * idle
    return judged(more < 1.5, f"6 batches of 256 given up after 1 s cost {more:.1f} s of processor in the 15 s after")


def _spent(target: Target, seconds: float) -> float:
    before = target.work()
    time.sleep(seconds)
    return target.work() - before


@attack("keyed", seconds=SECONDS, traceless=True)
def orders_with_explanations(target: Target) -> Outcome:
    """Orders of 1,000 items with explanations hold up no other key."""
    body = target.wish(item_ids=list(target.items[:1_000]), explain=True)
    return compared(target, [target.prepared("POST", "/v1/rank", body)] * CONNECTIONS)


@attack("keyed", seconds=SECONDS, traceless=True)
def large_filters(target: Target) -> Outcome:
    """Filters of megabytes, each of them new, hold up no other key."""
    bodies: Sequence[dict] = [
        target.wish(filter={"any": [{"field": "title", "in": [f"{number} {n} {'x' * 800}" for n in range(1_000)]}] * 4})
        for number in range(CONNECTIONS)
    ]
    return compared(target, [target.prepared("POST", "/v1/recommend", body) for body in bodies])


@attack("keyed", seconds=SECONDS, traceless=True)
def texts_of_one_key(target: Target) -> Outcome:
    """Texts to be encoded, 256 a request, do not keep another key from searching."""
    if target.reply(target.prepared("POST", "/v1/search", {"query": "a"}), 10)[0] != 200:
        return not_tried("the service answers no texts")
    bodies = {"texts": ["word " * 1_900] * 256}
    victim = target.prepared("POST", "/v1/search", {"query": "a quiet film about the sea"}, OTHER)
    return compared(target, [target.prepared("POST", "/v1/embed", bodies)] * CONNECTIONS, pairs=2, victim=victim)


@attack("keyed", seconds=SECONDS)
def many_events(target: Target) -> Outcome:
    """Events by the thousand hold up no list."""
    if WRITE not in target.keys:
        return not_tried("it takes a key with the scope write")
    events = [{"user_id": f"attack-{n}", "item_id": target.items[n % len(target.items)]} for n in range(1_000)]
    request = target.prepared("POST", "/v1/events", {"events": events}, WRITE)
    return compared(target, [request] * 2)


@attack("keyed", seconds=SECONDS, traceless=True)
def names_of_nothing(target: Target) -> Outcome:
    """Generations and adapters that do not exist cost no other key anything."""
    bodies = [target.wish(generation=f"{n:016x}") for n in range(2)] + [
        target.wish(adapter=f"{n:016x}") for n in range(2)
    ]
    return compared(target, [target.prepared("POST", "/v1/recommend", body) for body in bodies])


@attack("keyed", seconds=SECONDS, traceless=True)
def open_routes_at_once(target: Target) -> Outcome:
    """Whoever has no key and asks for numbers and descriptions holds up nobody who has one."""
    requests = [target.head("GET", path, "") for path in ("/metrics", "/docs.json")]
    return compared(target, requests)
