"""Which generation is the shadow, and how many requests it answers too: a small file beside the pointer."""

from dataclasses import dataclass
from datetime import UTC, datetime

from recsys.artifacts import as_json, locked, make_room
from recsys.home import Home
from recsys.record import Record
from recsys.remote.state import adopt, share

STATE = "shadow.json"


@dataclass(frozen=True, kw_only=True)
class ShadowState(Record):
    """Which generation is the shadow, and how many of the requests it answers too."""

    generation: str
    share: float
    since: str


def read_shadow(home: Home) -> ShadowState | None:
    """Return the state that all workers follow.

    Raises:
        ArtifactError: its file is broken.
    """
    path = home.generations / STATE
    return ShadowState.read(path, "Remove it, or begin the shadow again.") if path.exists() else None


def begin_shadow(home: Home, generation_id: str, share: float) -> ShadowState:
    """Make a generation the shadow, in the place of any other; workers follow within a second."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    state = ShadowState(generation=generation_id, share=share, since=since)
    _share(home, as_json(state.to_dict()))
    return state


def end_shadow(home: Home) -> None:
    """Let no generation be the shadow."""
    _share(home, b"")


def _share(home: Home, content: bytes) -> None:
    with locked(make_room(home.generations) / ".lock"):  # the pointer's
        adopt(home, f"generations/{STATE}")
        share(home, f"generations/{STATE}", content)
