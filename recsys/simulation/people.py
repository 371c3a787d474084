"""The people of a world: attributes, tastes, pace. All of it is a function of a user's row: nothing is kept."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.simulation.config import SimulationConfig
from recsys.simulation.draws import Hashes, chosen, directions, hashed, normal, purpose, uniform, unit
from recsys.simulation.words import ATTRIBUTE_WEIGHTS, ATTRIBUTES, DEVICES

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Crowd:
    """What is lasting of some people, or of the same one many times; all arrays begin with (n,).

    Attributes:
        rows: of the world's users.
        hashes: what all their luck goes on from.
        first: (n, dimensions) unit vectors, the taste on the first day.
        second: (n, dimensions) unit vectors upright on it, toward which tastes turn.
        price: utility lost per standard deviation of a price's logarithm, at least 0.
        pace: by what intervals between orders are longer than the item's; log-normal around 1.
        drift: radians a day.
    """

    rows: Rows
    hashes: Hashes
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    price: NDArray[np.float32]
    pace: NDArray[np.float64]
    drift: float

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: NDArray[np.integer]) -> "Crowd":
        """Return some of them."""
        return Crowd(
            self.rows[places], self.hashes[places], self.first[places], self.second[places], self.price[places],
            self.pace[places], self.drift,
        )  # fmt: skip

    def tastes(self, days: NDArray[np.floating] | float | None = None) -> NDArray[np.float32]:
        """Return unit vectors of taste, (n, dimensions), on days of one's own, on one for all, or on the first.

        ``cos(θ) first + sin(θ) second`` with ``θ = drift · day``.
        """
        if days is None or self.drift == 0:
            return self.first
        angle = np.broadcast_to(self.drift * np.asarray(days, np.float64), (len(self),))[:, None]
        return (np.cos(angle) * self.first + np.sin(angle) * self.second).astype(np.float32)


@dataclass(frozen=True)
class People:
    """All users, by row; an id is ``u`` and the row."""

    config: SimulationConfig

    def __len__(self) -> int:
        return self.config.users

    def hashes(self, rows: Rows) -> Hashes:
        """Return what all numbers about these people go on from, (rows,)."""
        return hashed(hashed(self.config.seed, purpose("user")), rows)

    def attribute(self, rows: Rows, name: str) -> NDArray[np.int64]:
        """Return the number of each one's value of an attribute, (rows,)."""
        weights = np.array(list(ATTRIBUTES[name].values()), dtype=np.float64)
        return chosen(uniform(self.hashes(rows), name), weights)

    def some(self, rows: Rows) -> "Crowd":
        """Return what is lasting of some people.

        A taste on the first day is ``p = unit(√s · segment + √(1−s) · own)``, s = ``attributes_tell``, where the
        segment is the weighted sum of a vector for each value of an attribute, made to have unit length.
        """
        people, size = self.config.people, self.config.dimensions
        hashes = self.hashes(rows)
        segment = np.zeros((len(rows), size), np.float32)
        for name, weight in ATTRIBUTE_WEIGHTS.items():
            segment += np.float32(weight) * self._segments[name][self.attribute(rows, name)]
        own = directions(hashes, "taste", size)
        first = unit(np.sqrt(people.attributes_tell) * unit(segment) + np.sqrt(1 - people.attributes_tell) * own)
        second = directions(hashes, "later taste", size)
        second = unit(second - (second * first).sum(axis=1, keepdims=True) * first)
        price = people.price_matters * -np.log1p(-uniform(hashes, "price"))  # exponential
        pace = np.exp(0.2 * normal(hashes, "pace"))
        return Crowd(rows, hashes, first, second, price.astype(np.float32), pace, people.drift / 365)

    def joined(self, rows: Rows) -> NDArray[np.int64]:
        """Return the day on which each one came; 0 for those who were there."""
        hashes = self.hashes(rows)
        later = uniform(hashes, "joins later") < self.config.people.joined_later
        return np.where(later, np.floor(uniform(hashes, "joins") * self.config.days), 0).astype(np.int64)

    def activity(self, rows: Rows) -> NDArray[np.float64]:
        """Return how much more often than the mean each one comes: log-normal with mean 1."""
        sigma = self.config.people.activity_spread
        return np.exp(sigma * normal(self.hashes(rows), "activity") - sigma**2 / 2)

    def table(self, rows: Rows) -> pl.DataFrame:
        """Return ids, attributes and the day of coming."""
        values = {name: pl.Series(list(ATTRIBUTES[name])).gather(self.attribute(rows, name)) for name in ATTRIBUTES}
        joined = pl.Series(np.datetime64(self.config.start, "D") + self.joined(rows))
        return pl.DataFrame({columns.USER_ID: user_ids(rows), **values, "joined": joined})

    def devices(self, hashes: Hashes, rows: Rows) -> NDArray[np.int64]:
        """Return the device of a visit: the preferred one seven times in ten."""
        anyone = np.floor(uniform(hashes, "any device") * len(DEVICES)).astype(np.int64)
        own = self.attribute(rows, "preferred_device")
        return np.where(uniform(hashes, "own device") < 0.7, own, anyone)

    @cached_property
    def _segments(self) -> dict[str, NDArray[np.float32]]:
        seed, size = self.config.seed, self.config.dimensions
        return {
            name: directions(hashed(hashed(seed, purpose(name)), np.arange(len(values))), "segment", size)
            for name, values in ATTRIBUTES.items()
        }


def user_ids(rows: NDArray[np.integer]) -> pl.Series:
    """Return the ids of users in files, by row."""
    return pl.select(pl.lit("u") + pl.Series(rows).cast(pl.String)).to_series()
