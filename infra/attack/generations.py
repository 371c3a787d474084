"""Naming generations in turn: what is loaded for one request must not be taken from all others."""

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.load import compared
from infra.attack.target import ADMIN, Target

MOST_MIB = 1_500


def _known(target: Target) -> list[str]:
    known = target.told("/v1/generations", ADMIN)["generations"]
    return [one["id"] for one in known if not one["current"]]


@attack("keyed", seconds=150)
def generations_in_turn(target: Target) -> Outcome:
    """A key that names one generation after the other takes neither memory nor answers from others."""
    others = _known(target)
    if len(others) < 3:
        return not_tried(f"the home has {len(others)} generations beside the one that serves; it takes 3")
    before = target.memory()
    requests = [target.prepared("POST", "/v1/recommend", target.wish(generation=one, record=False)) for one in others]
    found = compared(target, requests)
    grown = target.memory() - before
    kept = found.state == "held" and grown < MOST_MIB
    return judged(kept, f"{len(others)} named in turn: {found.evidence}; memory {grown:+.0f} MiB")


@attack("keyed", seconds=120)
def texts_of_generations_in_turn(target: Target) -> Outcome:
    """Texts that name one generation after the other take neither memory nor answers from others."""
    others = _known(target)
    if len(others) < 3:
        return not_tried(f"the home has {len(others)} generations beside the one that serves; it takes 3")
    before = target.memory()
    requests = [target.prepared("POST", "/v1/search", {"query": "sea", "generation": one}) for one in others]
    found = compared(target, requests, pairs=2)
    grown = target.memory() - before
    kept = found.state == "held" and grown < MOST_MIB
    return judged(kept, f"{len(others)} named in turn: {found.evidence}; memory {grown:+.0f} MiB")
