"""Lists that made-up people are shown, recorded as a service records them, and what these people do with them.

A policy has a generation's name and shows each visitor the items that suit them best, with so much noise that another
day brings another list. Impressions and events go through the stores that the service writes to, so what
``recsys monitor`` reads of them is counted as in a shop: complements that were in no list, returns, ratings days later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.database.engine import Database
from recsys.database.events import Event, EventStore
from recsys.database.impressions import Impression, ImpressionStore, ShownItem
from recsys.database.rates import Rate, RateStore
from recsys.database.tombstones import Tombstones
from recsys.monitoring.answers import ANY, answers
from recsys.monitoring.checks import Check, judged
from recsys.simulation.behaviour import KINDS, PURCHASE
from recsys.simulation.environment import Environment
from recsys.simulation.world import World

LENGTH = 10  # items of a list
BOUGHT = KINDS[PURCHASE]


@dataclass(frozen=True)
class Policy:
    """Who makes the lists.

    Attributes:
        generation: the name that its answers bear.
        taste: what an item's true utility counts beside the noise; 0: lists are random; below: what suits least.
    """

    generation: str
    taste: float = 1.0

    def lists(self, world: World, users: Sequence[str], day: int, random: np.random.Generator) -> list[list[str]]:
        """Return a list of each user."""
        utility = world.preference(users, day=day)
        places = np.argsort(-(self.taste * utility + random.gumbel(size=utility.shape)), axis=1)[:, :LENGTH]
        return [[world.items[place] for place in row] for row in places.tolist()]


class Showing:
    """A shop that answers: its visitors are dealt to policies, and all is written into a database.

    Args:
        world: who visits.
        database: where impressions and events go.
        history: what people did before; what was bought there is remembered.
    """

    def __init__(self, world: World, database: Database, history: pl.DataFrame | None = None) -> None:
        self._world = world
        self._environment = Environment(world, history)
        self._events = EventStore(database)
        self._impressions = ImpressionStore(database, Tombstones(database))
        self._rates = RateStore(database)

    def moment(self, day: int) -> datetime:
        """Return when a day of the world begins."""
        return datetime.fromisoformat(f"{self._world.config.start}T00:00+00:00") + timedelta(days=day)

    def side_by_side(self, policies: Sequence[Policy], days: range, seed: int) -> None:
        """Deal the visitors of each day to the policies by chance."""
        for day in days:
            random = np.random.default_rng([seed, day])
            users = self._environment.visitors(day, seed)
            dealt = random.integers(len(policies), size=len(users))
            for number, policy in enumerate(policies):
                chosen = [user for user, own in zip(users, dealt.tolist(), strict=True) if own == number]
                self._show(policy, chosen, day, random, seed)

    def one_after_the_other(self, policies: Mapping[Policy, range], seed: int) -> None:
        """Let each policy answer everybody on its days, as generations do that follow one another."""
        for policy, days in policies.items():
            for day in days:
                users = self._environment.visitors(day, seed)
                self._show(policy, users, day, np.random.default_rng([seed, day]), seed)

    def rates(self, since: int) -> dict[str, list[Rate]]:
        """Return what answers have brought since a day: of any kind, and orders."""
        first = self.moment(since)
        return {ANY: self._rates.read(first).generations, BOUGHT: self._rates.read(first, BOUGHT).generations}

    def _show(self, policy: Policy, users: Sequence[str], day: int, random: np.random.Generator, seed: int) -> None:
        if not users:
            return
        lists, first = policy.lists(self._world, users, day, random), self.moment(day)
        ids = {user: f"{policy.generation} {seed} {day} {user}" for user in users}
        self._impressions.add(
            [
                Impression(ids[user], first, user, policy.generation, "an adapter", items=shown(items))
                for user, items in zip(users, lists, strict=True)
            ]
        )
        acted = self._environment.respond(users, lists, day, seed=seed)
        names = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.EVENT_TYPE)
        self._events.add(Event(**row, rec_id=ids[row[columns.USER_ID]]) for row in acted.select(names).to_dicts())


def shown(items: Sequence[str]) -> list[ShownItem]:
    """Return a list as an impression keeps it."""
    return [ShownItem(item_id=one, score=float(len(items) - place), propensity=1.0) for place, one in enumerate(items)]


def compared(rates: Mapping[str, Sequence[Rate]], served: str, config: MonitorConfig) -> tuple[Check, ...]:
    """Return the checks of rates as a run has them that looks at nothing else."""
    return judged(answers(rates, served, config), config.false_alarms)
