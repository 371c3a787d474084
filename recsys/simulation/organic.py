"""What people do on their own, before anybody recommends: the events of the written files, user by user.

A visit shows items of categories that are popular, in season, loosely to one's taste, or needed that day; within a
category by popularity; some in fashion. Consumables are ordered again beside the visits, each after its own interval.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.simulation.behaviour import DAY, NOTHING, PURCHASE, Actions, Visits, behave
from recsys.simulation.draws import chosen, hashed, normal, purpose, uniform
from recsys.simulation.frames import event_frame
from recsys.simulation.memory import Memory
from recsys.simulation.people import Rows
from recsys.simulation.preferences import Preferences

_WEEKDAYS = np.array([0.9, 0.9, 0.95, 1.0, 1.1, 1.2, 1.15])  # visits by day of the week, from Monday
HOURS = np.array([1, 1, 1, 1, 1, 1, 2, 4, 5, 5, 5, 5, 6, 6, 5, 5, 5, 6, 8, 10, 10, 8, 5, 2], dtype=np.float64)
_NEEDED = 4.0  # exposure of the category that somebody needs, beside the others'
_IN_FASHION = 0.08  # of the places of a visit
_FEWEST_EVENTS = 0.5  # of a visit, on average: where people do less, visits do not make up for it
_PILOT_EVENTS, _PILOT_USERS, _COUNTED_USERS = 30_000, 4_000, 200_000


class Organic:
    """The organic events of a world's users."""

    def __init__(self, preferences: Preferences) -> None:
        self.preferences = preferences

    def events(self, rows: Rows) -> pl.DataFrame:
        """Return all events of some users within the simulated days, by user and time, as the input contract asks."""
        acted, visits = self._acted(rows, self.visits_per_user * self._expected(rows))
        inside = np.flatnonzero(acted.moments < self.preferences.config.days * DAY)
        who = visits.people[acted.visits]
        keys = (acted.items, acted.kinds, acted.positions, acted.moments, who)
        acted = acted.take(inside[np.lexsort([key[inside] for key in keys])])
        counts = np.bincount(visits.people[acted.visits], minlength=len(rows))
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return event_frame(self.preferences, visits, acted, pl.Series(number).cast(pl.String))

    @cached_property
    def visits_per_user(self) -> float:
        """Visits of a user of mean activity who was there from the beginning: so many that ``events`` come of them.

        Found on a pilot of some users, twice over since those who come often have bought already. Where next to nothing
        is done at a visit (all has been bought, or the dials are so), fewer events come.
        """
        config = self.preferences.config
        counted = np.unique(np.linspace(0, config.users - 1, min(config.users, _COUNTED_USERS)).astype(np.int64))
        mean = float(self._expected(counted).mean())
        size = int(np.clip(_PILOT_EVENTS * config.users / config.events, 20, min(config.users, _PILOT_USERS)))
        pilot = np.unique(np.linspace(0, config.users - 1, min(size, config.users)).astype(np.int64))
        expected = self._expected(pilot)
        wanted, visits = config.events / config.users, config.events / config.users / mean / 4.5
        for _ in range(2):
            acted, visited = self._acted(pilot, visits * expected)
            a_visit = int((acted.moments < config.days * DAY).sum()) / max(1, len(visited))
            visits = wanted / mean / max(a_visit, _FEWEST_EVENTS)
        return visits

    def mean_events(self) -> float:
        """Return about how many events a user has."""
        return self.preferences.config.events / self.preferences.config.users

    def _expected(self, rows: Rows) -> NDArray[np.float64]:
        """Return how many visits each one makes, of those that somebody of mean activity makes in all the time."""
        people, days = self.preferences.people, self.preferences.config.days
        return people.activity(rows) * (days - people.joined(rows)) / days

    def _acted(self, rows: Rows, expected: NDArray[np.float64]) -> tuple[Actions, Visits]:
        """Let people make their visits, one after the other, all people beside each other."""
        preferences, config = self.preferences, self.preferences.config
        catalogue = preferences.catalogue
        memory = Memory(len(rows), catalogue.category, len(catalogue.names))
        whole = self._visits(rows, expected)
        ends = np.cumsum(np.bincount(whole.people, minlength=len(rows)))
        starts = np.concatenate([[0], ends[:-1]])
        parts: list[Actions] = []
        number = 0
        while len(places := starts[starts + number < ends] + number):
            visits = whole.take(places)
            actions = behave(preferences, visits, self._shown(visits), memory, orders_by_themselves=True)
            parts.append(replace(actions, visits=places[actions.visits]))
            number += 1
        acted = Actions.joined(parts)
        return Actions.joined([acted, *self._ordered_again(acted, whole, config.days * DAY)]), whole

    def _visits(self, rows: Rows, expected: NDArray[np.float64]) -> Visits:
        """Return the visits of people, by person and time."""
        people, config = self.preferences.people, self.preferences.config
        crowd = people.some(rows)
        hashes = crowd.hashes
        counts = np.floor(expected + uniform(hashes, "visits")).astype(np.int64)
        who = np.repeat(np.arange(len(rows)), counts)
        number = np.arange(len(who)) - np.repeat(np.cumsum(counts) - counts, counts)
        own = hashed(hashed(hashes, purpose("visit"))[who], number)
        joined = people.joined(rows)[who]
        weekday = (np.datetime64(config.start, "D").astype(np.int64) + 3 + np.arange(config.days)) % 7
        weight = np.concatenate([[0.0], np.cumsum(_WEEKDAYS[weekday])])
        moved = weight[joined] + uniform(own, "day") * (weight[-1] - weight[joined])
        days = np.clip(np.searchsorted(weight, moved, side="right") - 1, joined, config.days - 1)
        hours = chosen(uniform(own, "hour"), HOURS)
        seconds = 3_600 * hours + np.floor(3_600 * uniform(own, "second")).astype(np.int64)
        order = np.lexsort((number, seconds, days, who))
        who, own, days, seconds = who[order], own[order], days[order], seconds[order]
        return Visits(who, crowd.take(who), own, days, seconds, people.devices(own, rows[who]))

    def _shown(self, visits: Visits) -> Rows:
        """Return what a visit shows, (visits, length), nothing twice."""
        preferences, catalogue = self.preferences, self.preferences.catalogue
        behaviour = preferences.behaviour
        days, length = visits.days, behaviour.shown
        pull = behaviour.browsing * preferences.affinity(visits.crowd, days.astype(np.float64)) + self._seasons[days]
        weights = self._masses[days] * np.exp(pull.astype(np.float64))
        weights[np.arange(len(visits)), preferences.needs(visits.crowd, days)] *= _NEEDED
        places = np.arange(length)[None, :]
        categories = chosen(uniform(visits.hashes[:, None], "category", places), weights)
        found = catalogue.drawn(categories, uniform(visits.hashes[:, None], "item", places), days[:, None])
        if catalogue.config.catalogue.trends:
            fashion = self._trends[days // 7]
            pick = uniform(visits.hashes[:, None], "trend", places) * fashion.shape[1]
            modish = np.take_along_axis(fashion, pick.astype(np.int64), axis=1)
            found = np.where(uniform(visits.hashes[:, None], "fashion", places) < _IN_FASHION, modish, found)
        order = np.argsort(found, axis=1, kind="stable")
        ordered = np.take_along_axis(found, order, axis=1)
        twice = ordered[:, 1:] == ordered[:, :-1]
        ordered[:, 1:][twice] = NOTHING
        np.put_along_axis(found, order, ordered, axis=1)
        return found

    def _ordered_again(self, acted: Actions, visits: Visits, end: int) -> list[Actions]:
        """Return the later orders of consumables: each after the interval of the item and the pace of the user."""
        preferences, catalogue = self.preferences, self.preferences.catalogue
        first = (acted.kinds == PURCHASE) & np.isfinite(catalogue.interval[acted.items])
        visit, items, moments = acted.visits[first], acted.items[first], acted.moments[first].astype(np.float64)
        crowd = visits.crowd.take(visit)
        suits = preferences.fit(crowd, items[:, None])[:, 0]
        chance = preferences.repeat_probability(suits)
        interval = catalogue.interval[items] * crowd.pace * DAY
        luck = hashed(crowd.hashes, items)
        parts: list[Actions] = []
        number = 0
        while len(items):
            spread = preferences.behaviour.repeat_spread * normal(luck, "interval", number)
            moments = moments + interval * np.exp(spread)
            going_on = (uniform(luck, "order again", number) < chance) & (moments < end)
            visit, items, moments = visit[going_on], items[going_on], moments[going_on]
            chance, interval, luck = chance[going_on], interval[going_on], luck[going_on]
            count = len(items)
            kinds, nowhere = np.full(count, PURCHASE, np.int64), np.zeros(count, np.int64)
            parts.append(Actions(visit, items, kinds, moments.astype(np.int64), np.full(count, np.nan), nowhere))
            number += 1
        return parts

    @cached_property
    def _masses(self) -> NDArray[np.float64]:
        return np.stack([self.preferences.catalogue.mass(day) for day in range(self.preferences.config.days)])

    @cached_property
    def _seasons(self) -> NDArray[np.float64]:
        return self.preferences.catalogue.seasonal(np.arange(self.preferences.config.days, dtype=np.float64))

    @cached_property
    def _trends(self) -> Rows:
        weeks = (self.preferences.config.days + 6) // 7
        return np.stack([self.preferences.catalogue.trending(week) for week in range(weeks)])
