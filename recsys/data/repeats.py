"""How often people come back to what they had before: a property of a table of events, for its quality report."""

from dataclasses import dataclass, field

import polars as pl

from recsys.data.columns import EVENT_TYPE, ITEM_ID, USER_ID
from recsys.data.sequences import REPEATS_FROM

MOST_TYPES = 20  # that are told apart, those with the most events


@dataclass(frozen=True)
class Repeats:
    """Events of an item that their user had before, as a share of those that are not a user's first.

    Attributes:
        share: above 0, at most 1.
        by_type: the same among the events of each type alone, where types are given, the most frequent first; types
            without any are left out.
    """

    share: float
    by_type: dict[str, float] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The share as one reads it, and what follows from it."""
        types = ", ".join(f"{kind} after {kind} {share:.1%}" for kind, share in self.by_type.items())
        return (
            f"{self.share:.1%} of the events are of an item that the user had before{f' ({types})' if types else ''}. "
            f"Where {REPEATS_FROM:.0%} of the targets are, seen items stay in lists unless a request says otherwise."
        )


def measure_repeats(events: pl.DataFrame) -> Repeats | None:
    """Return the repeats of a table of good events, in any order; None where there are none."""
    share = _share(events)
    if not share:
        return None
    if EVENT_TYPE not in events.columns:
        return Repeats(share)
    counts = events[EVENT_TYPE].drop_nulls().value_counts(sort=True, name="events")
    frequent = counts.sort("events", EVENT_TYPE, descending=[True, False])[EVENT_TYPE].head(MOST_TYPES)
    shares = {kind: _share(events.filter(pl.col(EVENT_TYPE) == kind)) for kind in frequent}
    return Repeats(share, {kind: found for kind, found in shares.items() if found})


def _share(events: pl.DataFrame) -> float:
    """Return the share of repeats; their order does not matter, since all but one of a user and item are repeats."""
    users = events[USER_ID].n_unique()
    # one number for user and item: comparing it takes a fraction of what comparing both ids does
    user, item = (pl.col(name).cast(pl.Categorical).to_physical().cast(pl.UInt64) for name in (USER_ID, ITEM_ID))
    pairs = events.select((user * (item.max() + 1) + item).alias("pair"))["pair"].n_unique()
    following = events.height - users
    return (events.height - pairs) / following if following else 0.0
