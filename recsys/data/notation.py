"""How times and numbers are written where a table does not say it: zone, unit, format, decimal mark.

A local time that a change of clocks makes ambiguous is the first of the two, and one that it leaves out is read by the
offset before the change, as RFC 5545, section 3.3.5, has it for calendars: no event is lost, and none moves by more
than the change.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal
from zoneinfo import available_timezones

import polars as pl

from recsys.config import IngestConfig
from recsys.errors import SettingError

UTC = "UTC"
_LONGER_THAN_ANY_CHANGE = pl.duration(hours=25)  # of clocks: Samoa left out a day in 2011


@dataclass(frozen=True)
class Notation:
    """What the settings of an ingest say of times and numbers.

    Attributes:
        timezone: IANA name, of times without one.
        timestamp_unit: of numbers since 1970; None: by magnitude.
        timestamp_format: of texts, as strptime has it; what is not written so is read as without it. None: ISO 8601.
        decimal: the mark before the fraction of numbers in texts; None: told from a column where it has one meaning.
    """

    timezone: str = UTC
    timestamp_unit: Literal["s", "ms", "us", "ns"] | None = None
    timestamp_format: str | None = None
    decimal: Literal[".", ","] | None = None

    @classmethod
    def of(cls, config: IngestConfig) -> "Notation":
        """Return what some settings say.

        Raises:
            SettingError: there is no such time zone.
        """
        if config.timezone is not None:
            _check_zone(config.timezone)
        return cls(config.timezone or UTC, config.timestamp_unit, config.timestamp_format, config.decimal)

    @property
    def tells_times(self) -> bool:
        """Whether times are read otherwise than without any settings."""
        return (self.timezone, self.timestamp_unit, self.timestamp_format) != (UTC, None, None)


PLAIN = Notation()


def in_zone(times: pl.Series, zone: str) -> pl.Series:
    """Return the instants, in UTC, of times without a zone.

    Args:
        times: of the clocks of the zone, in microseconds.
        zone: IANA name.
    """
    if zone == UTC:
        return times.dt.replace_time_zone(UTC)
    found = _placed(pl.lit(times), zone)
    # by the offset before the change, if clocks left the time out
    before = _placed(pl.lit(times) - _LONGER_THAN_ANY_CHANGE, zone) + _LONGER_THAN_ANY_CHANGE
    return pl.select(pl.coalesce(found, before).alias(times.name)).to_series()


def _placed(local: pl.Expr, zone: str) -> pl.Expr:
    return local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone(UTC)


def _check_zone(zone: str) -> None:
    try:
        in_zone(pl.Series([None], dtype=pl.Datetime("us")), zone)
    except pl.exceptions.PolarsError:
        near = get_close_matches(zone, sorted(available_timezones()), 1)
        meant = f" Did you mean {near[0]!r}?" if near else " Give an IANA name, such as Europe/Berlin."
        raise SettingError(f"There is no time zone {zone!r}.{meant}") from None
