"""The time from which on events are wanted: readers leave out what is older where a file says so, and count it."""

from datetime import datetime, timedelta

import polars as pl

from recsys.data import columns
from recsys.data.parsing import parse_timestamps

_SLACK = timedelta(days=2)  # more than any zone is off, of a time that does not say its own


class Since:
    """Passes over the events before a time, good ones and bad ones alike; those without a time that can be read stay.

    Args:
        time: with a time zone; None: all events are wanted.

    Attributes:
        passed_over: how many rows were, so far.
    """

    def __init__(self, time: datetime | None) -> None:
        self._time = time
        self.passed_over = 0

    def remain(self, raw: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that are wanted of some as they were read."""
        if self._time is None:
            return raw
        older = (parse_timestamps(raw[columns.TIMESTAMP]) < self._time).fill_null(False)
        self.passed_over += int(older.sum())
        return raw.filter(~older)

    def among(self, scan: pl.LazyFrame, name: str) -> pl.LazyFrame:
        """Return the rows of a Parquet file which may be wanted: what its statistics exclude is not read at all.

        Times that are no dates or datetimes there say nothing before they are read; the file comes back as it is.

        Args:
            scan: of the file.
            name: of its column of times.
        """
        kind = scan.collect_schema().get(name)
        if self._time is None or not isinstance(kind, pl.Datetime | pl.Date):
            return scan
        zone = getattr(kind, "time_zone", None)
        least = pl.lit(self._time if zone else self._time.replace(tzinfo=None) - _SLACK)
        least = least.dt.convert_time_zone(zone).cast(kind) if zone else least.cast(kind)
        kept = scan.filter(pl.col(name).is_null() | (pl.col(name) >= least))
        rows = [one.select(pl.len()).collect(engine="streaming").item() for one in (scan, kept)]
        self.passed_over += rows[0] - rows[1]
        return kept
