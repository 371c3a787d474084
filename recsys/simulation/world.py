"""A world whose truth can be asked, by the ids of its files: what suits whom, who buys what when, what goes together.

::

    world = World(SimulationConfig(users=2_000, items=1_000, seed=1))
    world.preference(["u0", "u7"], day=30.0)          # (2, 1000) true utility
    World.opened(Path("made-up-shop"))                # the world that wrote a folder

Everything is computed from the settings whenever it is asked; nothing large is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import read_json
from recsys.config import from_dict
from recsys.data import columns
from recsys.errors import DataError
from recsys.simulation.behaviour import DAY, KINDS, PURCHASE
from recsys.simulation.catalogue import Catalogue, item_ids
from recsys.simulation.config import SimulationConfig
from recsys.simulation.organic import Organic
from recsys.simulation.people import People, Rows, user_ids
from recsys.simulation.preferences import Circumstances, Floats, Preferences
from recsys.simulation.words import ATTRIBUTES, DEVICES

TRUTH_FILE = "truth.json"
FORMAT = 1  # of that file; a world of another version would not be the same
_CROWD = 200  # people whose probabilities for all items are held at a time
Ids = Sequence[str] | pl.Series


@dataclass(frozen=True)
class Context:
    """Circumstances of one moment, the same for all who are asked about.

    Attributes:
        device: ``phone``, ``desktop`` or ``tablet``; None: not known, adds nothing.
        hour: of the day, 0 to 23; None likewise.
    """

    device: str | None = None
    hour: int | None = None


class World:
    """People and items of some settings, and the truth about them."""

    def __init__(self, config: SimulationConfig) -> None:
        self.config = config
        self.preferences = Preferences.of(config)
        self.organic = Organic(self.preferences)

    @classmethod
    def opened(cls, folder: Path) -> "World":
        """Return the world that wrote a folder, from its ``truth.json``.

        Raises:
            ArtifactError: the file is missing or no JSON.
            DataError: it is of another version.
            SettingError: its settings are none that there are.
        """
        document = read_json(folder / TRUTH_FILE)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise DataError(f"{folder / TRUTH_FILE} is no truth of format {FORMAT}. Simulate the folder again.")
        return cls(from_dict(SimulationConfig, document["config"]))

    @property
    def catalogue(self) -> Catalogue:
        return self.preferences.catalogue

    @property
    def people(self) -> People:
        return self.preferences.people

    @cached_property
    def items(self) -> list[str]:
        """Ids of all items, in the order of the truth's columns."""
        found: list[str] = item_ids(np.arange(self.config.items)).to_list()
        return found

    def users(self, first: int = 0, count: int | None = None) -> list[str]:
        """Return ids of users, from a row on."""
        end = self.config.users if count is None else min(first + count, self.config.users)
        found: list[str] = user_ids(np.arange(first, end)).to_list()
        return found

    def user_rows(self, users: Ids) -> Rows:
        """Return the rows of users.

        Raises:
            DataError: an id is nobody's.
        """
        return _rows(users, "u", self.config.users)

    def item_rows(self, items: Ids) -> Rows:
        """Return the rows of items.

        Raises:
            DataError: an id is no item's.
        """
        return _rows(items, "i", self.config.items)

    def preference(
        self, users: Ids, items: Ids | None = None, day: float | None = None, context: Context | None = None
    ) -> Floats:
        """Return true utility, (users, items) float32: ``fit + season + context − price`` (``Preferences.utility``).

        Args:
            users: ids.
            items: ids; None: all, in the order of ``self.items``.
            day: from the first, fractions allowed; None: tastes of the first day, out of all season.
            context: what device and hour add; None: nothing.
        """
        crowd = self.people.some(self.user_rows(users))
        return self.preferences.utility(crowd, self._chosen(items), self._circumstances(len(crowd), day, context))

    def fit(self, users: Ids, items: Ids | None = None, day: float | None = None) -> Floats:
        """Return how well items suit people in themselves, apart from price, season and moment, (users, items)."""
        return self.preferences.fit(self.people.some(self.user_rows(users)), self._chosen(items), day)

    def disliked(self, users: Ids, items: Ids | None = None, day: float | None = None) -> NDArray[np.bool_]:
        """Tell what is truly disliked, (users, items): where the fit is below ``behaviour.regret``."""
        return self.preferences.disliked(self.fit(users, items, day))

    def purchase_probability(
        self, users: Ids, items: Ids | None = None, day: float | None = None, context: Context | None = None
    ) -> NDArray[np.float64]:
        """Return how probably an examined item is bought, (users, items), by somebody without a need or a history.

        ``σ(look) · σ(cart) · σ(order)``, each a base and a slope times ``preference``.
        """
        return self.preferences.purchase_probability(self.preference(users, items, day, context))

    def needs(self, users: Ids, day: int) -> list[str]:
        """Return the category that each one needs on a day."""
        crowd = self.people.some(self.user_rows(users))
        found = self.preferences.needs(crowd, np.full(len(crowd), day))
        return [self.catalogue.names[category] for category in found]

    def complements(self, item: str) -> list[str]:
        """Return the items that are bought along with an item."""
        rows = self.catalogue.complements[self.item_rows([item])[0]]
        found: list[str] = item_ids(np.unique(rows)).to_list()
        return found

    def intervals(self, items: Ids | None = None) -> NDArray[np.float64]:
        """Return typical days between two orders of each item, (items,), infinite for what lasts."""
        return self.catalogue.interval[self._chosen(items)]

    def due(self, users: Ids, day: float, events: pl.DataFrame | None = None) -> pl.DataFrame:
        """Return which consumables people had ordered before a day, and when each is due again.

        Args:
            users: ids.
            day: from the first; what was ordered later is not known yet.
            events: what they did, as in files; None: what they did on their own.

        Returns:
            ``user_id``, ``item_id``, ``last_day``, ``due_day`` (the last plus the item's interval times the user's
            pace; due where that is not after ``day``) and ``probability`` that it is ordered again at all, the
            soonest first within a user.
        """
        rows = self.user_rows(users)
        known = self.events(users) if events is None else events
        first = pl.lit(np.datetime64(self.config.start, "us")).dt.replace_time_zone("UTC")
        days = (pl.col(columns.TIMESTAMP) - first).dt.total_seconds() / DAY
        wanted = known.with_columns(days.alias("last_day")).filter(
            pl.col(columns.EVENT_TYPE) == KINDS[PURCHASE],
            pl.col("last_day") < day,
            pl.col(columns.USER_ID).is_in(user_ids(np.unique(rows)).implode()),
        )
        last = wanted.group_by(columns.USER_ID, columns.ITEM_ID).agg(pl.col("last_day").max())
        items = self.item_rows(last[columns.ITEM_ID])
        crowd = self.people.some(self.user_rows(last[columns.USER_ID]))
        chance = self.preferences.repeat_probability(self.preferences.fit(crowd, items[:, None])[:, 0])
        due = last.with_columns(
            (pl.col("last_day") + self.catalogue.interval[items] * crowd.pace).alias("due_day"),
            pl.Series("probability", chance),
        )
        return due.filter(pl.col("due_day").is_finite()).sort(columns.USER_ID, "due_day", columns.ITEM_ID)

    def segment_popularity(self, attribute: str, value: str, day: float = 0.0, sample: int = 1_000) -> pl.DataFrame:
        """Return what people with an attribute buy of what is born by a day, the most bought first.

        ``share(i) ∝ Σ_u exposure(u, i) · P(u buys i | examined)`` over up to ``sample`` of them, where exposure is
        that of an organic visit without a need: the category's pull times the item's popularity.

        Returns:
            ``item_id`` and ``share``, which sum to 1.

        Raises:
            DataError: there is no such attribute or value, or nobody has it.
        """
        values = list(ATTRIBUTES.get(attribute, {}))
        if value not in values:
            known = ", ".join(values or ATTRIBUTES)
            raise DataError(f"{attribute}={value}: there is no such segment. There are {known}.")
        looked_at = np.arange(min(self.config.users, 50 * sample))
        rows = looked_at[self.people.attribute(looked_at, attribute) == values.index(value)][:sample]
        if not len(rows):
            raise DataError(f"No user has {attribute}={value}. Simulate more users than {self.config.users:,}.")
        crowd, everything, total = self.people.some(rows), np.arange(self.config.items), np.zeros(self.config.items)
        born = self.catalogue.popularity * (self.catalogue.born <= day)
        for start in range(0, len(rows), _CROWD):
            some = crowd.take(np.arange(start, min(start + _CROWD, len(rows))))
            when = Circumstances(days=np.full(len(some), day))
            pull = np.exp(self.config.behaviour.browsing * self.preferences.affinity(some, day).astype(np.float64))
            bought = self.preferences.purchase_probability(self.preferences.utility(some, everything, when))
            total += (pull[:, self.catalogue.category] * bought).sum(axis=0)
        total *= born * np.exp(self.catalogue.seasonal(np.array([day]))[0])[self.catalogue.category]
        found = pl.DataFrame({columns.ITEM_ID: self.items, "share": total / total.sum()})
        return found.filter(pl.col("share") > 0).sort("share", columns.ITEM_ID, descending=[True, False])

    def trending(self, day: int) -> list[str]:
        """Return the items in fashion in a day's week, which visits of that week show more than others."""
        found: list[str] = item_ids(self.catalogue.trending(day // 7)).to_list()
        return found

    def events(self, users: Ids) -> pl.DataFrame:
        """Return what some people did on their own: their rows of the written files, by user and time."""
        return self.organic.events(self.user_rows(users))

    def truth(self) -> dict[str, Any]:
        """Return what ``truth.json`` says beside the settings: constants that a reader would want to see."""
        categories = self.catalogue.names
        return {
            "categories": list(categories),
            "consumable_categories": list(categories[: self.config.catalogue.consumable]),
            "attributes": {name: list(values) for name, values in ATTRIBUTES.items()},
            "devices": list(DEVICES),
            "event_types": list(KINDS),
        }

    def _chosen(self, items: Ids | None) -> Rows:
        return np.arange(self.config.items) if items is None else self.item_rows(items)

    def _circumstances(self, people: int, day: float | None, context: Context | None) -> Circumstances:
        device = hour = None
        if context is not None and context.device is not None:
            if context.device not in DEVICES:
                raise DataError(f"{context.device!r} is no device; there are {', '.join(DEVICES)}.")
            device = np.full(people, DEVICES.index(context.device))
        if context is not None and context.hour is not None:
            hour = np.full(people, context.hour)
        return Circumstances(None if day is None else np.full(people, float(day)), device, hour)


def _rows(ids: Ids | Iterable[str], letter: str, count: int) -> Rows:
    """Return the rows that ids name.

    Raises:
        DataError: one names none.
    """
    names = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
    numbers = names.str.extract(rf"^{letter}(0|[1-9]\d{{0,17}})$").cast(pl.Int64)
    good = (numbers < count).fill_null(False)
    if not good.all():
        wrong = names.filter(~good)[0]
        raise DataError(f"{wrong!r} is not in this world; its ids go from {letter}0 to {letter}{count - 1}.")
    return numbers.to_numpy()
