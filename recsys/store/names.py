"""Names of people's own for adapters and generations: aliases, tags, and a note, beside what never changes.

An alias stands for one id and can be moved to another; where an id is asked for, it may be given. Tags are shared by
many, and a note is text. They lie in one file a room, so that a copy of the home has them, and no id hangs on them.
"""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from recsys.artifacts import ID_DIGITS, MANIFEST, ArtifactError, as_json, locked, make_room
from recsys.errors import SettingError
from recsys.home import Home
from recsys.record import Record
from recsys.remote.state import adopt, share
from recsys.store.manifests import CARD

FILE, LOCK = "names.json", ".names.lock"
LEAST_PREFIX = 4  # digits that may stand for a whole id
MOST_ALIASES, MOST_TAGS = 20, 20  # of one adapter or generation
LONGEST_NAME, LONGEST_NOTE = 64, 2_000
_ALIAS = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{LONGEST_NAME - 1}}}")
_HEXADECIMAL = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True)
class Kind:
    """What can have names.

    Attributes:
        name: in the singular, as messages say it.
        room: its folder below a home.
        marker: the file by which each folder there is one of ours.
    """

    name: str
    room: str
    marker: str


ADAPTER = Kind("adapter", "adapters", CARD)
GENERATION = Kind("generation", "generations", MANIFEST)
SNAPSHOT = Kind("snapshot", "snapshots", MANIFEST)  # has no names, but its ids may be shortened as well


@dataclass(frozen=True, kw_only=True)
class Names(Record):
    """All names of one kind.

    Attributes:
        aliases: the id that each stands for.
        tags: by id, in the order in which they were given.
        notes: by id.
    """

    aliases: dict[str, str] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def of(self, artifact_id: str) -> dict[str, Any]:
        """Return ``aliases``, ``tags`` and ``note`` of one as JSON values."""
        aliases = sorted(alias for alias, meant in self.aliases.items() if meant == artifact_id)
        tags, note = list(self.tags.get(artifact_id, ())), self.notes.get(artifact_id)
        return {"aliases": aliases, "tags": tags, "note": note}

    def label(self, artifact_id: str) -> str:
        """Return an id as people read it: with its aliases behind it."""
        aliases = ", ".join(self.of(artifact_id)["aliases"])
        return f"{artifact_id} ({aliases})" if aliases else artifact_id

    def without(self, artifact_id: str) -> "Names":
        """Return all but those of one."""
        return replace(
            self,
            aliases={alias: meant for alias, meant in self.aliases.items() if meant != artifact_id},
            tags={one: tags for one, tags in self.tags.items() if one != artifact_id},
            notes={one: note for one, note in self.notes.items() if one != artifact_id},
        )


def read_names(home: Home, kind: Kind) -> Names:
    """Return all names of a kind, as they are now; reading them again costs nothing while the file stays.

    Raises:
        ArtifactError: the file is broken, or a link.
    """
    path = home.root / kind.room / FILE
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return Names()
    return _read(path, (status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size))


def meant(home: Home, kind: Kind, name: str) -> str:
    """Return the id that a name means: an id itself, an alias, or the beginning of one id and of no other.

    Whether an id that is given whole exists is for its reader to say.

    Raises:
        ArtifactError: nothing, or more than one thing, is called that.
    """
    found = by_alias(home, kind, name)
    if found is not None:
        return found
    ids = _ids(home, kind)
    shortened = len(name) >= LEAST_PREFIX and _HEXADECIMAL.fullmatch(name)
    fitting = [one for one in ids if one.startswith(name)] if shortened else []
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ArtifactError(f"{name} begins {len(fitting)} {kind.name} ids: {', '.join(fitting[:5])}. Give more of it.")
    near = difflib.get_close_matches(name[:LONGEST_NAME], [*read_names(home, kind).aliases, *ids], 3, 0.6)
    asked = f" Did you mean {' or '.join(near)}?" if near else f" `recsys {kind.room}` lists those that exist."
    what = f"an id has {ID_DIGITS} hexadecimal digits"
    raise ArtifactError(f"{name[:40]!a} is no {kind.name} id and no name of one; {what}.{asked}")


def by_alias(home: Home, kind: Kind, name: str) -> str | None:
    """Return the id that is given whole or by its alias, or None where it is neither."""
    if len(name) == ID_DIGITS and _HEXADECIMAL.fullmatch(name):
        return name
    return read_names(home, kind).aliases.get(name)


