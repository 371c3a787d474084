"""A folder of lists on its way: what was fixed when it began, and which of its files are whole.

All of it lies in one folder within, which is made in one step and goes in one when the lists are finished: it holds
what people did and were said to be up to that moment, for nobody else to read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts import (
    PRIVATE,
    ArtifactError,
    commit_file,
    commit_folder,
    digest_file,
    discard_folder,
    staged_file,
    staged_folder,
    write_json,
)
from recsys.data.columns import USER_ID
from recsys.database.live_items import LiveItem
from recsys.database.user_attributes import LiveAttributes
from recsys.ranking.exploration import Exposure
from recsys.record import Record
from recsys.serving.answers import ListRequest, NewItems
from recsys.serving.batch.manifest import Inputs, Part
from recsys.serving.users import AsOf

UNFINISHED = ".unfinished"
_BEGUN, _USERS = "begun.json", "users.parquet"
_REPAIR = "Remove the folder, and make the lists again."


@dataclass(frozen=True, kw_only=True)
class Begun(Record):
    """What was fixed when lists were begun, so that whoever goes on with them makes the same.

    Attributes:
        inputs: what was asked for.
        version: of the library.
        now: Unix seconds, when it was.
        events: as in a manifest.
        items: likewise.
        live: all items that were put, changed or deleted by then.
        said: users' attributes as they were put by then; empty where none count.
        shown: exposures by item, where new items are asked for.
        users: how many there are.
    """

    inputs: Inputs
    version: str
    now: int
    events: int | None
    items: int
    live: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    users: int = 0

    @property
    def changes(self) -> list[LiveItem]:
        """The items."""
        return [LiveItem(**one) for one in self.live]

    @property
    def as_of(self) -> AsOf:
        """The moment, for whoever asks about users."""
        return AsOf(self.events, {user_id: LiveAttributes(**one) for user_id, one in self.said.items()})

    def request(self, given: ListRequest) -> ListRequest:
        """Return what every list is asked for by, as of the moment."""
        shown = {item_id: Exposure(**counts) for item_id, counts in self.shown.items()}
        wish = given.new_items and NewItems(given.new_items.slots, given.new_items.strength, shown)
        return replace(given, now=self.now, new_items=wish)


def jsonable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return dataclasses by name as JSON values by name."""
    return {name: asdict(value) for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class _Receipt(Record):
    part: Part


@dataclass(frozen=True)
class Unfinished:
    """Lists that were begun.

    Attributes:
        folder: where they shall lie.
        begun: what was fixed.
    """

    folder: Path
    begun: Begun

    @classmethod
    def begin(cls, folder: Path, begun: Begun, users: list[str]) -> "Unfinished":
        """Begin, whole or not at all; ``users`` in their order."""
        with staged_folder(folder) as staging:
            begun = replace(begun, users=len(users))
            write_json(staging / _BEGUN, begun.to_dict(), PRIVATE)
            pl.DataFrame({USER_ID: pl.Series(users, dtype=pl.String)}).write_parquet(staging / _USERS)
            commit_folder(staging, folder / UNFINISHED, private=True)
        return cls(folder, begun)

    @classmethod
    def find(cls, folder: Path) -> "Unfinished | None":
        """Return what was begun in a folder, None where nothing was.

        Raises:
            ArtifactError: it cannot be read.
        """
        path = folder / UNFINISHED / _BEGUN
        return cls(folder, Begun.read(path, _REPAIR)) if path.exists() else None

    @property
    def begun_file(self) -> Path:
        """Where it is written what was fixed."""
        return self.folder / UNFINISHED / _BEGUN

    @property
    def count(self) -> int:
        """How many files there shall be."""
        return -(-self.begun.users // self.begun.inputs.block_size)

    def block(self, number: int) -> tuple[str, list[str]]:
        """Return the name of a file, by its number from 0, and whose lists it shall hold."""
        users, size = pl.scan_parquet(self.folder / UNFINISHED / _USERS), self.begun.inputs.block_size
        return f"part-{number:05}.parquet", users.slice(number * size, size).collect()[USER_ID].to_list()

    def whole(self, name: str) -> Part | None:
        """Return what a file holds, None where it is not there as it was written."""
        try:
            part = _Receipt.read(self._receipt(name)).part
            return part if digest_file(self.folder / name) == part.sha256 else None
        except (ArtifactError, FileNotFoundError):
            return None

    def write(self, lists: pl.DataFrame, name: str, users: list[str], answers: dict[str, int]) -> Part:
        """Write a file and, behind it, the note that it is whole."""
        with staged_file(self.folder) as staging:
            lists.write_parquet(staging)
            sha256 = digest_file(staging)
            commit_file(staging, self.folder / name)
        part = Part(
            name=name,
            users=len(users),
            first=users[0],
            last=users[-1],
            rows=lists.height,
            answers=answers,
            sha256=sha256,
        )
        write_json(self._receipt(name), _Receipt(part=part).to_dict(), PRIVATE)
        return part

    def end(self) -> None:
        """Remove what nobody needs once there is a manifest."""
        discard_folder(self.folder / UNFINISHED)

    def _receipt(self, name: str) -> Path:
        return self.folder / UNFINISHED / f"{name}.json"
