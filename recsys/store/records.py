"""Records below ``runs`` of what was made from which inputs: an outcome is found again instead of made again."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from recsys.artifacts import ArtifactError, read_json

Outcome = TypeVar("Outcome")


def recorded(record: Path, kind: type[Outcome], check: Callable[[Outcome], object]) -> Outcome | None:
    """Return a recorded outcome, marked as reused, if all that it made is still there and whole; else None.

    Args:
        record: a JSON file with the fields of ``kind``, its name the hash of the inputs.
        kind: a dataclass with a field ``reused``.
        check: raises ``ArtifactError`` where something that the outcome made is gone or damaged.
    """
    if not record.is_file():
        return None
    try:
        outcome = kind(**read_json(record) | {"reused": True})
        check(outcome)
    except (ArtifactError, TypeError):  # deleted or damaged since, or of another version: to be made again
        return None
    return outcome
