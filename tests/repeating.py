"""A small shop with known truth: people come back to what runs out, each at its own interval, and try new things.

Half of the items run out. Everybody uses a few of them, and buys those again when they are due, give or take a
little; the others are bought once, a genre's in their order, as in ``synthetic``. The same arguments give the same
tables.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 240
USED = 4  # things that run out, of everybody's
TRIED_AGAIN = 0.75  # of those who bought such a thing for the first time
IRREGULAR = 0.12  # deviation of the logarithm of one interval
KINDS = ("Coffee", "Soap", "Flour", "Paper")
THINGS = ("Lamp", "Chair", "Knife", "Clock")


def write_shop(folder: Path, users: int = 120, items: int = 80, seed: int = 0) -> tuple[Path, Path]:
    """Write ``events.parquet`` and ``items.parquet`` into a folder and return their paths."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    half = items // 2
    intervals = random.choice([7, 14, 21, 30, 45], half)  # days, by item that runs out
    names = [f"{(KINDS if item < half else THINGS)[item % 4]} {item}" for item in range(items)]
    rows = []
    for user in range(users):
        liked = np.arange(user % 4, half, 4)
        for item in random.choice(liked, USED, replace=False):
            own = intervals[item] * np.exp(random.normal(0, 0.1))
            day = random.uniform(0, DAYS / 2)
            stays = random.random() < TRIED_AGAIN
            while day < DAYS:
                rows.append((user, int(item), day))
                if not stays:
                    break
                day += own * np.exp(random.normal(0, IRREGULAR))
        place = int(random.integers(len(np.arange(half + user % 4, items, 4))))
        once = np.roll(np.arange(half + user % 4, items, 4), -place)
        days = np.sort(random.uniform(0, DAYS, len(once)))
        rows += list(zip([user] * len(once), once.tolist(), days.tolist(), strict=True))
    events, catalogue = folder / "events.parquet", folder / "items.parquet"
    table = [(f"u{user:03}", f"i{item:03}", START + timedelta(days=float(day))) for user, item, day in rows]
    pl.DataFrame(table, schema=["user_id", "item_id", "timestamp"], orient="row").write_parquet(events)
    pl.DataFrame({"item_id": [f"i{item:03}" for item in range(items)], "title": names}).write_parquet(catalogue)
    return events, catalogue
