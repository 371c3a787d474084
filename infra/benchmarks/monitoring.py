"""How often `recsys monitor` cries wolf, and what it catches: over made-up shops, week by week.

    python infra/benchmarks/monitoring.py --out infra/results/monitoring.json [--seeds 20]

A week of a shop is looked at as if everything before it had been trained on, or everything four weeks before it, by
turns. As it is, nothing may be found; what is found is a false alarm, though seasons, fashions, growth and new items
are in it. Then the same week is changed by a known shift, and the check that is meant for it has to see it. The items'
vectors are those that the shop is made from, in the place of text vectors. ``tables.py`` makes the table.
"""

import argparse
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.artifacts import write_json
from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.database.rates import wilson
from recsys.models.devices import device_name
from recsys.monitoring.checks import ALARM
from recsys.monitoring.monitor import Report, Vectors, Watched, monitor
from recsys.monitoring.windows import day_of, midnight
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World

SHOP = SimulationConfig(users=2_000, items=2_000, events=100_000, days=365)
FIRST_WEEK = 24  # with a reference of eight weeks and past windows of twelve before a training of four weeks ago
AGES = (7, 28)  # days between the training and the end of what is looked at, by turns
EVERY = 7  # weeks between those that are shifted
GERMAN = (
    "abend ahorn beständig blüte brot dämmerung edel ernte fachwerk feder frisch garten gemütlich glocke handarbeit "
    "heimat holz jahreszeit kiefer küche leder leicht leinen lichtung mühle nacht nebel pfeffer quelle regen ruhig "
    "schatten schlicht schmied silber stube tischler ufer vogel wald weich winter wolle würzig zeitlos ziegel"
)
Shift = Callable[[Watched, np.random.Generator], Watched]


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


def newer(watched: Watched) -> pl.DataFrame:
    """Return the events since the training, of a run that has some."""
    assert watched.newer is not None
    return watched.newer


def last_week(watched: Watched) -> pl.Expr:
    """Tell which events are of the days whose mix is compared."""
    return pl.col(columns.TIMESTAMP) >= watched.until - timedelta(days=MonitorConfig().window_days)


def halved(watched: Watched, random: np.random.Generator) -> Watched:
    """Lose every second event of the last day, by chance."""
    events = newer(watched)
    kept = pl.Series(random.random(events.height) < 0.5)
    return dataclasses.replace(
        watched, newer=events.filter(kept | (pl.col(columns.TIMESTAMP) < watched.until - timedelta(days=1)))
    )


def category_gone(watched: Watched, random: np.random.Generator) -> Watched:
    """Lose all events of one category of 3 % of them or more."""
    of = watched.items.select(columns.ITEM_ID, "category")
    events = newer(watched).join(of, on=columns.ITEM_ID, how="left", maintain_order="left")
    counts = events.filter(last_week(watched))["category"].drop_nulls().value_counts().sort("category")
    frequent = counts.filter(pl.col("count") >= 0.03 * counts["count"].sum())["category"].to_list()
    gone = frequent[int(random.integers(len(frequent)))]
    kept = events.filter(~last_week(watched) | (pl.col("category") != gone).fill_null(True))
    return dataclasses.replace(watched, newer=kept.drop("category"))


def in_german(watched: Watched, random: np.random.Generator, share: float) -> Watched:
    """Describe the new items in German, and a share of the others."""
    assert watched.catalogue is not None
    known = watched.catalogue[columns.ITEM_ID].is_in(watched.items[columns.ITEM_ID].implode())
    chosen = ~known | pl.Series(random.random(len(known)) < share)

    def written(words: int) -> pl.Series:
        german = GERMAN.split()
        drawn = random.integers(0, len(german), (len(known), words))
        return pl.Series([" ".join(german[word] for word in row) for row in drawn])

    said = {columns.TITLE: written(3), "description": written(10)}
    shown = [pl.when(chosen).then(text).otherwise(pl.col(name)).alias(name) for name, text in said.items()]
    return dataclasses.replace(watched, catalogue=watched.catalogue.with_columns(shown))


def flipped(watched: Watched, random: np.random.Generator) -> Watched:
    """Let what was chosen least be chosen most, and the other way round."""
    del random
    ranked = watched.events[columns.ITEM_ID].value_counts().sort("count", columns.ITEM_ID)[columns.ITEM_ID].to_list()
    swapped = pl.col(columns.ITEM_ID).replace(dict(zip(ranked, reversed(ranked), strict=True)))
    return dataclasses.replace(
        watched, newer=newer(watched).with_columns(pl.when(last_week(watched)).then(swapped).otherwise(columns.ITEM_ID))
    )


def strangers(watched: Watched, random: np.random.Generator) -> Watched:
    """Let a quarter of the people come under another id, as after a change of the login."""
    users = newer(watched)[columns.USER_ID].unique().sort()
    renamed = users.filter(pl.Series(random.random(len(users)) < 0.25)).to_list()
    other = pl.col(columns.USER_ID).replace({user: f"new-{user}" for user in renamed})
    return dataclasses.replace(
        watched, newer=newer(watched).with_columns(pl.when(last_week(watched)).then(other).otherwise(columns.USER_ID))
    )


def without_device(watched: Watched, random: np.random.Generator) -> Watched:
    """Lose the device of every fifth event."""
    events = newer(watched)
    lost = pl.Series(random.random(events.height) < 0.2)
    device = pl.when(last_week(watched) & lost).then(None).otherwise(pl.col("device")).alias("device")
    return dataclasses.replace(watched, newer=events.with_columns(device))


# what is done → how, and the checks of which one has to see it
SHIFTS: dict[str, tuple[Shift, tuple[str, ...]]] = {
    "half of the last day's events lost": (halved, ("volume",)),
    "a category vanished (3 % or more)": (category_gone, ("shares of category",)),
    "the week's new texts in German": (
        lambda watched, random: in_german(watched, random, 0.0),
        ("unknown words", "language of texts"),
    ),
    "a tenth of all texts in German": (
        lambda watched, random: in_german(watched, random, 0.1),
        ("unknown words", "language of texts"),
    ),
    "popularity turned upside down": (flipped, ("popularity",)),
    "a quarter of the users under new ids": (strangers, ("unknown users",)),
    "a fifth of the devices missing": (without_device, ("missing values",)),
}


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


def main() -> None:
    """Measure and write the result file, after each shop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    tally = Tally()
    for seed in range(options.seeds):
        tally.add(Shop.of(dataclasses.replace(SHOP, seed=seed)))
        write_json(options.out, {**tally.to_dict(), "seeds": seed + 1})
        print(seed, tally.windows, tally.found, tally.alarms, dict(tally.caught), flush=True)


if __name__ == "__main__":
    main()
