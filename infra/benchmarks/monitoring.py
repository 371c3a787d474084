"""How often `recsys monitor` cries wolf, and what it catches: over made-up shops, week by week.

    python infra/benchmarks/monitoring.py --out infra/results/monitoring.json [--seeds 20]

A week of a shop is looked at as if everything before it had been trained on, or everything four weeks before it, by
turns. As it is, nothing may be found; what is found is a false alarm, though seasons, fashions, growth and new items
are in it. Then the same week is changed by a known shift, and the check that is meant for it has to see it. The items'
vectors are those that the shop is made from, in the place of text vectors. What answers bring is looked at likewise:
two generations make equally good lists for two weeks, side by side or one after the other, or one of them worse ones
for four weeks, and impressions and events are written down as the service does. ``tables.py`` makes the tables.
"""

import argparse
import dataclasses
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from infra.benchmarks.shifts import SHIFTS
from infra.benchmarks.shown_lists import Policy, Showing, compared
from recsys.artifacts import write_json
from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.database.engine import Database
from recsys.database.rates import wilson
from recsys.home import Home
from recsys.models.devices import device_name
from recsys.monitoring.checks import ALARM, OK, Check
from recsys.monitoring.monitor import Report, Vectors, Watched, monitor
from recsys.monitoring.windows import day_of, midnight
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World

SHOP = SimulationConfig(users=2_000, items=2_000, events=100_000, days=365)
FIRST_WEEK = 24  # with a reference of eight weeks and past windows of twelve before a training of four weeks ago
AGES = (7, 28)  # days between the training and the end of what is looked at, by turns
EVERY = 7  # weeks between those that are shifted
TRIED = 14  # weeks between those from which on lists are worse
WORSE = {"half as much of the taste": 0.5, "lists by chance": 0.0}  # what is shown → what taste counts in it


@dataclasses.dataclass(frozen=True)
class Shop:
    """A made-up shop and all that its people did."""

    world: World
    events: pl.DataFrame
    items: pl.DataFrame

    @classmethod
    def of(cls, config: SimulationConfig) -> "Shop":
        world = World(config)
        return cls(world, world.events(world.users()), world.catalogue.table())

    def week(self, number: int, age: int) -> Watched:
        """Return a week from the shop's first on, as seen at its end by whoever trained so many days before that."""
        first = day_of(datetime.fromisoformat(f"{self.world.config.start}T00:00+00:00"))
        until = midnight(first + 7 * (number + 1))
        cut = until - timedelta(days=age)
        before, now = pl.col(columns.TIMESTAMP) < cut, pl.col(columns.TIMESTAMP).is_between(cut, until, closed="left")
        known, catalogue = (self.items.filter(pl.col(columns.UPDATED_AT) < moment) for moment in (cut, until))
        watched = Watched(self.events.filter(before), known, until, self.events.filter(now), catalogue)
        return with_vectors(self.world, watched)


def with_vectors(world: World, watched: Watched) -> Watched:
    """Return what is looked at with the vectors that the items are made from."""
    assert watched.catalogue is not None
    ids = watched.items[columns.ITEM_ID].to_list()
    known = world.catalogue.vectors[world.item_rows(ids)]
    new = watched.catalogue.join(watched.items, on=columns.ITEM_ID, how="anti")[columns.ITEM_ID]
    return dataclasses.replace(
        watched, vectors=Vectors(ids, known, (known, world.catalogue.vectors[world.item_rows(new)]))
    )


def weeks(shop: Shop) -> Iterator[tuple[int, Watched]]:
    """Return the weeks of a shop that have enough behind them, each by its number, trainings old and new by turns."""
    for number in range(FIRST_WEEK, shop.world.config.days // 7):
        yield number, shop.week(number, AGES[number % len(AGES)])


def caught(report: Report, meant: tuple[str, ...]) -> bool:
    """Tell whether one of the checks that are meant for a shift is an alarm."""
    return any(check.level == ALARM and check.name in meant for check in report.checks)


@dataclasses.dataclass
class Tally:
    """What was counted over all shops."""

    windows: int = 0
    found: int = 0
    alarms: int = 0
    tests: Counter[str] = dataclasses.field(default_factory=Counter)
    small: Counter[str] = dataclasses.field(default_factory=Counter)
    trials: Counter[str] = dataclasses.field(default_factory=Counter)
    caught: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, shop: Shop) -> None:
        """Look at every week of a shop as it is, and at some of them shifted."""
        for number, watched in weeks(shop):
            report = monitor(watched)
            self.windows += 1
            self.found += bool(report.findings)
            self.alarms += report.level == ALARM
            for check in report.checks:
                if check.p is not None:
                    self.tests[check.name] += 1
                    self.small[check.name] += check.p < 0.05
            if number % EVERY == 0:
                random = np.random.default_rng([shop.world.config.seed, number])
                for name, (shift, meant) in SHIFTS.items():
                    self.trials[name] += 1
                    self.caught[name] += caught(monitor(shift(watched, random)), meant)

    def to_dict(self) -> dict[str, Any]:
        """Return the result file's content."""
        config = MonitorConfig()
        return {
            "task": "monitoring",
            "processor": device_name(),
            "shop": {name: getattr(SHOP, name) for name in ("users", "items", "events", "days")},
            "stated": config.false_alarms,
            "unchanged": {
                "windows": self.windows,
                "found": self.found,
                "interval": list(wilson(self.found, self.windows)),
                "alarms": self.alarms,
                "checks": {
                    name: {"tests": count, "below_5_percent": self.small[name] / count}
                    for name, count in sorted(self.tests.items())
                },
            },
            "shifts": {
                name: {
                    "trials": count,
                    "caught": self.caught[name],
                    "interval": list(wilson(self.caught[name], count)),
                    "by": list(SHIFTS[name][1]),
                }
                for name, count in self.trials.items()
            },
        }


