"""Retention: what of a home would go and why, what stays and why, how many bytes each has; and the removal.

Each artifact goes in one step, and before what it stands on: generations, then encoders and adapters, then snapshots,
then tables, records, reports and checkpoints. A crash anywhere leaves each of them whole or gone.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from recsys.artifacts import (
    MANIFEST,
    PRIVATE,
    STAGING_PREFIX,
    ArtifactError,
    discard_folder,
    is_held,
    locked,
    make_room,
    read_json,
    unheld,
)
from recsys.data.mapped_sequences import discard_sequences
from recsys.data.segments.counted import discard_counted
from recsys.home import Home
from recsys.remote.claims import deleting
from recsys.remote.folders import discard_stored
from recsys.remote.following import refresh
from recsys.remote.listing import ADAPTERS, SNAPSHOTS
from recsys.remote.sweep import sweep
from recsys.store import occupied
from recsys.store.generations import (
    clean_up,
    discard_generation,
    list_generations,
    release_index,
    withdraw_tables,
)
from recsys.store.manifests import CARD
from recsys.store.names import ADAPTER, forget_names, read_names, steady_names
from recsys.store.occupied import Link, links_of
from recsys.store.standing import KEEP, MIN_AGE, Rule, Standing, check_generation, standing, stored_ids

UNFINISHED = timedelta(days=30)  # unfinished trainings, records of what made nothing, reports of a watch, lists
ENCODER_CARD = "encoder.json"  # as ``models/encoder/export.py`` has it, which brings torch
LOCK = ".prune.lock"
# how names below ``runs`` begin
REPORT, WATCHED, LISTS, RECORDS = "report-", "monitor-", "batch-", ("train-", "pretrain-", "classify-", "pairs-")
Kind = Literal[
    "generation",
    "encoder",
    "adapter",
    "snapshot",
    "table",
    "record",
    "report",
    "lists",
    "checkpoint",
    "leftover",
    "other",
]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One thing of a home.

    Attributes:
        kind: what it is; ``other`` is never pruned.
        name: its id, or what it is called.
        place: its path below the home.
        bytes: that become free as it goes, after those before it; or that it holds and none before it that stays.
        why: it stays, or goes.
    """

    kind: Kind
    name: str
    place: str
    bytes: int
    why: str


@dataclass(frozen=True)
class Retention:
    """What goes, or has gone, and what stays; in the order in which things go, then by place."""

    goes: tuple[Entry, ...]
    stays: tuple[Entry, ...]

    @property
    def freed(self) -> int:
        """How many bytes go."""
        return sum(entry.bytes for entry in self.goes)

    @property
    def kept(self) -> int:
        """How many bytes stay."""
        return sum(entry.bytes for entry in self.stays)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        parts = {"goes": [asdict(one) for one in self.goes], "stays": [asdict(one) for one in self.stays]}
        return {"freed": self.freed, "kept": self.kept, **parts}


def plan(home: Home, rule: Rule) -> Retention:
    """Tell what would go by a rule, and what would stay; nothing is changed.

    Raises:
        ArtifactError: a file that says what is needed is broken; nothing can be told then.
    """
    kept = standing(home, rule)
    goes: list[Entry] = []
    stays: list[Entry] = []
    for entry, needed in _entries(home, rule, kept):
        (stays if needed else goes).append(entry)
    links = {entry.place: links_of(home.root / entry.place) for entry in (*goes, *stays)}
    return Retention(_sized(goes, links, occupied.freed), _sized(stays, links, occupied.held))


