"""Whom what suits, by rows: the formulas that all truth, and all behaviour, follow from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.catalogue import Catalogue
from recsys.simulation.config import BehaviourConfig, SimulationConfig
from recsys.simulation.draws import chosen, hashed, normal, purpose, uniform
from recsys.simulation.people import Crowd, People, Rows
from recsys.simulation.words import DEVICES

Floats = NDArray[np.float32]
Days = NDArray[np.floating] | float
_QUALITY = np.float32(0.5)  # utility of a standard deviation of quality


@dataclass(frozen=True)
class Circumstances:
    """When and where somebody looks; what is None adds nothing. Arrays are (rows,).

    Attributes:
        days: since the first day, from 0.
        devices: numbers of ``DEVICES``.
        hours: of the day.
    """

    days: Days | None = None
    devices: NDArray[np.int64] | None = None
    hours: NDArray[np.int64] | None = None


_NOWHERE = Circumstances()


@dataclass(frozen=True)
class Preferences:
    """Items and people of one world, and what binds them."""

    catalogue: Catalogue
    people: People

    @classmethod
    def of(cls, config: SimulationConfig) -> "Preferences":
        """Make items and people by settings."""
        return cls(Catalogue.made(config), People(config))

    @property
    def config(self) -> SimulationConfig:
        return self.people.config

    @property
    def behaviour(self) -> BehaviourConfig:
        return self.people.config.behaviour

    def fit(self, crowd: Crowd, items: Rows, days: Days | None = None) -> Floats:
        """Return how well items suit people in themselves: ``√dimensions · ⟨taste(day), vector⟩ + quality / 2``.

        Args:
            crowd: n people.
            items: (m,) for everybody, or (n, m), each one's own.

        Returns:
            (n, m); the standard deviation over all pairs is about 1.1.
        """
        tastes = crowd.tastes(days) * np.float32(np.sqrt(self.config.dimensions))
        vectors = self.catalogue.vectors[items]
        near = tastes @ vectors.T if items.ndim == 1 else np.einsum("nd,nmd->nm", tastes, vectors)
        return near + _QUALITY * self.catalogue.quality[items]

    def utility(self, crowd: Crowd, items: Rows, when: Circumstances = _NOWHERE, fit: Floats | None = None) -> Floats:
        """Return lasting utility: ``fit + season(category, day) + context(category, device, hour) − price``.

        ``price`` is the user's own sensitivity times the standardised logarithm of the price. Arguments and shape are
        those of ``fit``, whose values are taken where they are known already.
        """
        found = self.fit(crowd, items, when.days) if fit is None else fit
        found = found - crowd.price[:, None] * self.catalogue.price_score[items]
        added = self.of_categories(when)
        if added is None:
            return found
        categories = self.catalogue.category[items]
        if len(added) == 1:
            return found + added[0][categories]
        return found + (added[:, categories] if items.ndim == 1 else np.take_along_axis(added, categories, axis=1))

    def of_categories(self, when: Circumstances) -> Floats | None:
        """Return what circumstances add to each category, (rows or 1, categories), or None where nothing is known.

        A device adds a normal number of its own to each category; an hour ``cos(2π (hour − the category's) / 24)``,
        both times ``context_matters``.
        """
        parts: list[NDArray[np.floating]] = []
        if when.days is not None:
            parts.append(self.catalogue.seasonal(np.atleast_1d(np.asarray(when.days, np.float64))))
        if when.devices is not None:
            parts.append(self._device_effects[when.devices])
        if when.hours is not None:
            turn = np.cos(2 * np.pi * (when.hours[:, None] - self._best_hours) / 24)
            parts.append(self.config.people.context_matters * turn)
        return np.asarray(sum(parts[1:], parts[0]), np.float32) if parts else None

    def affinity(self, crowd: Crowd, days: Days | None = None) -> Floats:
        """Return how near people are to the middle of each category, (rows, categories), on the scale of ``fit``."""
        tastes = crowd.tastes(days)
        return np.float32(np.sqrt(self.config.dimensions)) * (tastes @ self.catalogue.centres.T)

    def needs(self, crowd: Crowd, days: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the category that each one needs on a day, drawn by ``exp(affinity)``: a new one every day."""
        luck = uniform(hashed(crowd.hashes, days), "need")
        return chosen(luck, np.exp(self.affinity(crowd, days.astype(np.float64)).astype(np.float64)))

    def disliked(self, fit: Floats) -> NDArray[np.bool_]:
        """Tell who truly dislikes what: where the fit is below ``regret``."""
        return fit < self.behaviour.regret

    def regret(self, fit: Floats, paid: bool = False) -> NDArray[np.float64]:
        """Return how probably something is regretted, ``σ(regret_slope · (regret + paid − fit))``.

        What was paid for must fit better by one than what is only looked at.
        """
        return sigmoid(self.behaviour.regret_slope * (self.behaviour.regret + paid - fit))

    def look_probability(self, utility: Floats) -> NDArray[np.float64]:
        """Return the probability that what is examined is looked at: ``σ(look_base + look_slope · utility)``."""
        return sigmoid(self.behaviour.look_base + self.behaviour.look_slope * utility)

    def cart_probability(self, utility: Floats) -> NDArray[np.float64]:
        """Return the probability that what is looked at goes into the cart."""
        return sigmoid(self.behaviour.cart_base + self.behaviour.cart_slope * utility)

    def order_probability(self, utility: Floats) -> NDArray[np.float64]:
        """Return the probability that what is in the cart is bought."""
        return sigmoid(self.behaviour.purchase_base + self.behaviour.purchase_slope * utility)

    def purchase_probability(self, utility: Floats) -> NDArray[np.float64]:
        """Return the probability that what is examined is bought: the product of all three steps."""
        return self.look_probability(utility) * self.cart_probability(utility) * self.order_probability(utility)

    def repeat_probability(self, fit: Floats) -> NDArray[np.float64]:
        """Return the probability that a consumable is ordered again: ``σ(repeat + fit)``."""
        return sigmoid(self.behaviour.repeat + fit)

    @cached_property
    def _kinds(self) -> NDArray[np.uint64]:
        return hashed(hashed(self.config.seed, purpose("category")), np.arange(len(self.catalogue.names)))

    @cached_property
    def _device_effects(self) -> Floats:
        """(devices, categories)."""
        effects = normal(self._kinds[None, :], "device", np.arange(len(DEVICES))[:, None])
        return (self.config.people.context_matters * effects).astype(np.float32)

    @cached_property
    def _best_hours(self) -> NDArray[np.float64]:
        return 24 * uniform(self._kinds, "hour")


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ``1 / (1 + e^−x)``."""
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
