"""The items of a world: vectors, texts, prices, births, popularity, complements, as arrays over all of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.simulation.config import SimulationConfig
from recsys.simulation.draws import chosen, directions, hashed, normal, purpose, uniform, unit
from recsys.simulation.words import AXES, BRANDS, CONSUMABLE, DURABLE, FILLERS

_OLDEST_DAYS = 365  # before the first day the older items were born within so many


@dataclass(frozen=True)
class Catalogue:
    """All items, by row; an id is ``i`` and the row.

    Attributes:
        config: of the world.
        names: of the categories.
        centres: (categories, dimensions) unit vectors.
        category, brand: (items,) numbers of each.
        vectors: (items, dimensions) unit vectors: ``unit(centre + brand / 2 + own)``.
        quality: (items,) standard normal; what everybody likes.
        price_score: (items,) the price's logarithm, standardised.
        born: (items,) days from the first day; negative for what was there.
        popularity: (items,) share of exposure among all: ``rank ** -zipf``, normalised.
        interval: (items,) days from one order to the next; infinite for what lasts.
        complements: (items, complements) rows that go with an item, all of other categories.
        season, peak, weekend: (categories,) swing over the year, day of its height, gain at weekends.
    """

    config: SimulationConfig
    names: tuple[str, ...]
    centres: NDArray[np.float32]
    category: NDArray[np.int64]
    brand: NDArray[np.int64]
    vectors: NDArray[np.float32]
    quality: NDArray[np.float32]
    price_score: NDArray[np.float32]
    born: NDArray[np.int64]
    popularity: NDArray[np.float64]
    interval: NDArray[np.float64]
    season: NDArray[np.float64]
    peak: NDArray[np.float64]
    weekend: NDArray[np.float64]

    @classmethod
    def made(cls, config: SimulationConfig) -> "Catalogue":
        """Make the items of a world."""
        dials, count = config.catalogue, config.catalogue.categories
        items = hashed(hashed(config.seed, purpose("item")), np.arange(config.items))
        kinds = hashed(hashed(config.seed, purpose("category")), np.arange(count))
        brands = hashed(hashed(config.seed, purpose("brand")), np.arange(dials.brands))
        # every category has an item, and one that is there from the beginning
        category = chosen(uniform(items, "category"), np.exp(0.6 * normal(kinds, "size")))
        category[:count] = np.arange(count)
        brand = chosen(uniform(items, "brand"), np.exp(0.6 * normal(brands, "size")))
        centres = directions(kinds, "centre", config.dimensions)
        own = directions(items, "vector", config.dimensions)
        vectors = unit(centres[category] + directions(brands, "vector", config.dimensions)[brand] / 2 + own)
        quality = normal(items, "quality")
        born = np.floor(uniform(items, "born") * config.days).astype(np.int64)
        old = uniform(items, "is born later") >= dials.born_later
        old[:count] = True
        born = np.where(old, -1 - np.floor(uniform(items, "was born") * _OLDEST_DAYS).astype(np.int64), born)
        fame = np.sqrt(dials.quality_sells) * quality + np.sqrt(1 - dials.quality_sells) * normal(items, "fame")
        rank = np.empty(config.items)
        rank[np.argsort(-fame, kind="stable")] = np.arange(1, config.items + 1)
        popularity = rank**-dials.zipf
        price_score = 0.6 * normal(kinds, "price")[category] + 0.8 * normal(items, "price")
        short, long = np.log(dials.interval_days)
        interval = np.exp(short + (long - short) * uniform(items, "interval"))
        return cls(
            config=config,
            names=(*list(CONSUMABLE)[: dials.consumable], *list(DURABLE)[: count - dials.consumable]),
            centres=centres, category=category, brand=brand, vectors=vectors,
            quality=quality.astype(np.float32), price_score=price_score.astype(np.float32), born=born,
            popularity=popularity / popularity.sum(),
            interval=np.where(category < dials.consumable, interval, np.inf),
            season=dials.season * uniform(kinds, "season"), peak=365.25 * uniform(kinds, "peak"),
            weekend=dials.weekend * uniform(kinds, "weekend"),
        )  # fmt: skip

    def __len__(self) -> int:
        return self.config.items

    @cached_property
    def complements(self) -> NDArray[np.int64]:
        """(items, complements) rows of items that go with each: drawn by popularity from complementary categories."""
        count, wanted = len(self.names), self.config.catalogue.complements
        kinds = hashed(hashed(self.config.seed, purpose("category")), np.arange(count))
        order = uniform(kinds[:, None], "goes with", np.arange(count)[None, :])
        np.fill_diagonal(order, np.inf)
        others = np.argsort(order, axis=1)[:, np.arange(wanted) % (count - 1)]  # (categories, complements)
        items = hashed(hashed(self.config.seed, purpose("item")), np.arange(len(self)))
        numbers = uniform(items[:, None], "complement", np.arange(wanted)[None, :])
        return self.drawn(others[self.category], numbers, np.full((1, 1), self.config.days))

    def drawn(
        self, categories: NDArray[np.int64], numbers: NDArray[np.float64], days: NDArray[np.integer]
    ) -> NDArray[np.int64]:
        """Return for each uniform number an item of a category that is born by a day, by popularity; all broadcast."""
        order, keys, running = self._by_birth
        first = np.searchsorted(keys, self._birth_key(categories, -_OLDEST_DAYS - 1), side="left")
        end = np.searchsorted(keys, self._birth_key(categories, days), side="right")
        low, high = running[first], running[end]
        found = np.searchsorted(running, low + numbers * (high - low), side="right") - 1
        return order[np.clip(found, first, end - 1)]

    def mass(self, day: int) -> NDArray[np.float64]:
        """Return the exposure of each category's items that are born by a day, (categories,)."""
        _, keys, running = self._by_birth
        categories = np.arange(len(self.names))
        first = np.searchsorted(keys, self._birth_key(categories, -_OLDEST_DAYS - 1), side="left")
        end = np.searchsorted(keys, self._birth_key(categories, day), side="right")
        return running[end] - running[first]

    def seasonal(self, day: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """Return what a day adds to the utility of each category, (…, categories).

        ``season · cos(2π (day of the year − peak) / 365.25) + weekend · [Saturday or Sunday]``
        """
        from_epoch = np.datetime64(self.config.start, "D").astype(np.int64) + np.floor(day)[..., None]
        year = np.cos(2 * np.pi * (from_epoch - self.peak) / 365.25)
        return self.season * year + self.weekend * ((from_epoch + 3) % 7 >= 5)  # 1970 began on a Thursday

    def trending(self, week: int) -> NDArray[np.int64]:
        """Return the rows of the items in fashion in a week from the first day on, drawn among those that are born."""
        luck = uniform(hashed(hashed(self.config.seed, purpose("trend")), week), "trend", np.arange(len(self)))
        luck[self.born > 7 * week] = np.inf
        return np.argsort(luck, kind="stable")[: self.config.catalogue.trends]

    def table(self) -> pl.DataFrame:
        """Return the catalogue as the input contract asks, with texts, price, margin and birth."""
        config, dials = self.config, self.config.catalogue
        items = hashed(hashed(config.seed, purpose("item")), np.arange(len(self)))
        words = [self._words(items, place) for place in range(dials.description_words + 1)]
        nouns = pl.Series([noun for name in self.names for noun in (CONSUMABLE | DURABLE)[name]])
        noun = 4 * self.category + chosen(uniform(items, "noun"), np.ones(4))
        price = np.round(np.exp(3.2 + 0.9 * self.price_score.astype(np.float64)), 2)
        margin = np.round(price * (0.05 + 0.55 * uniform(items, "margin")), 2)
        frame = pl.DataFrame(
            {
                columns.ITEM_ID: item_ids(np.arange(len(self))),
                "brand": pl.Series(BRANDS[: dials.brands]).gather(self.brand),
                "word": words[0],
                "noun": nouns.gather(noun),
                "category": pl.Series(self.names).gather(self.category),
                "price": price,
                "margin": margin,
                "born": pl.Series(np.datetime64(config.start, "D") + self.born),
                **{f"word {place}": word for place, word in enumerate(words[1:])},
            }
        )
        moment = pl.col("born").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return frame.select(
            columns.ITEM_ID,
            pl.concat_str("brand", "word", "noun", separator=" ").alias(columns.TITLE),
            "category",
            "brand",
            pl.concat_str(pl.col(r"^word \d+$"), separator=" ").alias("description"),
            "price",
            "margin",
            "born",
            moment.alias(columns.UPDATED_AT),
        )

    def _words(self, items: NDArray[np.uint64], place: int) -> pl.Series:
        """Return each item's word at a place: of the pole that its vector leans to, or with some luck anyone's."""
        tells = uniform(items, "word tells", place) < self.config.catalogue.text_tells
        axis = chosen(uniform(items, "axis", place), self.vectors.astype(np.float64) ** 2)
        pole = np.take_along_axis(self.vectors, axis[:, None], axis=1)[:, 0] < 0
        word = np.floor(6 * uniform(items, "word", place)).astype(np.int64)
        words = [*(word for axis in AXES for pole in axis for word in pole), *FILLERS]
        anyones = np.floor(len(words) * uniform(items, "any word", place)).astype(np.int64)
        return pl.Series(words).gather(np.where(tells, 12 * axis + 6 * pole + word, anyones))

    @cached_property
    def _by_birth(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Items by category and birth: their rows, their keys, and the running sum of exposure, from 0."""
        keys = self._birth_key(self.category, self.born)
        order = np.argsort(keys, kind="stable")
        return order, keys[order], np.concatenate([[0.0], np.cumsum(self.popularity[order])])

    def _birth_key(self, categories: NDArray[np.int64], days: NDArray[np.integer] | int) -> NDArray[np.int64]:
        return categories * (self.config.days + 2 * _OLDEST_DAYS) + days + _OLDEST_DAYS + 1


def item_ids(rows: NDArray[np.integer]) -> pl.Series:
    """Return the ids of items in files, by row."""
    return pl.select(pl.lit("i") + pl.Series(rows).cast(pl.String)).to_series()
