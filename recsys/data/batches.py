"""Tables of any size, read in batches that fit into memory, each as it would be in the whole table.

What a column of text holds depends on all of its values: numbers where each is one. So a large file of text is looked
through first for a row that speaks against each type, and every batch is read with those rows before it.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.config import LimitsConfig
from recsys.data import columns
from recsys.data import sources as reading
from recsys.data.compact import compact
from recsys.data.kept import IDS
from recsys.data.limits import Budget, UnreadableError
from recsys.data.locations import HTTP, Sources, scheme_of, shown
from recsys.data.notation import PLAIN, Notation
from recsys.data.parsing import DECIMALS, MARKED, MARKS, NO_NUMBERS
from recsys.data.since import Since
from recsys.data.sources import FILE, ROW, Location, read_table

BATCH_ROWS = 250_000
SMALL_ROWS = 500_000  # of Parquet, which are read in one go
SMALL_BYTES = 32 << 20  # likewise of text that is not packed
_HEAD_ROWS = 1_000
_PACKING = 10  # times that packed text may grow, to be small all the same
_ALL = Since(None)
_WHOLE, _NUMBER, _FLAG = r"^(0|-?[1-9]\d{0,17})$", r"^-?(0|[1-9]\d{0,17})(\.\d+)?$", r"^(?i:true|false)$"
_FLOAT_ID = r"^-?\d+\.0+$"


def read_batches(
    location: Location,
    mapping: Mapping[str, str],
    limits: LimitsConfig,
    allowed: Sources,
    notation: Notation = PLAIN,
    since: Since = _ALL,
) -> Iterator[pl.DataFrame]:
    """Yield all rows of a table of events as ``read_table`` gives them, all with the same columns.

    Large Parquet files are asked for the rows alone that ``since`` may want.

    Raises:
        SourceError: see ``read_table``; a table need not fit into memory, unless ``limits`` says how much it may take.
    """
    if isinstance(location, pl.DataFrame):
        table = read_table(location, "events", mapping, limits, allowed, notation)
        yield from (table[start : start + BATCH_ROWS] for start in range(0, table.height, BATCH_ROWS))
        return
    if not shown(str(location)):
        read_table(location, "events", mapping, limits, allowed, notation)  # raises
    budget = Budget(limits, reading.INGEST_LIMITS, in_parts=True)
    with closing(reading.found_at(str(location), "events", allowed, budget)) as found:
        sources = [next(found)]
        if scheme_of(str(location)) not in HTTP:  # what was fetched is there until the next is asked for
            sources += found
        if _small(sources):
            tables = [
                reading.conform(reading.read_source(one, budget), one, "events", mapping, notation) for one in sources
            ]
            yield _some(reading.stack(tables, shown(str(location))), shown(str(location)))
            return
        yield from _streamed(sources, mapping, notation, budget, shown(str(location)), since)


def _streamed(
    sources: list[reading.Source],
    mapping: Mapping[str, str],
    notation: Notation,
    budget: Budget,
    named: str,
    since: Since,
) -> Iterator[pl.DataFrame]:
    files = []
    for source in sources:
        with _told(source):
            if not source.remote:
                reading.refuse_empty(source)
                budget.admit(source.name, Path(source.path), source.form)
            files.append(_File.of(source, mapping, notation, budget))
    schema = reading.stack([one.like for one in files], named).clear()
    rows = -since.passed_over
    for file in files:
        for batch in file.batches(budget, since):
            rows += batch.height
            if not batch.is_empty():
                yield reading.stack([schema, batch], named)
    if not rows + since.passed_over:
        _some(schema, named)


def _some(table: pl.DataFrame, named: str) -> pl.DataFrame:
    if table.is_empty():
        raise reading.SourceError(f"{named} holds no rows of events. Give a table with at least one.")
    return table


@dataclass(frozen=True, eq=False)
class _File:
    """A source that is read in parts.

    Attributes:
        source: what it is.
        scan: all its rows as they are written.
        mapping: contract name → name in it.
        notation: how times and numbers are written.
        witnesses: rows that speak against types that only some rows seem to have.
        like: a few rows or none, with the columns of all parts; where nothing stands in one, nothing does in the file.
    """

    source: reading.Source
    scan: pl.LazyFrame
    mapping: Mapping[str, str]
    notation: Notation
    witnesses: pl.DataFrame
    like: pl.DataFrame

    @classmethod
    def of(cls, source: reading.Source, mapping: Mapping[str, str], notation: Notation, budget: Budget) -> "_File":
        scan = reading.scan_source(source)
        budget.count_columns(source.name, len(scan.collect_schema()))
        reading.refuse_patterns(source.name, pl.DataFrame(schema=scan.collect_schema()))
        witnesses = _witnesses(scan, source, mapping)
        head = pl.concat([witnesses, scan.head(1).collect()])
        like = reading.conform(reading.completed(head, source), source, "events", mapping, notation)
        like = like.clear() if source.form == "Parquet" else like  # which has types where it has no values
        return cls(source, scan, mapping, notation, witnesses, like)

    def batches(self, budget: Budget, since: Since) -> Iterator[pl.DataFrame]:
        first: dict[str, int] = {}
        with _told(self.source):
            scan = self._wanted(since)
            if self.source.remote and scan is not self.scan:  # the first row of a file may be left out
                starts = self.scan.select(FILE, ROW).group_by(FILE).agg(pl.col(ROW).min())
                first = dict(starts.collect(engine="streaming").iter_rows())
            for part in scan.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                budget.check(self.source.name, part.drop(FILE, ROW))
                if self.source.remote:
                    for file, row in part.group_by(FILE).agg(pl.col(ROW).min()).iter_rows():
                        first.setdefault(file, row)
                yield self._conformed(part, first)

    def _wanted(self, since: Since) -> pl.LazyFrame:
        name = self.mapping.get(columns.TIMESTAMP, columns.TIMESTAMP)
        return since.among(self.scan, name) if self.source.form == "Parquet" else self.scan

    def _conformed(self, part: pl.DataFrame, first: Mapping[str, int]) -> pl.DataFrame:
        rows = reading.completed(pl.concat([self.witnesses, part]), self.source, first)
        before = reading.completed(self.witnesses, self.source, first).height
        return reading.conform(rows, self.source, "events", self.mapping, self.notation)[before:]


def _small(sources: list[reading.Source]) -> bool:
    """Tell whether a table is read in one go."""
    if any(source.remote for source in sources):
        return False
    rows = size = 0
    for source in sources:
        path = Path(source.path)
        if source.form == "Parquet":
            try:
                rows += pl.scan_parquet(reading.glob_free(path)).select(pl.len()).collect().item()
            except (pl.exceptions.PolarsError, OSError):
                return True  # it cannot be read either way, and is told then
        else:
            packed = source.name.lower().endswith((".gz", ".zst"))
            size += path.stat().st_size * (_PACKING if packed else 1)
    return rows <= SMALL_ROWS and size <= SMALL_BYTES


@contextmanager
def _told(source: reading.Source) -> Iterator[None]:
    """Say what is wrong with a file as ``read_table`` does."""
    told = passing = False
    try:
        yield
        return
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnreadableError, OSError) as error:
        failure, told = str(error), isinstance(error, UnreadableError)
        passing = source.remote and isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    raise (reading.UnreachableError if passing else reading.SourceError)(reading.unreadable(source, failure, told))


def _witnesses(scan: pl.LazyFrame, source: reading.Source, mapping: Mapping[str, str]) -> pl.DataFrame:
    """Return rows that speak against each type that a column might seem to have in a part, the first that do.

    Most show among a file's first rows; the whole file is looked through for the others alone.
    """
    schema, called = scan.collect_schema(), {origin: name for name, origin in mapping.items()}
    wanted = []
    for name, kind in schema.items():
        contract = called.get(name, name)
        value = pl.col(name)
        if name in (FILE, ROW) or (contract == columns.TIMESTAMP):
            continue
        if contract in IDS:
            if kind == pl.String:
                wanted.append(value.is_not_null() & ~value.str.contains(_FLOAT_ID))
            elif kind.is_float():
                wanted.append(value.is_not_null() & (~value.is_finite() | (value != value.floor())))
        elif kind == pl.String and source.form != "Parquet":
            absent = value.str.strip_chars().is_in(NO_NUMBERS)
            present = value.is_not_null() & ~absent
            written = (_WHOLE, _NUMBER, _FLAG, MARKED, *(pattern for _, pattern, _ in DECIMALS))
            against = [present & ~value.str.contains(pattern) for pattern in written]
            shown = [present & value.str.contains(pattern) for pattern in (MARKS, *(seen for *_, seen in DECIMALS))]
            wanted += [present, absent, *against, *shown]
    if not wanted:
        return scan.head(0).collect()
    rows = [pl.when(one).then(pl.col(ROW)).min().alias(str(number)) for number, one in enumerate(wanted)]
    head = scan.head(_HEAD_ROWS).collect()
    found = head.select(rows).row(0)
    left = [row for row, there in zip(rows, found, strict=True) if there is None]
    if not left:
        return compact(head.filter(pl.col(ROW).is_in(found)))
    found += scan.select(left).collect(engine="streaming").row(0)
    meant = sorted({row for row in found if row is not None})
    return compact(scan.filter(pl.col(ROW).is_in(meant)).collect(engine="streaming").sort(ROW))
