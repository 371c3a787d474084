"""What of a home stays, and why: what is served, named, read or young, and what any of that stands on.

One way, as the data goes: generations first, then adapters that somebody can go on from, the snapshots of both, the
classifiers that completed these, and last the adapters that all of them began with.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.artifacts import MANIFEST, ArtifactError, is_held, last_used, made_at, read_each
from recsys.errors import SettingError
from recsys.home import Home
from recsys.store import adapters, generations
from recsys.store.adapters import list_adapters
from recsys.store.generations import current_id, earlier_ids, list_generations
from recsys.store.manifests import CARD, CLASSIFICATION, IMPORTED, MERGED, PRETRAINING, RECOMMENDATION, AdapterCard
from recsys.store.manifests import GenerationManifest as Generation
from recsys.store.names import ADAPTER, GENERATION, Names, read_names
from recsys.store.shadow import read_shadow

if TYPE_CHECKING:
    from recsys.data.manifest import SnapshotManifest

KEEP = 2  # generations
LEAST = 2  # what is served, and what a rollback goes back to
MIN_AGE = timedelta(days=1)


@dataclass(frozen=True)
class Rule:
    """What stays though nothing needs it now.

    Attributes:
        keep: how many of the newest generations, and how many of those that were served last, the current one counted.
        min_age: what was made, or found again, within this time.
        now: with a time zone.

    Raises:
        SettingError: so few generations leave no way back, or an age is below 0.
    """

    keep: int = KEEP
    min_age: timedelta = MIN_AGE
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if self.keep < LEAST:
            raise SettingError(f"keep is {self.keep}; it takes at least {LEAST}: rollback needs the one before.")
        if self.min_age < timedelta(0):
            raise SettingError("An age is below 0; it takes hours, at least 0.")

    def is_young(self, folder: Path, made: datetime) -> bool:
        """Tell whether something is too young to go. What is dated in the future is: a clock has gone back."""
        return self.now - last_used(folder, made) < self.min_age

    @property
    def young(self) -> str:
        """Why what is young stays."""
        return f"made or used less than {self.min_age.total_seconds() / 3_600:g} hours ago"


@dataclass(frozen=True)
class Standing:
    """Why each artifact of a home stays, by its id. What is none of these is needed by nobody.

    Attributes:
        generations: those that cannot be read among them, since nobody knows what they are.
        adapters: likewise.
        snapshots: likewise.
        tables: of LanceDB, by name.
        bases: digests of the bases of all adapters that stay.
        unreadable: ids of generations for whose sake no adapter and no snapshot goes: they may stand on any.
    """

    generations: dict[str, str]
    adapters: dict[str, str]
    snapshots: dict[str, str]
    tables: dict[str, str]
    bases: frozenset[str]
    unreadable: tuple[str, ...]


def standing(home: Home, rule: Rule) -> Standing:
    """Tell what of a home stays.

    Raises:
        ArtifactError: the pointer, the shadow's state or a file of names is broken; nothing can be told then.
    """
    found = {one.id: one for one in list_generations(home)}
    unreadable = tuple(sorted(stored_ids(home.generations, MANIFEST) - found.keys()))
    kept = _generations(home, rule, found)
    bound = {generation_id: found[generation_id] for generation_id in kept}
    cards = {one.id: one for one in list_adapters(home)}
    own = _adapters(home, rule, cards, bound)
    snapshots = _snapshots(home, rule, bound, [cards[one] for one in own if one in cards])
    manifests = {one.id: one for one in list_manifests(home)}
    stays = own | {
        adapter_id: why
        for adapter_id, why in _completing([manifests[one] for one in snapshots if one in manifests], cards)
        if adapter_id not in own
    }
    for adapter_id in list(stays):
        parent = cards[adapter_id].parent
        if parent in cards and parent not in stays:
            stays[parent] = f"adapter {adapter_id} began with it"
    lost = "cannot be read, so nobody knows whether it is needed"
    if unreadable:
        why = f"generation {unreadable[0]} cannot be read, and may stand on it"
        stays = dict.fromkeys(cards, why) | stays
        snapshots = dict.fromkeys(manifests, why) | snapshots
    return Standing(
        generations=kept | dict.fromkeys(unreadable, lost),
        adapters=stays | dict.fromkeys(stored_ids(home.adapters, CARD) - cards.keys(), lost),
        snapshots=snapshots | dict.fromkeys(stored_ids(home.snapshots, MANIFEST) - manifests.keys(), lost),
        tables={one.index.table: f"generation {one.id} searches it" for one in reversed(bound.values())},
        bases=frozenset(cards[one].base_digest or "" for one in stays),
        unreadable=unreadable,
    )


def stored_ids(room: Path, marker: str) -> set[str]:
    """Return the names of all folders of a room that hold a file of a name."""
    return {path.parent.name for path in room.glob(f"[!.]*/{marker}")}


def list_manifests(home: Home) -> "list[SnapshotManifest]":
    """Return the manifests of all snapshots, the oldest first, without opening any: nobody holds one by that."""
    from recsys.data.manifest import SnapshotManifest  # Polars, which whoever lists flows has no use for

    found = read_each(
        home.snapshots, MANIFEST, lambda name: SnapshotManifest.read(home.snapshots / name / MANIFEST, "Ingest again.")
    )
    return sorted(found, key=lambda one: (snapshot_made(home, one), one.id))


def snapshot_made(home: Home, manifest: "SnapshotManifest") -> datetime:
    """Return when a snapshot was written (UTC)."""
    return made_at(manifest.made, home.snapshots / manifest.id / MANIFEST)


def check_generation(home: Home, rule: Rule, generation_id: str) -> None:
    """Look once more, when neither pointer nor names can move.

    Raises:
        ArtifactError: it is to stay by now.
    """
    why = _pointed_at(home, rule).get(generation_id) or _named(read_names(home, GENERATION), generation_id)
    if why:
        raise ArtifactError(why)


def _generations(home: Home, rule: Rule, found: Mapping[str, Generation]) -> dict[str, str]:
    names, pointed = read_names(home, GENERATION), _pointed_at(home, rule)
    made = {one.id: generations.when_made(home, one) for one in found.values()}
    newest = sorted(found, key=lambda one: (made[one], one))[-rule.keep :]

    def reasons(one: str) -> Iterator[str | None]:
        yield pointed.get(one)
        yield _named(names, one)
        yield _read(home.generations / one)
        yield f"among the newest {rule.keep}" if one in newest else None
        yield rule.young if rule.is_young(home.generations / one, made[one]) else None

    return _with_reason(found, reasons)


def _pointed_at(home: Home, rule: Rule) -> dict[str, str]:
    pointed = dict.fromkeys(earlier_ids(home)[: rule.keep - 1], f"among the last {rule.keep} that were served")
    shadow, served = read_shadow(home), current_id(home)
    if shadow is not None:
        pointed[shadow.generation] = "the shadow"
    return pointed if served is None else pointed | {served: "served"}


def _adapters(
    home: Home, rule: Rule, cards: Mapping[str, AdapterCard], bound: Mapping[str, Generation]
) -> dict[str, str]:
    names = read_names(home, ADAPTER)
    made = {one.id: adapters.when_made(home, one) for one in cards.values()}
    order = sorted(cards, key=lambda one: (made[one], one))
    # products by themselves, with no generation that would keep them; and what nobody here can make again
    newest = {
        one
        for task in (CLASSIFICATION, PRETRAINING, MERGED)
        for one in [one for one in order if cards[one].task == task][-rule.keep :]
    }
    needed: dict[str, str] = {}
    for generation_id, manifest in bound.items():
        for one in (manifest.adapter, manifest.search_adapter):
            needed.setdefault(str(one), f"generation {generation_id} stands on it")
        began = manifest.settings.get("adapter", {}).get("pretrained")
        needed.setdefault(str(began), f"generation {generation_id} began with it")

    def reasons(one: str) -> Iterator[str | None]:
        yield needed.get(one)
        yield _named(names, one)
        yield _read(home.adapters / one)
        yield "imported" if cards[one].task == IMPORTED else None
        yield f"among the newest {rule.keep} of its task" if one in newest else None
        yield rule.young if rule.is_young(home.adapters / one, made[one]) else None

    return _with_reason(cards, reasons)


def _snapshots(home: Home, rule: Rule, bound: Mapping[str, Generation], cards: list[AdapterCard]) -> dict[str, str]:
    manifests = {one.id: one for one in list_manifests(home)}
    # a training that goes on from an adapter reads what that has learnt from
    needed = {str(one.snapshot): f"adapter {one.id} learnt from it" for one in cards if one.task == RECOMMENDATION}
    needed |= {one.snapshot: f"generation {one.id} stands on it" for one in bound.values()}

    def reasons(one: str) -> Iterator[str | None]:
        yield needed.get(one)
        yield _read(home.snapshots / one)
        yield "the newest" if one == list(manifests)[-1] else None
        young = rule.is_young(home.snapshots / one, snapshot_made(home, manifests[one]))
        yield rule.young if young else None

    return _with_reason(manifests, reasons)


def _completing(manifests: "list[SnapshotManifest]", cards: Mapping[str, AdapterCard]) -> Iterator[tuple[str, str]]:
    """Yield the classifiers that the ingest settings of snapshots name, and why each stays."""
    for manifest in manifests:
        for part in ("reviews", "categories"):
            named = (manifest.config.get(part) or {}).get("adapter")
            for adapter_id in cards:
                if named and adapter_id.startswith(named):  # an alias, by which it stays anyway, begins no id
                    yield adapter_id, f"snapshot {manifest.id} was completed by it"


def _named(names: Names, one: str) -> str | None:
    given = names.of(one)
    if given["aliases"]:
        return f"called {', '.join(given['aliases'])}"
    if given["tags"]:
        return f"tagged {', '.join(given['tags'])}"
    return "somebody has written a note about it" if given["note"] else None


def _read(folder: Path) -> str | None:
    return "a process reads it" if is_held(folder) else None


def _with_reason(found: Mapping[str, Any], reasons: Callable[[str], Iterator[str | None]]) -> dict[str, str]:
    """Return the first reason of each that has one."""
    first = {one: next(filter(None, reasons(one)), None) for one in found}
    return {one: why for one, why in first.items() if why is not None}