def prune(
    home: Home,
    keep: int = KEEP,
    dry_run: bool = False,
    min_age: timedelta = MIN_AGE,
    now: datetime | None = None,
) -> Retention:
    """Remove what nobody needs any more, beside trainings, publications and readers at work; tell what went.

    Args:
        home: where state lives.
        keep: how many of the newest generations stay, and how many of those served last, the current one counted.
        dry_run: tell what would go, and change nothing.
        min_age: what was made, or found again, within this time stays.
        now: with a time zone; the clock's time by default.

    Raises:
        SettingError: ``keep`` or ``min_age`` is too small.
        ArtifactError: a file that says what is needed is broken; nothing is removed.
        StoreError: the home's object store does not answer, or somebody puts something into it at the moment.
    """
    rule = Rule(keep, min_age, now or datetime.now(UTC))
    if dry_run:
        return plan(home, rule)
    with (
        locked(make_room(home.make().root) / LOCK, mode=PRIVATE),  # of two at once the second finds little to do
        deleting(home),
    ):
        refresh(home)
        found: dict[str, Entry] = {}
        links: dict[str, list[Link]] = {}
        spared: dict[str, str] = {}
        for kinds in (
            ("generation",),
            ("encoder", "adapter"),
            ("snapshot",),
            ("record", "report", "lists", "checkpoint"),
        ):
            going = plan(home, rule).goes
            for entry in going:  # all before the first goes, which may take others along
                if entry.place not in found:
                    found[entry.place], links[entry.place] = entry, links_of(home.root / entry.place)
            for entry in going:
                if entry.kind in kinds:
                    why = _removed(partial(_REMOVE[entry.kind], home, rule, entry))
                    if why is not None:
                        spared[entry.place] = why
        clean_up(home)  # tables, and what ended processes have left
        withdraw_tables(home)
        sweep(home)
        gone = [entry for place, entry in found.items() if not (home.root / place).exists()]
        after = plan(home, rule)
    left = (
        Entry(one.kind, one.name, one.place, one.bytes, spared.get(one.place, "in use; goes another time"))
        for one in after.goes
    )
    return Retention(_sized(gone, links, occupied.freed), _ordered([*after.stays, *left]))


def _removed(remove: Callable[[], None]) -> str | None:
    """Remove something; return why it is still there, or None."""
    try:
        remove()
    except BlockingIOError:
        return "a process has begun to read it"
    except ArtifactError as error:
        return str(error)
    except FileNotFoundError:
        pass
    return None


def _generation(home: Home, rule: Rule, entry: Entry) -> None:
    @contextmanager
    def needed_by_nobody() -> Iterator[None]:
        with unheld(home.root / entry.place):
            check_generation(home, rule, entry.name)
            yield

    release_index(home, discard_generation(home, entry.name, needed_by_nobody))


def _encoder(home: Home, _rule: Rule, entry: Entry) -> None:
    with locked(home.encoders / ".lock"):  # nobody exports or opens one meanwhile; one that is open stays mapped
        discard_folder(home.root / entry.place)


def _adapter(home: Home, _rule: Rule, entry: Entry) -> None:
    with steady_names(home, ADAPTER), unheld(home.root / entry.place):
        bound = [one.id for one in list_generations(home) if entry.name in (one.adapter, one.search_adapter)]
        if bound or any(read_names(home, ADAPTER).of(entry.name).values()):
            raise ArtifactError("bound or named meanwhile")
        discard_stored(home, ADAPTERS, entry.name)
    forget_names(home, ADAPTER, entry.name)


def _snapshot(home: Home, _rule: Rule, entry: Entry) -> None:
    with unheld(home.root / entry.place):
        if any(one.snapshot == entry.name for one in list_generations(home)):
            raise ArtifactError("bound meanwhile")
        discard_stored(home, SNAPSHOTS, entry.name)
        discard_sequences(home, entry.name)
        discard_counted(home, entry.name)


def _run(home: Home, _rule: Rule, entry: Entry) -> None:
    path = home.root / entry.place
    made = [entry.name] if entry.kind == "report" else _made(path) if entry.kind == "record" else []
    rooms = (home.generations, home.adapters)
    if made and all(any((room / one).exists() for room in rooms) for one in made):
        raise ArtifactError("made anew meanwhile")
    with unheld(path) if entry.kind == "lists" else nullcontext():
        discard_folder(path) if path.is_dir() else path.unlink()


_REMOVE: dict[str, Callable[[Home, Rule, Entry], None]] = {
    "generation": _generation,
    "encoder": _encoder,
    "adapter": _adapter,
    "snapshot": _snapshot,
    **dict.fromkeys(("record", "report", "lists", "checkpoint"), _run),
}


def _entries(home: Home, rule: Rule, kept: Standing) -> Iterator[tuple[Entry, bool]]:
    """Yield everything that lies in a home, and whether it stays."""
    for kind, room, marker, reasons in (
        ("generation", home.generations, MANIFEST, kept.generations),
        ("adapter", home.adapters, CARD, kept.adapters),
        ("snapshot", home.snapshots, MANIFEST, kept.snapshots),
    ):
        for name in stored_ids(room, marker):
            why = reasons.get(name)
            yield _entry(home, kind, name, room / name, why or "nothing needs it"), why is not None
    yield from _encoders(home, rule, kept)
    yield from _tables(home, kept)
    yield from _runs(home, rule, kept)
    for path in home.root.rglob(f"{STAGING_PREFIX}*"):
        held = is_held(path)
        why = "a process writes it" if held else "a process that ended has left it"
        yield _entry(home, "leftover", path.name, path, why), held
    pruned = {home.generations, home.adapters, home.snapshots, home.encoders, home.lance, home.runs}
    for path in home.root.glob("*"):
        if path not in pruned and not path.name.startswith(STAGING_PREFIX):
            yield _entry(home, "other", path.name, path, "not pruned"), True


