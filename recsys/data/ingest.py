"""From raw files to a snapshot: read the tables, set bad rows aside, and write what is good, or refuse."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import polars as pl

from recsys.config import IngestConfig
from recsys.data import columns
from recsys.data.attributes import Values, attribute_names, unused_of
from recsys.data.batches import read_batches
from recsys.data.earlier import EarlierEvents, with_earlier
from recsys.data.findings.gathered import profiles
from recsys.data.findings.look import Look
from recsys.data.forgetting import Forgotten
from recsys.data.live import LiveTables, joined_items, joined_marks, joined_users
from recsys.data.locations import Sources
from recsys.data.manifest import Appended, LiveMark
from recsys.data.notation import Notation
from recsys.data.quality import Allowed, QualityError, QualityReport, TableQuality
from recsys.data.segments.building import Building, EventTable
from recsys.data.segments.room import Room
from recsys.data.set_aside import SetAside
from recsys.data.sieve import Complete, EventSieve, unchanged
from recsys.data.sifting import cleared, event_checks, item_checks, quality_of, sift, user_checks, without_duplicates
from recsys.data.signals import suggested
from recsys.data.since import Since
from recsys.data.snapshot import Snapshot, write_snapshot
from recsys.data.sources import Kind, Location, read_table
from recsys.errors import DataError
from recsys.home import Home

_DEFAULT = IngestConfig()
_NOBODY = Forgotten()


@dataclass(frozen=True)
class _Checked:
    """All tables, as they were checked.

    Attributes:
        report: what was read and set aside.
        events: good ones.
        items: likewise.
        users: likewise; None: nothing is known of them.
        mark: what of the tables was collected while the service ran.
        appended: what joined an earlier snapshot; None: there was none.
    """

    report: QualityReport
    events: EventTable
    items: pl.DataFrame
    users: pl.DataFrame | None
    mark: LiveMark | None
    appended: Appended | None


def ingest(
    events: Location | None,
    items: Location | None,
    home: Home,
    config: IngestConfig = _DEFAULT,
    now: datetime | None = None,
    forgotten: Forgotten = _NOBODY,
    complete_events: Complete = unchanged,
    complete_items: Complete = unchanged,
    users: Location | None = None,
    live: LiveTables | None = None,
    append: Snapshot | None = None,
    since: datetime | None = None,
) -> Snapshot:
    """Turn raw events, items and users into a snapshot; the same content, in any order and format, gives the same one.

    Args:
        events: where the events are: a file, a folder, a glob or a URL; or a frame of them; None: none join ``append``.
        items: where the items are, likewise.
        home: the state to write the snapshot to.
        config: column names, and how much may be set aside.
        now: with a time zone; an event after it is in the future. The clock's time by default.
        forgotten: whose events and attributes go neither into the snapshot nor into its quarantine.
        complete_events: fills in what good events lack.
        complete_items: fills in what good items lack.
        users: where the users and their attributes are, likewise; None: nothing is known of them but their events.
        live: what was collected while the service ran, which joins what the sources hold; None: nothing does.
        append: a snapshot that the tables join, which stays as it is; None: they are all there is. What results is what
            one ingest of all rows gives, but for rows that the earlier one has set aside.
        since: rows before that time are passed over, good ones and bad ones; None: none is. Of large Parquet files what
            their statistics exclude is not read.

    Raises:
        SourceError: a table cannot be read, or may not be, or is too large.
        DataError: there is no table, and no snapshot that it could be left out for.
        QualityError: more rows are bad than ``max_quarantined_share`` allows, or repeat others than
            ``max_duplicate_share``, or none is good.
        ArtifactError: the same content was ingested before, and that snapshot has been damaged since.
    """
    if append is None and (events is None or items is None):
        raise DataError("Events and items are needed for a snapshot; either can be left out where others join one.")
    if append is not None and config.context_columns is None and append.manifest.context is not None:
        config = replace(config, context_columns=tuple(append.manifest.context))
    sources = Sources.from_environment().with_folder(home.cache)  # where what the library fetches itself lies
    with Room.of(home) as room:
        set_aside = SetAside(room)
        given = _Given(events, items, users, config, _latest(config, now), sources, forgotten, live, append, since)
        checked = _check(given, room, set_aside, complete_events, complete_items)
        report = checked.report
        if report.refusal():
            raise QualityError(report)
        return write_snapshot(
            home,
            checked.events,
            checked.items,
            set_aside,
            report.tables,
            config,
            checked.users,
            report.unused,
            report.unused_context,
            checked.mark,
            checked.appended,
        )


def validate(
    events: Location,
    items: Location,
    config: IngestConfig = _DEFAULT,
    now: datetime | None = None,
    users: Location | None = None,
    before: Snapshot | None = None,
) -> QualityReport:
    """Check raw tables as ``ingest`` does, and write nothing; ``report.refusal()`` says what it would refuse.

    What is good is looked through as well: for what is odd about it, alone and beside the snapshot ``before`` it.

    Raises:
        SourceError: a table cannot be read.
    """
    given = _Given(events, items, users, config, _latest(config, now), Sources.from_environment())
    look = Look()
    with Room.elsewhere() as room:
        checked = _check(given, room, SetAside(room), keep=False, look=look)
    odd = look.findings(checked.items, checked.users, profiles(before))
    return replace(checked.report, findings=odd, distributions=look.distributions(checked.items))


@dataclass(frozen=True, eq=False)
class _Given:
    """What is checked; see ``ingest``. ``latest``: the latest time that is not the future."""

    events: Location | None
    items: Location | None
    users: Location | None
    config: IngestConfig
    latest: datetime
    sources: Sources
    forgotten: Forgotten = _NOBODY
    live: LiveTables | None = None
    append: Snapshot | None = None
    since: datetime | None = None

    def table(self, location: Location, kind: Kind) -> pl.DataFrame:
        """Read one table whole."""
        mapping = {"items": self.config.item_columns, "users": self.config.user_columns or {}}[kind]
        return read_table(location, kind, mapping, self.config.limits, self.sources, Notation.of(self.config))


def _latest(config: IngestConfig, now: datetime | None) -> datetime:
    return (now or datetime.now(UTC)).astimezone(UTC) + timedelta(seconds=config.future_tolerance_seconds)


def _check(
    given: _Given,
    room: Room,
    set_aside: SetAside,
    complete_events: Complete = unchanged,
    complete_items: Complete = unchanged,
    keep: bool = True,
    look: Look | None = None,
) -> _Checked:
    """Check all tables; ``keep``: write the events, unless there are too many bad ones; ``look`` is fed with them."""
    config, live, forgotten, before = given.config, given.live, given.forgotten, given.append
    qualities: list[TableQuality] = []
    items = _joined(given, given.items, "items", None if before is None else before.items(), set_aside, qualities)
    if items is None:
        raise DataError("There are no items, and no snapshot that has any.")
    changed = told = 0
    if live is not None:
        items, changed = joined_items(items, live.items)
    earlier = None if before is None else EarlierEvents(before, forgotten)
    checks = event_checks(items[columns.ITEM_ID], given.latest)
    since = Since(given.since)
    sieve = EventSieve(room, set_aside, checks, config.context_columns or (), earlier, since)
    if live is not None:
        sieve.expect(forgotten.remain(live.known(items[columns.ITEM_ID], given.latest)))
    if given.events is not None:
        notation = Notation.of(config)
        for batch in read_batches(given.events, config.event_columns, config.limits, given.sources, notation, since):
            sieve.add(forgotten.remain(batch))
    known_users = None if before is None else before.users()
    users, unused = None, {}
    if given.users is not None or known_users is not None:
        users = _joined(given, given.users, "users", known_users, set_aside, qualities)
        if live is not None and users is not None:
            said = {name: one for name, one in live.users.items() if (forgotten.when(name) or -1) < one.time}
            users, told = joined_users(users, said)
    if users is not None:
        unused = unused_of({name: Values.of(users[name]) for name in attribute_names(users)})
    allowed, aside = Allowed.by(config), set_aside
    refused = QualityReport(_of(given, sieve, qualities), aside.table, allowed).refusal()
    segments = None if earlier is None else earlier.segments
    building = Building(room, keep and not refused, segments, None if earlier is None else sieve.like)
    units = sieve.units(unchanged if refused else complete_events)
    events = building.build(units if look is None else _seen(units, look))
    kinds, context = suggested(sieve.kinds), sieve.unused_context()
    report = QualityReport(_of(given, sieve, qualities), aside.table, allowed, events.repeats, kinds, unused, context)
    complete = items if report.refusal() else complete_items(items)
    mark = None if live is None else live.mark(sieve.joined, changed, told)
    mark = mark if before is None else joined_marks(before.manifest.live, mark)
    appended = None if before is None or earlier is None else _appended(before, earlier, sieve, complete, events)
    return _Checked(report, events, complete, users, mark, appended)


def _seen(units: Iterable[pl.DataFrame], look: Look) -> Iterator[pl.DataFrame]:
    for unit in units:
        look.update(unit)
        yield unit


def _of(given: _Given, sieve: EventSieve, others: list[TableQuality]) -> tuple[TableQuality, ...]:
    """Return the quality of the tables that were read."""
    return (*(() if given.events is None else (sieve.quality,)), *others)


def _joined(
    given: _Given,
    location: Location | None,
    kind: Kind,
    earlier: pl.DataFrame | None,
    set_aside: SetAside,
    qualities: list[TableQuality],
) -> pl.DataFrame | None:
    """Return the good rows of items or users, with those of a snapshot; of one id the newest stays."""
    if kind == "users" and earlier is not None:
        earlier = given.forgotten.remain(earlier, columns.UPDATED_AT)
    if location is None:
        return earlier
    raw = given.table(location, kind)
    raw = given.forgotten.remain(raw, columns.UPDATED_AT) if kind == "users" else raw
    if raw.is_empty():  # everybody in it may be forgotten
        return earlier
    sifted = sift(raw, kind, item_checks() if kind == "items" else user_checks())
    good, repeated = without_duplicates(with_earlier(sifted.good, earlier), kind, raw.schema)
    qualities.append(quality_of(kind, raw.height, sifted.reasons + repeated.reasons))
    for part in (sifted, repeated):
        set_aside.add(part.quarantine)
    return cleared(good)


def _appended(
    before: Snapshot, earlier: EarlierEvents, sieve: EventSieve, items: pl.DataFrame, events: EventTable
) -> Appended:
    """Return what a manifest says of what has joined a snapshot."""
    old = before.items()
    same = old.columns == items.columns and old.schema == items.schema
    changed = items.join(old, on=items.columns, how="anti", nulls_equal=True).height if same else items.height
    return Appended(
        before.id,
        earlier.watermark,
        sieve.good,
        sieve.known,
        sieve.late,
        sieve.passed_over,
        changed,
        len(events.shared),
    )
