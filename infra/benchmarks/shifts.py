"""What goes wrong in a shop, as a change of what `recsys monitor` is given: events lost, doubled, moved, texts broken.

Each takes a week as it was and returns it changed; luck is the generator's.
"""

import dataclasses
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import polars as pl

from recsys.config import MonitorConfig
from recsys.data import columns
from recsys.monitoring.monitor import Watched

GERMAN = (
    "abend ahorn beständig blüte brot dämmerung edel ernte fachwerk feder frisch garten gemütlich glocke handarbeit "
    "heimat holz jahreszeit kiefer küche leder leicht leinen lichtung mühle nacht nebel pfeffer quelle regen ruhig "
    "schatten schlicht schmied silber stube tischler ufer vogel wald weich winter wolle würzig zeitlos ziegel"
)
Shift = Callable[[Watched, np.random.Generator], Watched]


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


def doubled(watched: Watched, random: np.random.Generator) -> Watched:
    """Import the last day twice; the second time the events have other ids."""
    del random
    events = newer(watched)
    again = events.filter(pl.col(columns.TIMESTAMP) >= watched.until - timedelta(days=1))
    again = again.with_columns(pl.col(columns.EVENT_ID) + "-again")
    return dataclasses.replace(watched, newer=pl.concat([events, again]))


def bot(watched: Watched, random: np.random.Generator, share: float) -> Watched:
    """Let one user look at items by chance until so large a share of the week's events is theirs."""
    events = newer(watched)
    week = events.filter(last_week(watched))
    made = week.sample(
        round(week.height * share / (1 - share)), with_replacement=True, seed=int(random.integers(2**31))
    )
    items = watched.items[columns.ITEM_ID].gather(random.integers(watched.items.height, size=made.height))
    looks = {columns.USER_ID: "a bot", columns.EVENT_TYPE: "view", columns.VALUE: None, columns.POSITION: None}
    made = made.with_columns(
        items,
        pl.int_range(pl.len()).cast(pl.String).alias(columns.EVENT_ID),
        *(pl.lit(v).alias(k) for k, v in looks.items()),
    )
    return dataclasses.replace(watched, newer=pl.concat([events, made.cast(events.schema)]))  # type: ignore[arg-type]


def later(watched: Watched, random: np.random.Generator, hours: int) -> Watched:
    """Write the week's times by so many hours later, as by another zone, and the hours with them."""
    del random
    events, moved = newer(watched), last_week(watched)
    shifts = {
        columns.TIMESTAMP: pl.col(columns.TIMESTAMP).dt.offset_by(f"{hours}h"),
        "hour": (pl.col("hour") + hours) % 24,
    }
    changed = [pl.when(moved).then(to).otherwise(pl.col(name)).alias(name) for name, to in shifts.items()]
    return dataclasses.replace(watched, newer=events.with_columns(changed).sort(columns.TIMESTAMP))


def renamed(watched: Watched, random: np.random.Generator) -> Watched:
    """Call purchases orders."""
    del random
    kind = pl.col(columns.EVENT_TYPE)
    other = pl.when(last_week(watched) & (kind == "purchase")).then(pl.lit("order")).otherwise(kind)
    return dataclasses.replace(watched, newer=newer(watched).with_columns(other.alias(columns.EVENT_TYPE)))


def flood(watched: Watched, random: np.random.Generator) -> Watched:
    """Let as many new people come once as events are the shop's own, as after a campaign."""
    events = newer(watched)
    week = events.filter(last_week(watched)).sample(fraction=0.5, seed=int(random.integers(2**31)))
    numbers = pl.int_range(pl.len()).cast(pl.String)
    new = week.with_columns(("campaign-" + numbers).alias(columns.USER_ID), ("c-" + numbers).alias(columns.EVENT_ID))
    return dataclasses.replace(watched, newer=pl.concat([events, new]))


def in_cents(watched: Watched, random: np.random.Generator) -> Watched:
    """Write the prices of all items in cents."""
    del random
    assert watched.catalogue is not None
    return dataclasses.replace(watched, catalogue=watched.catalogue.with_columns(pl.col("price") * 100))


def misread(watched: Watched, random: np.random.Generator, share: float) -> Watched:
    """Read a share of the texts by the wrong encoding: each e, as if it were é, becomes two characters."""
    assert watched.catalogue is not None
    chosen = pl.Series(random.random(watched.catalogue.height) < share)
    texts = [columns.TITLE, "description"]
    broken = [
        pl.when(chosen).then(pl.col(name).str.replace_all("e", "é".encode().decode("latin-1"))).otherwise(pl.col(name))
        for name in texts
    ]
    return dataclasses.replace(watched, catalogue=watched.catalogue.with_columns(broken))


def untitled(watched: Watched, random: np.random.Generator, share: float) -> Watched:
    """Lose the texts of a share of the items: a dash stands in the place of each."""
    assert watched.catalogue is not None
    chosen = pl.Series(random.random(watched.catalogue.height) < share)
    texts = [
        pl.when(chosen).then(pl.lit("-")).otherwise(pl.col(name)).alias(name) for name in (columns.TITLE, "description")
    ]
    return dataclasses.replace(watched, catalogue=watched.catalogue.with_columns(texts))


SMALL_BOT = "a twentieth of the week's events by one bot"  # less than weeks differ by themselves: nobody sees it
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
    "the last day imported twice, under other ids": (doubled, ("volume",)),
    "half of the week's events by one bot": (
        lambda watched, random: bot(watched, random, 0.5),
        ("volume", "popularity"),
    ),
    SMALL_BOT: (
        lambda watched, random: bot(watched, random, 0.05),
        ("volume", "popularity"),
    ),
    "times of another zone, eight hours later": (
        lambda watched, random: later(watched, random, 8),
        ("volume", "shares of hour"),
    ),
    "times a day early": (lambda watched, random: later(watched, random, -24), ("volume",)),
    "purchases called orders": (renamed, ("shares of event_type",)),
    "as many strangers as half of the events": (flood, ("unknown users",)),
    "prices in cents": (in_cents, ("numbers of items",)),
    "a tenth of all texts read by the wrong encoding": (
        lambda watched, random: misread(watched, random, 0.1),
        ("unknown words", "language of texts"),
    ),
    "a twentieth of all texts lost": (
        lambda watched, random: untitled(watched, random, 0.05),
        ("length of texts", "unknown words", "language of texts"),
    ),
}
