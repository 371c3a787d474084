"""A world that answers: what people do with the lists that are shown to them, day after day, as events.

::

    environment = Environment(world, history=events)
    for day in range(180, 187):
        users = environment.visitors(day)
        events = environment.respond(users, lists_for(users), day)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.data import columns
from recsys.errors import DataError
from recsys.simulation.behaviour import DAY, KINDS, NOTHING, PURCHASE, Visits, behave
from recsys.simulation.draws import chosen, hashed, purpose, uniform
from recsys.simulation.frames import event_frame
from recsys.simulation.memory import Memory
from recsys.simulation.organic import HOURS
from recsys.simulation.people import user_ids
from recsys.simulation.words import DEVICES
from recsys.simulation.world import Context, Ids, World


class Environment:
    """People who react to lists and remember what they bought.

    All luck hangs on the seed, the user, the day and the item, and on nothing else: neither on who else is asked nor
    on the order of a list. Two policies that show a user the same item on the same day meet the same luck. What can be
    used up is ordered again when it is due and shown; nobody orders by themselves here.

    Args:
        world: who they are.
        history: events from before, as in files; what was bought there is remembered.
    """

    def __init__(self, world: World, history: pl.DataFrame | None = None) -> None:
        self.world = world
        catalogue = world.catalogue
        self._memory = Memory(world.config.users, catalogue.category, len(catalogue.names))
        if history is not None:
            self._remember(history)

    def visitors(self, day: int, seed: int = 0) -> list[str]:
        """Return the users who come on a day: each by the share of days on which they come on their own."""
        rows = np.arange(self.world.config.users)
        people, organic = self.world.people, self.world.organic
        chance = organic.visits_per_user * people.activity(rows) / self.world.config.days
        luck = uniform(hashed(hashed(people.hashes(rows), day), seed), "comes")
        found: list[str] = user_ids(rows[(luck < chance) & (people.joined(rows) <= day)]).to_list()
        return found

    def respond(
        self,
        users: Ids,
        lists: Sequence[Sequence[str]],
        day: int,
        context: Context | None = None,
        seed: int = 0,
    ) -> pl.DataFrame:
        """Return what users do with what is shown to them, and remember what they buy.

        Each examines position p with probability ``p^−position_bias`` and goes on as ``behave`` says: look, cart,
        order with complements, dislike; ratings and returns have a timestamp some days later.

        Args:
            users: ids, each once.
            lists: of each user, the ids of items by position, the first first; they may differ in length.
            day: from the first of the world; it may lie after the simulated days.
            context: device and hour of all; None: each one's own, by luck.
            seed: of this day's luck; the same gives the same.

        Returns:
            Events as in files, by user and time.

        Raises:
            DataError: an id is not in this world, a list names an item twice, or there is not a list for each user.
        """
        rows = self.world.user_rows(users)
        if len(rows) != len(lists):
            raise DataError(f"There are {len(lists):,} lists for {len(rows):,} users; give one for each.")
        if len(np.unique(rows)) != len(rows):
            raise DataError("A user stands there twice. Ask for one list of each user at a time.")
        visits = self._visits(rows, day, context, seed)
        acted = behave(self.world.preferences, visits, self._shown(lists), self._memory)
        order = np.lexsort((acted.items, acted.kinds, acted.positions, acted.moments, acted.visits))
        acted = acted.take(order)
        lasting = pl.Series(acted.items).cast(pl.String) + "-" + pl.Series(KINDS).gather(acted.kinds)
        numbers = pl.Series([f"{day}-{seed}"]).gather(np.zeros(len(order), np.int64)) + "-" + lasting
        return event_frame(self.world.preferences, visits, acted, numbers)

    def act(
        self, user: str, items: Sequence[str], day: int, context: Context | None = None, seed: int = 0
    ) -> pl.DataFrame:
        """Return what one user does with one list; see ``respond``."""
        return self.respond([user], [items], day, context, seed)

    def _visits(self, rows: NDArray[np.int64], day: int, context: Context | None, seed: int) -> Visits:
        crowd = self.world.people.some(rows)
        hashes = hashed(hashed(hashed(crowd.hashes, purpose("shown")), day), seed)
        hours = chosen(uniform(hashes, "hour"), HOURS)
        devices = self.world.people.devices(hashes, rows)
        if context is not None and context.hour is not None:
            hours = np.full(len(rows), context.hour)
        if context is not None and context.device is not None:
            if context.device not in DEVICES:
                raise DataError(f"{context.device!r} is no device; there are {', '.join(DEVICES)}.")
            devices = np.full(len(rows), DEVICES.index(context.device))
        seconds = 3_600 * hours + np.floor(3_600 * uniform(hashes, "second")).astype(np.int64)
        return Visits(rows, crowd, hashes, np.full(len(rows), day, np.int64), seconds, devices)

    def _shown(self, lists: Sequence[Sequence[str]]) -> NDArray[np.int64]:
        lengths = np.array([len(one) for one in lists], dtype=np.int64)
        shown = np.full((len(lists), int(lengths.max(initial=1))), NOTHING)
        names: list[Any] = [name for one in lists for name in one]
        line = np.repeat(np.arange(len(lists)), lengths)
        column = np.arange(len(names)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        found = self.world.item_rows(names)
        if len(np.unique(line * self.world.config.items + found)) < len(found):
            raise DataError("A list names an item twice. Show each item once.")
        shown[line, column] = found
        return shown

    def _remember(self, history: pl.DataFrame) -> None:
        bought = history.filter(pl.col(columns.EVENT_TYPE) == KINDS[PURCHASE])
        first = np.datetime64(self.world.config.start, "us").astype(np.int64)
        days = (bought[columns.TIMESTAMP].dt.epoch("us").to_numpy() - first) / (1_000_000 * DAY)
        users, items = self.world.user_rows(bought[columns.USER_ID]), self.world.item_rows(bought[columns.ITEM_ID])
        self._memory.note(users, items, days)
