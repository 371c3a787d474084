"""Events as small integers: their texts are read part by part, and never all at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.data.sequences import Sequences

if TYPE_CHECKING:
    from recsys.data.signals import Signals


@dataclass(frozen=True, eq=False)
class CodedEvents:
    """Events by user and then in their order.

    Attributes:
        items: (events,) int32, places among all items by id.
        offsets: (users + 1,) int64, where each user's events begin, users by id, and the end.
        further: (events,) all columns that were read but users and items, in the same order.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    further: pl.DataFrame


def coded_events(parts: Iterable[pl.DataFrame], item_ids: pl.Series) -> CodedEvents:
    """Return events as codes.

    Args:
        parts: events sorted by user, and of one user by time in all parts together.
        item_ids: of all items, sorted.
    """
    kind = pl.Enum(item_ids)
    runs, items, further = [], [], []
    for part in parts:
        runs.append(part[columns.USER_ID].rle().struct.unnest())
        items.append(part[columns.ITEM_ID].cast(kind).to_physical().cast(pl.Int32).to_numpy())
        further.append(part.drop(columns.USER_ID, columns.ITEM_ID))
    users, codes = _codes(runs)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(users)))]).astype(np.int64)
    if len(runs) == 1:
        return CodedEvents(items[0], offsets, further[0])
    order = np.argsort(codes, kind="stable")
    return CodedEvents(np.concatenate(items)[order], offsets, pl.concat(further)[order])


def order_by_user(parts: Sequence[pl.Series]) -> NDArray[np.int64]:
    """Return the order of all events by user, those of one user as they come; each part is sorted."""
    return np.argsort(_codes([part.rle().struct.unnest() for part in parts])[1], kind="stable")


def _codes(runs: Sequence[pl.DataFrame]) -> tuple[pl.Series, NDArray[np.int32]]:
    """Return all users by id, and the place of each event's user, given runs of the same user."""
    users = pl.concat([one["value"].unique() for one in runs]).unique().sort()
    kind = pl.Enum(users)
    codes = [
        one["value"].cast(kind).to_physical().cast(pl.Int32).to_numpy().repeat(one["len"].to_numpy()) for one in runs
    ]
    return users, np.concatenate(codes)


def as_sequences(events: CodedEvents, tie_seed: int | None, signals: "Signals | None") -> Sequences:
    """Return a row of item indices for every user; see ``Snapshot.sequences``."""
    codes, meaning = events.items, None if signals is None else signals.of_events(events.further)
    if tie_seed is not None:
        order = np.lexsort((np.random.default_rng(tie_seed).random(len(codes)), ties(events)))
        codes, meaning = codes[order], None if meaning is None else meaning.at(order)
    return Sequences(codes, events.offsets, events.further[columns.TIMESTAMP].dt.epoch("s").to_numpy(), meaning)


def meaningful(sequences: Sequences) -> Sequences:
    """Return sequences without the events that no kind speaks for."""
    return sequences if sequences.signals is None else sequences.only(sequences.signals.kinds >= 0)


def ties(events: CodedEvents) -> NDArray[np.int64]:
    """Return an ascending number for each event, the same for one user's events at equal known times."""
    times, known = events.further[columns.TIMESTAMP].to_physical().to_numpy(), real_times(events.further).to_numpy()
    tied = np.zeros(len(times), dtype=bool)
    tied[1:] = (times[1:] == times[:-1]) & known[1:] & known[:-1]
    tied[events.offsets[:-1]] = False
    return np.cumsum(~tied)


def real_times(events: pl.DataFrame) -> pl.Series:
    """Return whether each event's time is real; where nothing is said, it is."""
    if columns.TIMESTAMP_KNOWN not in events.columns:
        return pl.repeat(True, events.height, eager=True)
    return events[columns.TIMESTAMP_KNOWN].fill_null(True)
