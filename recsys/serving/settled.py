"""Which changes of items a generation's own catalogue has overtaken: it is newer, or it holds them."""

from dataclasses import dataclass

import polars as pl
from numpy.typing import NDArray

from recsys.data.columns import UPDATED_AT
from recsys.data.manifest import LiveMark
from recsys.database.live_items import LiveItem


@dataclass(frozen=True, eq=False)
class Settled:
    """What a catalogue knows of changes.

    Attributes:
        items: how many it holds; live ones stand behind them.
        mark: up to which changes its snapshot holds; None: it was made without.
        updated: (items,) when each row was written, microseconds since 1970, 0 where it does not say; None: none does.
    """

    items: int
    mark: LiveMark | None = None
    updated: NDArray | None = None

    @classmethod
    def of(cls, items: pl.DataFrame, mark: LiveMark | None) -> "Settled":
        """Return what a snapshot's items and manifest say."""
        updated = None
        if isinstance(items.schema.get(UPDATED_AT), pl.Datetime):
            updated = items[UPDATED_AT].dt.epoch("us").fill_null(0).to_numpy()
        return cls(items.height, mark, updated)

    def holds(self, row: int | None) -> bool:
        """Tell whether a row of what answers, perhaps with live items, is one of the catalogue's."""
        return row is not None and row < self.items

    def overtakes(self, row: int | None, live: LiveItem) -> bool:
        """Tell whether the item in a row counts as the catalogue has it.

        A row that is newer by ``updated_at`` does. So does one that the snapshot holds as it was put; a deletion goes
        on, since its row is there for histories alone. Of a change the number and the time have to be old: a database
        that was put back to an earlier state counts from there, and a clock may go back.
        """
        if row is None or row >= self.items:
            return False
        if self.updated is not None and self.updated[row] > live.time:
            return True
        mark = self.mark
        return live.columns is not None and mark is not None and live.version <= mark.version and live.time <= mark.time
