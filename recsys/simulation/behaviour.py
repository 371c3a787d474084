"""What somebody does with a list: examine, look, put into the cart, buy (with what goes with it), regret, rate.

The written files and the environment of a closed loop both come from here, so that one truth holds for both.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from recsys.simulation.draws import Hashes, hashed, normal, uniform
from recsys.simulation.memory import Memory
from recsys.simulation.people import Crowd, Rows
from recsys.simulation.preferences import Circumstances, Floats, Preferences, sigmoid

KINDS = ("view", "cart", "purchase", "dislike", "rating", "return")  # in the order in which they can follow
VIEW, CART, PURCHASE, DISLIKE, RATING, RETURN = range(len(KINDS))
NOTHING = -1  # in place of an item, where a list is shorter than others
DAY = 86_400
_NEVER = 20.0  # taken from the utility of what somebody has and needs no second of
_FRESH, _DUE = 0.8, 2.0  # part of an interval after which a consumable is wanted again, and what it then gains


@dataclass(frozen=True)
class Visits:
    """Who comes when; all arrays are (n,).

    Attributes:
        people: numbers that a memory knows them by.
        crowd: the same people, once a visit.
        hashes: what all luck of a visit goes on from.
        days: whole days from the first.
        seconds: of the day.
        devices: numbers of the devices.
    """

    people: Rows
    crowd: Crowd
    hashes: Hashes
    days: NDArray[np.int64]
    seconds: NDArray[np.int64]
    devices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.people)

    def take(self, places: Rows) -> "Visits":
        """Return some of them."""
        return Visits(
            self.people[places], self.crowd.take(places), self.hashes[places], self.days[places],
            self.seconds[places], self.devices[places],
        )  # fmt: skip

    @property
    def moments(self) -> NDArray[np.int64]:
        """Seconds from the beginning of the first day."""
        return self.days * DAY + self.seconds

    @property
    def circumstances(self) -> Circumstances:
        return Circumstances(self.days.astype(np.float64), self.devices, self.seconds // 3_600)


@dataclass(frozen=True)
class Actions:
    """What was done; all arrays are (actions,).

    Attributes:
        visits: places in ``Visits``.
        items: rows of the catalogue.
        kinds: numbers of ``KINDS``.
        moments: seconds from the beginning of the first day.
        values: stars of ratings, else NaN.
        positions: from 1 in the list that was shown; 0 for what was not.
    """

    visits: Rows
    items: Rows
    kinds: NDArray[np.int64]
    moments: NDArray[np.int64]
    values: NDArray[np.float64]
    positions: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: "list[Actions]") -> "Actions":
        """Return several as one."""
        if not parts:
            nothing = np.empty(0, np.int64)
            return cls(nothing, nothing, nothing, nothing, np.empty(0), nothing)
        return cls(*[np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)])

    def take(self, places: Rows) -> "Actions":
        """Return some of them, in the given order."""
        return Actions(*[getattr(self, field.name)[places] for field in fields(self)])


def examination(positions: NDArray[np.integer], bias: float) -> NDArray[np.float64]:
    """Return the probability that a position is examined, ``position ^ −bias``, positions from 1."""
    return positions.astype(np.float64) ** -bias


def behave(
    preferences: Preferences, visits: Visits, shown: Rows, memory: Memory, orders_by_themselves: bool = False
) -> Actions:
    """Return what people do with lists, and note in the memory what they buy.

    To the lasting utility come ``need`` for the category of the day, ``−satiation · ½^(days / satiation_days)`` for
    a lasting good after another of its category, and for an item that was bought before: a lasting good is not wanted
    again; a consumable not before 0.8 of its interval, and then more.

    Args:
        shown: (visits, length) rows of items, ``NOTHING`` where a list has ended.
        orders_by_themselves: consumables are ordered again without being shown, and are not wanted beside that.
    """
    real = shown != NOTHING
    items = np.where(real, shown, 0)
    fit = preferences.fit(visits.crowd, items, visits.circumstances.days)
    wanted = _wanted(preferences, visits, items, fit, memory, orders_by_themselves)
    positions = np.arange(1, shown.shape[1] + 1)
    chance = examination(positions, preferences.behaviour.position_bias) * preferences.look_probability(wanted)
    luck = hashed(visits.hashes[:, None], items)
    visit, column = np.nonzero(real & (uniform(luck, "look") < chance))
    looked, wish, suits, luck = items[visit, column], wanted[visit, column], fit[visit, column], luck[visit, column]
    in_cart = uniform(luck, "cart") < preferences.cart_probability(wish)
    bought = in_cart & (uniform(luck, "order") < preferences.order_probability(wish))
    annoyed = preferences.behaviour.dislike_rate * preferences.regret(suits)
    disliked = ~in_cart & (uniform(luck, "dislike") < annoyed)
    seen = visits.moments[visit] + 7 * column
    order = visits.moments + 7 * shown.shape[1] + 60
    position = column + 1
    parts = [
        _actions(VIEW, visit, looked, seen, position),
        _actions(CART, visit[in_cart], looked[in_cart], seen[in_cart] + 3, position[in_cart]),
        _actions(DISLIKE, visit[disliked], looked[disliked], seen[disliked] + 5, position[disliked]),
        _actions(PURCHASE, visit[bought], looked[bought], order[visit[bought]], position[bought]),
    ]
    visit, looked, suits, luck = visit[bought], looked[bought], suits[bought], luck[bought]
    if len(visit):
        beside, with_it, fits, own = _basket(preferences, visits, visit, looked, memory)
        parts.append(_actions(PURCHASE, beside, with_it, order[beside] + 20))
        visit, looked = np.concatenate([visit, beside]), np.concatenate([looked, with_it])
        suits, luck = np.concatenate([suits, fits]), np.concatenate([luck, own])
        memory.note(visits.people[visit], looked, visits.moments[visit] / DAY)
        parts += _afterwards(preferences, visit, looked, order[visit], suits, luck)
    return Actions.joined(parts)


def _wanted(
    preferences: Preferences, visits: Visits, items: Rows, fit: Floats, memory: Memory, by_themselves: bool
) -> Floats:
    """Return the utility of items at these visits, (visits, length)."""
    behaviour, catalogue = preferences.behaviour, preferences.catalogue
    wanted = preferences.utility(visits.crowd, items, visits.circumstances, fit).astype(np.float64)
    need = preferences.needs(visits.crowd, visits.days)
    wanted += behaviour.need * (catalogue.category[items] == need[:, None])
    interval, now = catalogue.interval[items], visits.moments / DAY
    lasting = np.isinf(interval)
    ago = memory.since_category(visits.people, items, now)
    wanted -= np.where(lasting, behaviour.satiation * 0.5 ** (ago / behaviour.satiation_days), 0)
    since = memory.since_item(visits.people, items, now)
    ripe = since / np.where(lasting, 1, interval * visits.crowd.pace[:, None])
    again = np.where(lasting | by_themselves | (ripe < _FRESH), -_NEVER, _DUE)
    return (wanted + np.where(np.isinf(since), 0, again)).astype(np.float32)


def _basket(
    preferences: Preferences, visits: Visits, visit: Rows, bought: Rows, memory: Memory
) -> tuple[Rows, Rows, Floats, Hashes]:
    """Return what is bought along: places of visits, items, fits and luck.

    A complement's chance is ``basket · 2 σ(utility)``, one at most; what somebody has bought before is left.
    """
    catalogue = preferences.catalogue
    others = catalogue.complements[bought]
    crowd, days = visits.crowd.take(visit), visits.days[visit]
    fit = preferences.fit(crowd, others, days.astype(np.float64))
    chance = preferences.behaviour.basket * 2 * sigmoid(preferences.utility(crowd, others, fit=fit))
    luck = hashed(hashed(visits.hashes[visit], bought)[:, None], others)
    new = np.isinf(memory.since_item(visits.people[visit], others, days.astype(np.float64)))
    line, column = np.nonzero((uniform(luck, "basket") < chance) & new & (catalogue.born[others] <= days[:, None]))
    beside, with_it = visit[line], others[line, column]
    # two things of one basket may want the same third, or one of the basket itself
    keys = np.concatenate([visit * len(catalogue) + bought, beside * len(catalogue) + with_it])
    first = np.unique(keys, return_index=True)[1]
    kept = np.sort(first[first >= len(visit)]) - len(visit)
    return beside[kept], with_it[kept], fit[line, column][kept], luck[line, column][kept]


def _afterwards(
    preferences: Preferences, visit: Rows, bought: Rows, ordered: NDArray[np.int64], fit: Floats, luck: Hashes
) -> list[Actions]:
    """Return what follows an order: a return after 3 to 20 days, a rating ``3.2 + 1.1 · fit`` after 1 to 10."""
    behaviour = preferences.behaviour
    returned = uniform(luck, "return") < behaviour.return_rate * preferences.regret(fit, paid=True)
    rated = uniform(luck, "rating") < behaviour.rating_rate
    stars = np.rint(3.2 + 1.1 * fit + behaviour.rating_noise * normal(luck, "stars"))
    back = ordered + (DAY * (3 + 17 * uniform(luck, "days to return"))).astype(np.int64)
    told = ordered + (DAY * (1 + 9 * uniform(luck, "days to rating"))).astype(np.int64)
    return [
        _actions(RETURN, visit[returned], bought[returned], back[returned]),
        _actions(RATING, visit[rated], bought[rated], told[rated], values=np.clip(stars, 1, 5)[rated]),
    ]


def _actions(
    kind: int,
    visits: Rows,
    items: Rows,
    moments: NDArray[np.int64],
    positions: NDArray[np.int64] | None = None,
    values: NDArray[np.float64] | None = None,
) -> Actions:
    count = len(items)
    kinds = np.full(count, kind, np.int64)
    positions = np.zeros(count, np.int64) if positions is None else positions
    values = np.full(count, np.nan) if values is None else values
    return Actions(visits, items, kinds, moments, values, positions)
