"""New arrivals: what has come lately, in the order that suits the user."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data.columns import UPDATED_AT
from recsys.errors import ColumnError, UntimedError
from recsys.ranking.scoring import Rows
from recsys.selection.catalogue import Catalogue
from recsys.selection.selection import Scores
from recsys.serving.behaviour import DAY, Behaviour
from recsys.serving.explanation import ARRIVED, Explanation, Reason
from recsys.serving.history import KnownHistory
from recsys.serving.listing import Proposer
from recsys.serving.recipes.recipe import Asked, Heading, Recipe, ScoredItems, Why, over_catalogue

if TYPE_CHECKING:
    from recsys.serving.recommender import Recommender

YEARS = (1_000, 9_999)  # whole numbers that are years


@dataclass(frozen=True)
class NewArrivals(Recipe):
    """Known users get the new items by their own ranking, others the newest first: minus the age in days.

    Live items that the snapshot does not hold are the newest. The others came when ``column`` says, or with their
    first event, or, without one, at ``updated_at``; of which nothing is known is not new.

    Attributes:
        days: how old they are at most, counted back from the newest event of the snapshot (or, where times are not
            known, from the newest item).
        column: a column of the catalogue with dates, times or years; None: there is none.
    """

    days: int = 30
    column: str | None = None
    name: ClassVar[str] = "new-arrivals"
    tells_history: ClassVar[bool] = True

    def heading(self, recommender: "Recommender", history: KnownHistory) -> Heading:
        """See ``Recipe``."""
        return Heading("New arrivals")

    def proposer(self, recommender: "Recommender", asked: Asked) -> Proposer:
        """See ``Recipe``.

        Raises:
            ColumnError: there is no such column, or it holds no times.
            UntimedError: nothing says when items came.
        """
        behaviour, catalogue = recommender.behaviour, recommender.catalogue
        born = births(catalogue, behaviour, self.column)
        came = born[: behaviour.items][np.isfinite(born[: behaviour.items])]
        if not behaviour.timed and not len(came):
            raise UntimedError("Neither events nor items of the snapshot have known times, so none of them is new.")
        now = float(behaviour.last if behaviour.timed else came.max())
        born = np.where(np.isposinf(born), now, born)
        new = (born <= now) & (born > now - self.days * DAY)

        def said(row: int) -> list[Reason]:
            since = datetime.fromtimestamp(born[row], UTC).date().isoformat() if np.isfinite(born[row]) else None
            return [Reason(ARRIVED, numbers={"since": since})] if since else []

        if len(asked.history.taught.items):
            ranking = recommender.ranking(replace(asked, allowed=asked.allowed & new))
            return NewForUser(ranking, new, said)
        age = np.where(np.isfinite(born), (now - born) / DAY, np.float64(365_000))
        return ScoredItems(
            -age.astype(np.float32),
            new,
            lambda row: Why(ARRIVED, said(row)),
            catalogue.ids,
            catalogue.titles,
            end_stage=asked.end_stage,
        )


@dataclass(frozen=True, eq=False)
class NewForUser:
    """A user's own ranking of what is new."""

    ranking: Proposer
    new: NDArray[np.bool_]
    said: Callable[[int], list[Reason]]

    @property
    def fallback(self) -> str | None:
        """See ``Proposer``."""
        return self.ranking.fallback

    @property
    def remarks(self) -> dict[str, Any]:
        """See ``Proposer``."""
        return self.ranking.remarks

    def propose(self, allowed: NDArray[np.bool_], needed: int) -> tuple[Rows, Scores]:
        """Return new items alone."""
        return self.ranking.propose(allowed & self.new, needed)

    def scores(self, rows: Rows) -> Scores:
        """See ``Proposer``."""
        return self.ranking.scores(rows)

    def fills(self, rows: Rows) -> bool:
        """New items fill nothing, also where only their popularity is known."""
        return False

    def explained(self, rows: Rows, scores: Scores) -> list[Explanation]:
        """Return the ranking's account, and since when each item is there."""
        found = self.ranking.explained(rows, scores)
        return [
            replace(one, reasons=[*self.said(row), *one.reasons]) for row, one in zip(rows.tolist(), found, strict=True)
        ]


def births(catalogue: Catalogue, behaviour: Behaviour, column: str | None) -> NDArray[np.float64]:
    """Return when items came, (items,) in Unix seconds; infinite: since the snapshot; NaN: it is not known."""
    born = np.full(len(catalogue), np.nan)
    for name in (UPDATED_AT, column):
        if name is not None and (name == column or name in catalogue.fields):
            told = _times(catalogue, name)
            born = np.where(np.isnan(told), born, told)
        if name == UPDATED_AT and behaviour.timed:
            first = over_catalogue(behaviour.first_events, len(catalogue), np.inf)
            born = np.where(np.isinf(first), born, first)
    born[behaviour.items :] = np.inf
    return born


def _times(catalogue: Catalogue, column: str) -> NDArray[np.float64]:
    kind = catalogue.items.schema.get(column)
    if kind is None:
        raise ColumnError(f"There is no item column {column!r}; there are {', '.join(catalogue.fields)}.")
    values = catalogue.items[column]
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        seconds = values.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
    elif kind.is_integer():
        year = values.cast(pl.Int32, strict=False)
        year = year.set(~year.is_between(*YEARS).fill_null(False), None)
        seconds = pl.select(pl.date(pl.lit(year), 1, 1)).to_series().dt.epoch("s").cast(pl.Float64)
    else:
        raise ColumnError(f"The item column {column!r} holds neither dates nor times nor years.")
    return seconds.fill_null(float("nan")).to_numpy()
