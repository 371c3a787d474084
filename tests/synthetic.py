"""A small world with structure to learn: people with a favourite genre walk through its films in order.

``write_dataset`` writes it as the input contract asks. The same arguments give the same files.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from recsys.config import AdapterConfig, ClassifierConfig, EvaluationConfig, LoraConfig, ModelConfig, TowerConfig

SMALL = ModelConfig(
    adapter=AdapterConfig(rounds=2, items_per_round=64),
    tower=TowerConfig(dimensions=16, epochs=2),
    evaluation=EvaluationConfig(bootstrap_samples=200),
)
SMALL_CLASSIFIER = ClassifierConfig(
    lora=LoraConfig(rank=4, alpha=8), batch_size=16, epochs=3, learning_rate=3e-3, max_tokens=16, dropout=0.0
)


@dataclass(frozen=True)
class Dataset:
    """A folder with ``events.parquet`` and ``items.parquet``, and the paths of both."""

    folder: Path
    events: str
    items: str


GENRES = ("Western", "Comedy", "Horror", "Romance")
WORDS = {
    "Western": ("Desert", "Sheriff", "Saddle", "Canyon", "Outlaw", "Frontier"),
    "Comedy": ("Clumsy", "Uncle", "Wedding", "Prank", "Banana", "Holiday"),
    "Horror": ("Haunted", "Cellar", "Midnight", "Scream", "Graveyard", "Shadow"),
    "Romance": ("Paris", "Letter", "Kiss", "Garden", "Summer", "Promise"),
}
START = datetime(2024, 1, 1, tzinfo=UTC)
STRAY_SHARE = 0.15  # of events that are drawn from all items


def write_dataset(folder: Path, users: int = 60, items: int = 80, seed: int = 0) -> tuple[Path, Path]:
    """Write ``events.parquet`` (10 to 16 a user) and ``items.parquet`` into a folder and return their paths."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    catalogue, events = folder / "items.parquet", folder / "events.parquet"
    genre_of = [GENRES[item % len(GENRES)] for item in range(items)]
    titles = [
        f"{' '.join(random.choice(WORDS[genre], 2, replace=False))} {item}" for item, genre in enumerate(genre_of)
    ]
    pl.DataFrame(
        {
            "item_id": [f"i{item:03}" for item in range(items)],
            "title": titles,
            "genres": [[genre] for genre in genre_of],
            "year": random.integers(1950, 2024, items),
        }
    ).write_parquet(catalogue)

    rows = []
    for user in range(users):
        own = np.arange(user % len(GENRES), items, len(GENRES))
        place, moment = int(random.integers(len(own))), START + timedelta(hours=float(random.uniform(0, 2_000)))
        seen: set[int] = set()
        for _ in range(int(random.integers(10, 17))):
            stray = random.random() < STRAY_SHARE
            place = (place + int(random.integers(1, 3))) % len(own)
            item = int(random.integers(items)) if stray else int(own[place])
            if item not in seen:
                seen.add(item)
                moment += timedelta(hours=float(random.uniform(1, 200)))
                rows.append((f"u{user:03}", f"i{item:03}", moment))
    pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row").write_parquet(events)
    return events, catalogue


def people(users: int = 60, newcomers: int = 4) -> pl.DataFrame:
    """Return what is known of the users of ``write_dataset``, and of some who have done nothing, one a genre.

    Their taste is their genre; age and town say nothing.
    """
    random = np.random.default_rng(7)
    count = users + newcomers
    return pl.DataFrame(
        {
            "user_id": [*(f"u{user:03}" for user in range(users)), *(f"new{user}" for user in range(newcomers))],
            "taste": [GENRES[user % len(GENRES)] for user in [*range(users), *range(newcomers)]],
            "age": random.integers(18, 80, count),
            "town": random.choice(["Graz", "Linz", "Wels"], count),
        }
    )


def situations(events: pl.DataFrame) -> pl.DataFrame:
    """Return in what situation each event of ``write_dataset`` happened: items of odd numbers are used on a phone."""
    random = np.random.default_rng(11)
    odd = events["item_id"].str.tail(1).cast(pl.Int64).to_numpy() % 2 == 1
    return pl.DataFrame(
        {
            "device": np.where(random.random(len(odd)) < 0.9, np.where(odd, "phone", "desk"), "tablet"),
            "hour": random.integers(0, 24, len(odd)),
        }
    )


TICKETS = {
    "billing": ("My invoice shows a {} charge", "Please refund the {} payment", "The {} bill is wrong"),
    "login": ("I cannot log in with my {} account", "The {} password reset fails", "My {} session signs me out"),
    "shipping": ("Where is my {} parcel", "The {} delivery is late", "My {} order has not arrived"),
}
HEADLINES = {
    "negative": ("{} shares plunge after losses", "{} warns of weak demand", "{} cuts jobs as sales fall"),
    "positive": ("{} shares soar on record profit", "{} raises its outlook", "{} wins a large contract"),
}
SUBJECTS = ("May", "second", "annual", "work", "old", "blue", "first", "spare", "large", "new", "local", "late")


def write_labelled(folder: Path, templates: dict[str, tuple[str, ...]]) -> tuple[Path, Path]:
    """Write lines of label and text, ``train.txt`` and ``dev.txt``, into a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "train.txt", folder / "dev.txt"
    for place, path in enumerate(paths):
        subjects = [subject for number, subject in enumerate(SUBJECTS) if (number % 4 == 3) == bool(place)]
        lines = [
            f"{label} {template.format(subject)}"
            for subject in subjects
            for label in sorted(templates)
            for template in templates[label]
        ]
        path.write_text("\n".join(lines) + "\n")
    return paths