def set_alias(home: Home, kind: Kind, artifact_id: str, alias: str) -> str | None:
    """Give an adapter or a generation an alias, which leaves the one that had it; return the id of that one.

    Raises:
        SettingError: an alias may not look like that, or there are too many.
        ArtifactError: there is nothing of this id.
    """
    if not _ALIAS.fullmatch(alias):
        raise SettingError(
            f"{alias[:LONGEST_NAME]!a} is no alias: up to {LONGEST_NAME} small letters, digits, dots, dashes and "
            "underscores, the first of them a letter or a digit."
        )
    if len(alias) >= LEAST_PREFIX and _HEXADECIMAL.fullmatch(alias):
        raise SettingError(f"{alias!a} could be the beginning of an id. Give the alias a letter beyond f, or a dash.")
    with _changing(home, kind, artifact_id) as (names, write):
        before = names.aliases.get(alias)
        if before != artifact_id and len(names.of(artifact_id)["aliases"]) >= MOST_ALIASES:
            raise SettingError(f"{artifact_id} has {MOST_ALIASES} aliases already. Remove one first.")
        write(replace(names, aliases=names.aliases | {alias: artifact_id}))
    return None if before == artifact_id else before


def remove_alias(home: Home, kind: Kind, alias: str) -> str:
    """Take an alias away; return the id that it stood for.

    Raises:
        ArtifactError: there is no such alias.
    """
    with _changing(home, kind) as (names, write):
        if alias not in names.aliases:
            known = ", ".join(sorted(names.aliases)) or "none"
            raise ArtifactError(f"No {kind.name} has the alias {alias[:LONGEST_NAME]!a}; there are {known}.")
        write(replace(names, aliases={one: meant for one, meant in names.aliases.items() if one != alias}))
        return names.aliases[alias]


def set_tags(home: Home, kind: Kind, artifact_id: str, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
    """Add tags to an adapter or a generation, and take others away; what is there, or is not, already may be named.

    Raises:
        SettingError: a tag is empty, long or unseen, or there are too many.
        ArtifactError: there is nothing of this id.
    """
    for tag in add:
        if not 1 <= len(tag) <= LONGEST_NAME or tag != tag.strip() or not _can_be_seen(tag):
            raise SettingError(f"{tag[:LONGEST_NAME]!a} is no tag: 1 to {LONGEST_NAME} characters that can be seen.")
    with _changing(home, kind, artifact_id) as (names, write):
        before = names.tags.get(artifact_id, [])
        tags = [tag for tag in dict.fromkeys([*before, *add]) if tag not in remove]
        if len(tags) > MOST_TAGS:
            raise SettingError(f"{artifact_id} would have {len(tags)} tags; {MOST_TAGS} are the most.")
        others = {one: kept for one, kept in names.tags.items() if one != artifact_id}
        write(replace(names, tags=others | ({artifact_id: tags} if tags else {})))


def set_note(home: Home, kind: Kind, artifact_id: str, note: str) -> None:
    """Write a note about an adapter or a generation in the place of the one before; an empty one takes it away.

    Raises:
        SettingError: it is too long, or holds what cannot be seen.
        ArtifactError: there is nothing of this id.
    """
    note = note.strip()
    if len(note) > LONGEST_NOTE or not _can_be_seen(note.replace("\n", " ")):
        raise SettingError(f"A note has up to {LONGEST_NOTE:,} characters that can be seen, and line ends.")
    with _changing(home, kind, artifact_id) as (names, write):
        others = {one: kept for one, kept in names.notes.items() if one != artifact_id}
        write(replace(names, notes=others | ({artifact_id: note} if note else {})))


def forget_names(home: Home, kind: Kind, artifact_id: str) -> None:
    """Take away all names of what is deleted."""
    if read_names(home, kind) != read_names(home, kind).without(artifact_id):
        with _changing(home, kind) as (names, write):
            write(names.without(artifact_id))


@contextmanager
def steady_names(home: Home, kind: Kind) -> Iterator[None]:
    """Let nobody change a name of a kind meanwhile."""
    with locked(make_room(home.make().root / kind.room) / LOCK):
        adopt(home, f"{kind.room}/{FILE}")
        yield


@contextmanager
def _changing(home: Home, kind: Kind, artifact_id: str | None = None) -> Iterator[Any]:
    """Hold the lock of a kind's names; yield them as they are, and what writes them as they shall be.

    Raises:
        ArtifactError: there is nothing of the id.
    """
    with steady_names(home, kind):
        if artifact_id is not None and artifact_id not in _ids(home, kind):
            raise ArtifactError(f"There is no {kind.name} {artifact_id!r}. `recsys {kind.room}` lists what exists.")
        names = replace(read_names(home, kind), absent=frozenset())  # or what the file lacked would not be written
        yield names, lambda names: share(home, f"{kind.room}/{FILE}", as_json(names.to_dict()))


@lru_cache(maxsize=8)
def _read(path: Path, _state: tuple[int, ...]) -> Names:
    return Names.read(path, "Restore it, or remove it: names are lost then, and nothing else.")


def _ids(home: Home, kind: Kind) -> list[str]:
    return sorted(path.parent.name for path in (home.root / kind.room).glob(f"[!.]*/{kind.marker}"))


def _can_be_seen(text: str) -> bool:
    """Tell whether every character has a form of its own: no controls, directions, or halves of characters."""
    return all(unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Cn") for character in text)
