"""What is told of rows that were set aside: how many of each table, why, and whether that is too many."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from recsys.config import IngestConfig, SignalConfig
from recsys.data import columns
from recsys.data.repeats import Repeats
from recsys.errors import DataError

if TYPE_CHECKING:  # both look at what is good
    from recsys.data.distributions import Distribution
    from recsys.data.findings.finding import Finding

DUPLICATES = 0.5  # share of a table's rows that may be, unless settings say otherwise
MAX_SHOWN = 60  # characters of a bad value in a message
DUPLICATE, SAME_ID = "duplicate event", "another row has this id"  # reasons by which one of several rows stays

QUARANTINE_SCHEMA = pl.Schema(
    {
        "table": pl.String,
        "file": pl.String,
        "row": pl.UInt64,
        "column": pl.String,
        "reason": pl.String,
        "content": pl.String,  # the row as it was read, as a JSON object
    }
)


class QualityError(DataError):
    """Too many rows are bad, or none is left. The message counts them and shows the first; nothing was written."""

    def __init__(self, report: "QualityReport"):
        super().__init__(report.refusal())
        self.report = report


@dataclass(frozen=True)
class TableQuality:
    """How many rows of a table were read and set aside, and why.

    Attributes:
        table: its name.
        rows: all that were read.
        quarantined: all that were set aside, duplicates among them.
        reasons: "column: reason" → rows, the most frequent first.
    """

    table: str
    rows: int
    quarantined: int
    reasons: dict[str, int]

    @property
    def duplicates(self) -> int:
        """How many of those set aside say again what another row says, or something else of the same id."""
        ends = (f": {DUPLICATE}", f": {SAME_ID}")
        return sum(count for reason, count in self.reasons.items() if reason.endswith(ends))

    @property
    def bad(self) -> int:
        """How many rows are wrong by themselves."""
        return self.quarantined - self.duplicates

    @property
    def share(self) -> float:
        """The share of rows that are wrong by themselves."""
        return self.bad / self.rows

    @property
    def duplicate_share(self) -> float:
        return self.duplicates / self.rows


@dataclass(frozen=True)
class Allowed:
    """Shares of the rows of a table up to which these may be set aside."""

    bad: float
    duplicates: float

    @classmethod
    def by(cls, config: IngestConfig) -> "Allowed":
        """Return what settings allow.

        Retries and exports that overlap bring everything twice at worst, which is half; beyond that, rows have been
        multiplied by mistake. Who allows no bad row at all means duplicates as well, and who allows more, more.
        """
        bad, duplicates = config.max_quarantined_share, config.max_duplicate_share
        return cls(bad, duplicates if duplicates is not None else max(DUPLICATES, bad) if bad else 0.0)


@dataclass(frozen=True)
class QualityReport:
    """The quality of all tables.

    Attributes:
        tables: by table.
        quarantine: the rows set aside, with the columns of ``QUARANTINE_SCHEMA``.
        allowed: how much of that may be.
        repeats: how often users came back to an item; None: never, or nobody has looked.
        signals: what types and values of events suggest that they mean; None: nothing, or nobody has looked.
        unused: columns that are kept and make no segments of users, and why; see ``recsys.data.attributes``.
        unused_context: likewise of the context of events.
        findings: what is odd about the good rows, the gravest first; empty: nothing, or nobody has looked.
        distributions: how the good rows are distributed; likewise.
    """

    tables: tuple[TableQuality, ...]
    quarantine: pl.DataFrame
    allowed: Allowed
    repeats: Repeats | None = None
    signals: tuple[SignalConfig, ...] | None = None
    unused: Mapping[str, str] = field(default_factory=dict)
    unused_context: Mapping[str, str] = field(default_factory=dict)
    findings: tuple["Finding", ...] = ()
    distributions: tuple["Distribution", ...] = ()

    def refusal(self, examples: int = 5) -> str | None:
        """Return why these tables may not become a snapshot, with the first bad rows of each, or None if they may."""
        refused = [table for table in self.tables if self._refused(table)]
        if not refused:
            return None
        lines = [line for table in refused for line in self._explain(table, examples)]
        limits = sorted({self._limit(table) for table in refused})
        advice = f"Correct the rows, or raise {' and '.join(limits)}. Nothing was written."
        return "\n".join([*lines, advice])

    def _refused(self, table: TableQuality) -> bool:
        if not table.rows or table.quarantined == table.rows:
            return True
        return table.share > self.allowed.bad or table.duplicate_share > self.allowed.duplicates

    def _limit(self, table: TableQuality) -> str:
        """Return the setting that says how many rows may be as those of a refused table."""
        bad = table.duplicates == 0 or table.share > self.allowed.bad
        return "max_quarantined_share" if bad else "max_duplicate_share"

    def _explain(self, table: TableQuality, examples: int) -> list[str]:
        if table.rows and self._limit(table) == "max_duplicate_share":
            found = f"{table.duplicates:,} of {table.rows:,} rows are duplicates ({table.duplicate_share:.2%})"
            limit = f"at most {self.allowed.duplicates:.2%} may be"
        else:
            twice = f", {table.duplicates:,} of them duplicates" if table.duplicates else ""
            share = table.quarantined / max(table.rows, 1)
            found = f"{table.quarantined:,} of {table.rows:,} rows are bad ({share:.2%}){twice}"
            limit = f"at most {self.allowed.bad:.2%} may be set aside{' beside duplicates' if twice else ''}"
        if table.quarantined == table.rows:
            limit = "a snapshot needs at least one good row"
        head = f"{table.table}: {found}; {limit}."
        counts = [f"  {count:,} × {reason}" for reason, count in table.reasons.items()]
        bad = self.quarantine.filter(pl.col("table") == table.table).head(examples)
        shown = [
            f"  {place(row['file'], row['row'])}, column {row['column']}: {row['reason']}{_value(row)}"
            for row in bad.to_dicts()
        ]
        return [head, *counts, "First:", *shown]


def _value(row: Mapping[str, str]) -> str:
    """Return what stands in the column of a quarantined row, shortened; empty where nothing does, or somebody."""
    value = json.loads(row["content"]).get(row["column"])
    if value is None or value == "" or row["column"] == columns.USER_ID:  # messages name nobody
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return f" ({text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + '…'})"


def place(file: str, row: int) -> str:
    """Return where a row is, for people; a CSV has a header, so its lines count one more than its rows."""
    name = file.lower().removesuffix(".gz")
    return f"{file}, row {row}" + (f" (line {row + 1})" if name.endswith((".csv", ".tsv")) else "")