def _encoders(home: Home, rule: Rule, kept: Standing) -> Iterator[tuple[Entry, bool]]:
    for name in stored_ids(home.encoders, ENCODER_CARD):
        folder = home.encoders / name
        try:
            card = read_json(folder / ENCODER_CARD)
            adapter, base = card.get("adapter"), card.get("base_digest")
        except (ArtifactError, AttributeError):
            yield _entry(home, "encoder", name, folder, "cannot be read, and can be made again"), False
            continue
        if adapter is not None:
            stays, why = adapter in kept.adapters, f"adapter {adapter}"
        else:
            dated = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
            stays, why = base in kept.bases or rule.is_young(folder, dated), "base"
        yield _entry(home, "encoder", name, folder, f"of its {why}" if stays else f"its {why} is needed no more"), stays


def _tables(home: Home, kept: Standing) -> Iterator[tuple[Entry, bool]]:
    for path in home.lance.glob("items-*"):
        table = path.name.removesuffix(".lance") if path.suffix == ".lance" else path.name.rpartition("-")[0]
        why = kept.tables.get(table)
        held = any(is_held(vectors) for vectors in home.lance.glob(f"{table}-*.npy"))
        reason = why or ("a process reads it" if held else "no generation that stays searches it")
        yield _entry(home, "table", path.name.removesuffix(".lance"), path, reason), bool(why or held)


def _runs(home: Home, rule: Rule, kept: Standing) -> Iterator[tuple[Entry, bool]]:
    for path in home.runs.glob("[!.]*"):
        idle = rule.now - _last_written(path)
        if path.name.startswith(REPORT):
            name = path.stem.removeprefix(REPORT)
            stays = name in kept.generations
            yield (
                _entry(home, "report", name, path, f"of generation {name}" if stays else "its generation is gone"),
                stays,
            )
        elif path.name.startswith(WATCHED):
            stays = idle < UNFINISHED
            why = "of what was watched" if stays else f"written {idle.days} days ago"
            yield _entry(home, "report", path.name, path, why), stays
        elif path.name.startswith(LISTS):
            held = is_held(path)
            stays = held or idle < UNFINISHED
            why = "a process writes it" if held else "lists of users" if stays else f"written {idle.days} days ago"
            yield _entry(home, "lists", path.name, path, why), stays
        elif not path.name.startswith(RECORDS):
            yield _entry(home, "other", path.name, path, "not pruned"), True
        elif path.suffix == ".json":
            made = _made(path)
            stays = all(one in kept.generations or one in kept.adapters for one in made) and (
                bool(made) or idle < UNFINISHED
            )
            yield (
                _entry(home, "record", path.stem, path, "finds what was made" if stays else "what it made is gone"),
                stays,
            )
        else:
            done = path.with_suffix(".json").is_file()
            stays = idle < max(rule.min_age, timedelta(0) if done else UNFINISHED)
            why = (
                "the same training would go on from it"
                if stays
                else f"{'finished' if done else 'left'} {idle.days} days ago"
            )
            yield _entry(home, "checkpoint", path.stem, path, why), stays


def _made(record: Path) -> list[str]:
    """Return the ids of the generation and the adapter that a record names; none where it cannot be read."""
    try:
        values = read_json(record)
        return [str(values[name]) for name in ("generation", "adapter") if values.get(name)]
    except (ArtifactError, AttributeError):
        return []


def _last_written(path: Path) -> datetime:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return datetime.fromtimestamp(max(file.lstat().st_mtime for file in files), UTC)


def _entry(home: Home, kind: Any, name: str, path: Path, why: str) -> Entry:
    return Entry(kind, name, path.relative_to(home.root).as_posix(), 0, why)


def _sized(
    entries: list[Entry],
    links: Mapping[str, list[Link]],
    count: Callable[[Sequence[Sequence[Link]]], list[int]],
) -> tuple[Entry, ...]:
    """Return entries in their order, with their bytes."""
    ordered = _ordered(entries)
    sizes = count([links[entry.place] for entry in ordered])
    return tuple(replace(entry, bytes=size) for entry, size in zip(ordered, sizes, strict=True))


def _ordered(entries: list[Entry] | Any) -> tuple[Entry, ...]:
    order = get_args(Kind)
    return tuple(sorted(entries, key=lambda entry: (order.index(entry.kind), entry.place)))
