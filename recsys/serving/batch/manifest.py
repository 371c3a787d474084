"""What a folder of lists says of itself: what was asked, from what it was answered, and what each file holds."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recsys.artifacts import MANIFEST, ArtifactError, canonical_json, digest
from recsys.record import Record

CHANGES = "changes.parquet"
BLOCK_SIZE = 10_000  # users whose lists are one file
OWN = "none"  # among answers: by no link of the fallback chain


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What lists are asked for by; the same are one batch.

    Attributes:
        generation: id.
        request: what each list shall be like, as JSON values.
        given: SHA-256 of the users that were named; None: all that there are.
        block_size: users whose lists are one file.
    """

    generation: str
    request: dict[str, Any]
    given: str | None
    block_size: int

    @property
    def id(self) -> str:
        """SHA-256 of all of it."""
        return digest(canonical_json(asdict(self)))

    def differences(self, now: "Inputs") -> Iterator[str]:
        """Yield in words what else is asked for now."""
        if now.generation != self.generation:
            yield f"the generation was {self.generation} and is {now.generation}"
        yield from _differences(self.request, now.request)
        if now.given != self.given:
            yield f"the users were {_users(self.given)} and are {_users(now.given)}"
        if now.block_size != self.block_size:
            yield f"the block size was {self.block_size} and is {now.block_size}"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of lists.

    Attributes:
        name: of the file.
        users: whose lists it holds, in the order of their ids.
        first: the first of their ids.
        last: the last.
        rows: items, of all lists.
        answers: how many lists each link of the fallback chain gave, by its name; ``OWN``: the user's own ranking.
        sha256: of the file.
    """

    name: str
    users: int
    first: str
    last: str
    rows: int
    answers: dict[str, int]
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The file of what has changed since another batch.

    Attributes:
        since: SHA-256 of what identifies that one, see ``BatchManifest.id``.
        generation: of that one.
        users: whose list is another.
        sha256: of the file.
    """

    since: str
    generation: str
    users: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class BatchManifest(Record):
    """All that a finished folder holds.

    Attributes:
        inputs: what was asked for.
        adapter: of the generation.
        snapshot: likewise.
        asked: the moment as of which all lists are made (ISO 8601, UTC).
        events: up to which batch live events count, as ``recsys export-events`` numbers them; None: all do.
        items: the change of live items up to which they count.
        version: of the library.
        users: whose lists there are.
        rows: items, of all lists.
        answers: as of a part.
        parts: in the order of their users.
        changes: since another batch; None: nobody has asked.
    """

    inputs: Inputs
    adapter: str
    snapshot: str
    asked: str
    events: int | None
    items: int
    version: str
    users: int
    rows: int
    answers: dict[str, int] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    changes: Changes | None = None

    @property
    def id(self) -> str:
        """SHA-256 of all but what has changed since another one."""
        return digest(canonical_json({name: value for name, value in self.to_dict().items() if name != "changes"}))


def read_manifest(folder: Path) -> BatchManifest:
    """Return the manifest of a finished folder.

    Raises:
        ArtifactError: there is none, or it is not as it was written.
    """
    if not (folder / MANIFEST).exists():
        raise ArtifactError(f"{folder} holds no finished lists: {MANIFEST} is missing. Name the folder of some.")
    return BatchManifest.read(folder / MANIFEST, "Make the lists again, in another folder.")


def as_of(seconds: int) -> str:
    """Return Unix seconds as a manifest has them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*before, *now}):
        was, wanted = before.get(name), now.get(name)
        if canonical_json(was) != canonical_json(wanted):
            yield f"{name} was {was!r:.60} and is {wanted!r:.60}"


def _users(given: str | None) -> str:
    return "all" if given is None else f"a list of them ({given[:8]})"
