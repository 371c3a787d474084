"""Who asked to be forgotten, and what of them must not be used again.

A tombstone is a keyed hash of the user id and a time: events up to that time are gone, later ones count as those of a
new user. The ids themselves are not kept. A hash that is fast enough to look up in every request can be tried out for
ids that are easy to guess, by somebody who has the key: so the key, a salt, is never where the hashes are.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from recsys.data import columns
from recsys.data.parsing import parse_flags, parse_timestamps


@dataclass(frozen=True)
class Forgotten:
    """All tombstones.

    Attributes:
        salt: makes the hashes those of this home alone.
        times: microseconds since 1970 by hash of the user id.
    """

    salt: bytes = b""
    times: Mapping[str, int] = field(default_factory=dict)

    def when(self, user_id: str) -> int | None:
        """Return the time up to which a user is forgotten, in microseconds since 1970, or None."""
        return self.times.get(hash_user(self.salt, user_id)) if self.times else None

    def among(self, user_ids: list[str]) -> set[str]:
        """Return which of some users are forgotten up to some time."""
        return {user_id for user_id in user_ids if self.when(user_id) is not None}

    def remain(self, rows: pl.DataFrame, timed_by: str = columns.TIMESTAMP) -> pl.DataFrame:
        """Return raw events without the forgotten ones; an event of such a user whose time cannot be read goes too.

        Args:
            rows: events; or users, whose attributes are as old as ``updated_at`` says.
            timed_by: the column of their times; where there is none, all that is of a forgotten user goes.
        """
        if not self.times or columns.USER_ID not in rows.columns:
            return rows
        users = rows[columns.USER_ID].drop_nulls().unique()
        times = {user: time for user in users.to_list() if (time := self.when(str(user))) is not None}
        if not times:
            return rows
        limit = rows[columns.USER_ID].replace_strict(times, default=None, return_dtype=pl.Int64)
        if timed_by not in rows.columns:
            return rows.filter(limit.is_null())
        happened = parse_timestamps(rows[timed_by]).dt.epoch("us")
        past = happened.is_null() | (happened <= limit).fill_null(True)
        if columns.TIMESTAMP_KNOWN in rows.columns:
            past |= ~parse_flags(rows[columns.TIMESTAMP_KNOWN]).fill_null(True)
        return rows.filter(~(limit.is_not_null() & past))


def hash_user(salt: bytes, user_id: str) -> str:
    """Return HMAC-SHA256 of a user id, 64 hexadecimal digits."""
    return hmac.new(salt, user_id.encode(), hashlib.sha256).hexdigest()