@dataclasses.dataclass
class Answered:
    """What was counted over all shops of what answers brought; each generation is looked at as the served one."""

    equal: Counter[str] = dataclasses.field(default_factory=Counter)
    found: Counter[str] = dataclasses.field(default_factory=Counter)
    tests: Counter[str] = dataclasses.field(default_factory=Counter)
    small: Counter[str] = dataclasses.field(default_factory=Counter)
    trials: Counter[str] = dataclasses.field(default_factory=Counter)
    caught: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, shop: Shop) -> None:
        """Let two equal generations answer every two weeks of a shop, and a worse one beside another some of them."""
        for number in range(FIRST_WEEK, shop.world.config.days // 7, 2):
            days, in_turn = range(7 * number - 7, 7 * number + 7), number % 4 == 0
            turn = "one after the other" if in_turn else "side by side"
            for checks in answered(shop, [Policy("one"), Policy("other")], days, in_turn):
                self.equal[turn] += 1
                self.found[turn] += any(check.level != OK for check in checks)
                for check in checks:
                    if check.p is not None:
                        self.tests[check.name] += 1
                        self.small[check.name] += check.p < 0.05
            if number % TRIED == FIRST_WEEK % TRIED:
                for name, taste in WORSE.items():
                    days = range(7 * number, 7 * number + MonitorConfig().rate_days)
                    worse, better = answered(shop, [Policy("worse", taste), Policy("better")], days)
                    self.trials[name] += 1
                    self.caught[name] += any(check.level == ALARM for check in worse)
                    self.found["better"] += any(check.level != OK for check in better)

    def to_dict(self) -> dict[str, Any]:
        """Return its part of the result file."""
        return {
            "equal": {
                turn: {"looks": count, "found": self.found[turn], "interval": list(wilson(self.found[turn], count))}
                for turn, count in sorted(self.equal.items())
            },
            "checks": {
                name: {"tests": count, "below_5_percent": self.small[name] / count}
                for name, count in sorted(self.tests.items())
            },
            "worse": {
                name: {
                    "trials": count,
                    "caught": self.caught[name],
                    "interval": list(wilson(self.caught[name], count)),
                }
                for name, count in self.trials.items()
            },
            "better_found": self.found["better"],
        }


def answered(shop: Shop, policies: list[Policy], days: range, in_turn: bool = False) -> list[tuple[Check, ...]]:
    """Return what a run says of the rates of some days, with each of two policies as the served one."""
    with TemporaryDirectory() as folder:
        database = Database.of(Home(Path(folder)))
        first = midnight(day_of(datetime.fromisoformat(f"{shop.world.config.start}T00:00+00:00")) + days.start)
        showing = Showing(shop.world, database, shop.events.filter(pl.col(columns.TIMESTAMP) < first))
        if in_turn:
            middle = days.start + 9  # weekends weigh more in one of both
            parts = (range(days.start, middle), range(middle, days.stop))
            showing.one_after_the_other(dict(zip(policies, parts, strict=True)), days.start)
        else:
            showing.side_by_side(policies, days, days.start)
        rates = showing.rates(days.start)
        database.close()
    return [compared(rates, policy.generation, MonitorConfig()) for policy in policies]


def main() -> None:
    """Measure and write the result file, after each shop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    tally, answers = Tally(), Answered()
    for seed in range(options.seeds):
        shop = Shop.of(dataclasses.replace(SHOP, seed=seed))
        tally.add(shop)
        answers.add(shop)
        write_json(options.out, {**tally.to_dict(), "answers": answers.to_dict(), "seeds": seed + 1})
        print(seed, tally.windows, tally.found, tally.alarms, dict(tally.caught), flush=True)
        print(dict(answers.equal), dict(answers.found), dict(answers.caught), flush=True)


if __name__ == "__main__":
    main()
