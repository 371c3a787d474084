"""Naming generations in turn: what is loaded for one request must not be taken from all others."""

from typing import Any

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.load import PAIRS, compared
from infra.attack.target import ADMIN, Target

MOST_MIB = 1_500


def _known(target: Target) -> list[str]:
    known = target.told("/v1/generations", ADMIN)["generations"]
    return [one["id"] for one in known if not one["current"]]


@attack("keyed", seconds=150)
def generations_in_turn(target: Target) -> Outcome:
    """A key that names one generation after the other takes neither memory nor answers from others."""
    return _in_turn(target, PAIRS, "/v1/recommend", target.wish(record=False))


@attack("keyed", seconds=120)
def texts_of_generations_in_turn(target: Target) -> Outcome:
    """Texts that name one generation after the other take neither memory nor answers from others."""
    return _in_turn(target, 2, "/v1/search", {"query": "sea"})


def _in_turn(target: Target, pairs: int, path: str, body: dict[str, Any]) -> Outcome:
    others = _known(target)
    if len(others) < 3:
        return not_tried(f"the home has {len(others)} generations beside the one that serves; it takes 3")
    before = target.memory()
    found = compared(target, [target.prepared("POST", path, {**body, "generation": one}) for one in others], pairs)
    grown = target.memory() - before
    kept = found.state == "held" and grown < MOST_MIB
    return judged(kept, f"{len(others)} named in turn: {found.evidence}; memory {grown:+.0f} MiB")
