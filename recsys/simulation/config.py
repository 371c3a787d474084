"""The dials of a world: how large it is, how much its texts and attributes tell, and how its people behave."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from recsys.settings.bounds import Bound, Count, CountOrNone, NotNegative, Positive, Seed, Share, Written
from recsys.settings.reading import Settings
from recsys.simulation.words import AXES, BRANDS, CATEGORIES, CONSUMABLE, DURABLE

Day = Annotated[str, Written(r"^\d{4}-\d{2}-\d{2}$", "a date as YYYY-MM-DD")]
Logit = Annotated[float, Bound(at_least=-20, at_most=20)]
Weight = Annotated[float, Bound(at_least=0, at_most=10)]


@dataclass(frozen=True)
class CatalogueConfig(Settings):
    """Items: what they are like, and how much of it is written on them."""

    categories: Annotated[int, Bound(at_least=2, at_most=len(CATEGORIES))] = 20
    brands: Annotated[int, Bound(at_least=1, at_most=len(BRANDS))] = 40
    text_tells: Share = 0.8  # of an item's words that are chosen by its vector; the others are anyone's
    description_words: Annotated[int, Bound(at_least=1, at_most=40)] = 10
    zipf: Annotated[float, Bound(at_least=0, at_most=3)] = 0.9  # exposure of the r-th item is r^-zipf
    quality_sells: Share = 0.4  # how much the better items are the popular ones
    born_later: Share = 0.2  # of the items are born during the simulated time
    consumable_share: Share = 0.25  # of the categories: what is in them is bought again
    interval_days: tuple[Positive, ...] = (14.0, 60.0)  # shortest and longest typical time between two orders
    complements: Annotated[int, Bound(at_least=0, at_most=10)] = 3  # items that go with an item
    season: Weight = 0.6  # largest swing of a category's utility over the year
    weekend: Weight = 0.3  # largest gain of a category's utility at weekends
    trends: CountOrNone = 10  # items that are in fashion in a week

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if len(self.interval_days) != 2 or self.interval_days[0] > self.interval_days[1]:
            yield "interval_days", "takes two numbers, the shorter first."
        if self.consumable > len(CONSUMABLE) or self.categories - self.consumable > len(DURABLE):
            yield (
                "consumable_share",
                f"is {self.consumable_share} of {self.categories} categories: {self.consumable} that are used up and "
                f"{self.categories - self.consumable} that last; there are {len(CONSUMABLE)} and {len(DURABLE)}.",
            )

    @property
    def consumable(self) -> int:
        """How many categories hold what is used up."""
        return round(self.consumable_share * self.categories)


@dataclass(frozen=True)
class PeopleConfig(Settings):
    """People: how alike those with the same attributes are, and how their tastes move."""

    attributes_tell: Share = 0.5  # of the variance of taste that follows from attributes
    drift: Annotated[float, Bound(at_least=0, at_most=6.3)] = 0.5  # radians a year by which a taste turns
    joined_later: Share = 0.3  # of the users come during the simulated time
    activity_spread: Annotated[float, Bound(at_least=0, at_most=2)] = 0.8  # log-normal sigma of visits a user
    price_matters: Weight = 0.3  # mean loss of utility per standard deviation of the logarithm of the price
    context_matters: Weight = 0.4  # spread of what a device or an hour adds to a category


@dataclass(frozen=True)
class BehaviourConfig(Settings):
    """From what is shown to what is done: logits are ``base + slope · utility``."""

    shown: Annotated[int, Bound(at_least=1, at_most=100)] = 12  # items an organic visit shows
    position_bias: Annotated[float, Bound(at_least=0, at_most=5)] = 0.8  # position p is examined with p^-bias
    browsing: Weight = 0.5  # how much the categories that a visit shows follow taste
    look_base: Logit = -0.6
    look_slope: Weight = 0.3  # loosely tied to taste
    cart_base: Logit = -3.8
    cart_slope: Weight = 1.0
    purchase_base: Logit = -1.5
    purchase_slope: Weight = 1.2  # strongly
    need: Weight = 1.0  # utility that the category gains which somebody needs that day
    satiation: Weight = 2.0  # utility that a category loses at once when something of it was bought
    satiation_days: Positive = 14.0  # half-life of that loss
    basket: Share = 0.08  # chance that a complement which fits as most things do is bought along
    repeat: Logit = 0.0  # logit, at no fit at all, that a consumable is ordered again
    repeat_spread: Annotated[float, Bound(at_least=0, at_most=1)] = 0.15  # log-normal sigma of an interval
    regret: Annotated[float, Bound(at_least=-10, at_most=10)] = -1.2  # fit below which somebody truly dislikes an item
    regret_slope: Positive = 3.0  # how sharp that edge is
    return_rate: Share = 0.8  # of what is bought and regretted
    dislike_rate: Share = 0.5  # of what is looked at and truly disliked is said to be
    rating_rate: Share = 0.3  # of purchases are rated
    rating_noise: NotNegative = 0.6  # standard deviation in stars


@dataclass(frozen=True)
class SimulationConfig(Settings):
    """All that shapes a world. The same settings give the same world, and the same events."""

    users: Annotated[int, Bound(at_least=1, at_most=100_000_000)] = 2_000
    items: Annotated[int, Bound(at_least=10, at_most=10_000_000)] = 1_000
    events: Annotated[int, Bound(at_least=1, at_most=10_000_000_000)] = 100_000  # about so many are written
    days: Annotated[int, Bound(at_least=1, at_most=3_660)] = 180
    start: Day = "2024-01-01"
    dimensions: Annotated[int, Bound(at_least=2, at_most=len(AXES))] = 8  # of tastes
    catalogue: CatalogueConfig = CatalogueConfig()
    people: PeopleConfig = PeopleConfig()
    behaviour: BehaviourConfig = BehaviourConfig()
    rows_per_file: Count = 500_000  # about so many events a file; memory follows it, content does not
    seed: Seed = 0

    def conflicts(self) -> Iterator[tuple[str, str]]:
        try:
            date.fromisoformat(self.start)
        except ValueError:
            yield "start", f"is {self.start!r}, which no calendar has."
        if self.items < self.catalogue.categories:
            yield "items", f"is {self.items:,} for {self.catalogue.categories} categories; each needs one at least."
        if self.events > 10_000 * self.users:
            yield "events", f"is {self.events:,} for {self.users:,} users; at most 10,000 each."
