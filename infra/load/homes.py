"""A home with as many items as a load test needs, not trained: ``python infra/load/homes.py PLACE --items 100000``.

Everything goes through the project's own code: a snapshot, an adapter, experts fitted on events, an index, a generation
that is published. Only what training would find is drawn at random: the towers' weights, and, unless ``--encode`` has
BERT read all titles, the text vectors, which lie in categories and kinds within them. The same arguments give the same
generation.
"""

import argparse
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from flows import progress
from recsys.config import ModelConfig, TextConfig, to_dict
from recsys.data.columns import ITEM_ID, TIMESTAMP, TITLE, USER_ID
from recsys.data.sequences import Sequences
from recsys.data.snapshot import Snapshot, write_snapshot
from recsys.data.text import item_texts
from recsys.evaluation.full_ranking import Ranking
from recsys.evaluation.report import OURS
from recsys.evaluation.splits import Targets
from recsys.experts.content import Content
from recsys.experts.knn import fit_knn
from recsys.experts.popularity import Popularity
from recsys.experts.rules import fit_rules
from recsys.home import Home
from recsys.models.encoder.backbone import add_lora, load_backbone, save_lora
from recsys.models.towers.tower import TowerShape, TwoTower
from recsys.models.towers.whitening import Whitening
from recsys.publishing.binding import bind_generation
from recsys.ranking.blend import Blend
from recsys.ranking.system import CONTENT, POPULARITY, TOWERS, System
from recsys.ranking.text_maps import TextMaps, written_out
from recsys.store.adapters import save_adapter
from recsys.store.generations import promote
from recsys.store.manifests import AdapterCard
from recsys.texts.vectors import TextVectors

CATEGORIES, KINDS = 40, 25  # kinds in each category
USERS = 20_000
EVENTS = (5, 30)  # a user
WIDTH = 384
CHUNK = 50_000  # items worked on at once, so that memory is what the vectors need
MATERIALS = ("Oak", "Steel", "Linen", "Glass", "Wool", "Bamboo", "Copper", "Cotton", "Marble", "Leather")
STYLES = ("Classic", "Modern", "Compact", "Outdoor", "Vintage", "Folding", "Heavy", "Travel", "Studio", "Junior")
THINGS = (
    "Lamp", "Chair", "Kettle", "Blanket", "Speaker", "Guitar", "Novel", "Camera", "Jacket", "Tent",
    "Drill", "Puzzle", "Perfume", "Saddle", "Keyboard", "Mirror", "Teapot", "Bicycle", "Watch", "Printer",
    "Skillet", "Carpet", "Telescope", "Helmet", "Sofa", "Violin", "Cookbook", "Router", "Backpack", "Candle",
    "Ladder", "Microscope", "Razor", "Stroller", "Trumpet", "Umbrella", "Vase", "Wallet", "Yoga Mat", "Aquarium",
)  # fmt: skip
BLEND = Blend(
    {TOWERS: 1.0, CONTENT: 0.35, "rules": 0.7, "knn": 0.5, POPULARITY: 0.1},
    {TOWERS: 1.0, CONTENT: 1.0, "rules": 0.5, "knn": 0.5, POPULARITY: 0.5},
)


def main() -> None:
    """Make and publish; print the generation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path, help="the home's folder")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--encode", action="store_true", help="have BERT read all titles")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    generation = make_home(Home(options.place.absolute()), options.items, options.encode, options.seed)
    print(f"{generation}: {options.items:,} items in {time.monotonic() - started:.0f} s")


def make_home(home: Home, items: int, encode: bool, seed: int) -> str:
    """Make a home of so many items, publish its generation, and return that one's id."""
    random = np.random.default_rng(seed)
    config = ModelConfig(seed=seed, text=TextConfig(max_tokens=32))
    kinds = np.arange(items) % (CATEGORIES * KINDS)
    snapshot = _snapshot(home, kinds, random)
    adapter_id = _adapter(home, snapshot, config)
    if encode:
        texts = item_texts(snapshot.items(), config.text)
        with progress.shown(Console()):
            report = partial(progress.report, "Encode texts")
            vectors = TextVectors.of_adapter(home, adapter_id).encode(texts, progress=report)
    else:
        vectors = _drawn_vectors(kinds, random)
    frozen, both = Whitening.fit(vectors[:CHUNK, :WIDTH]), Whitening.fit(_both(vectors[:CHUNK]))
    maps = TextMaps(written_out(snapshot.items(), config.text), both, frozen)
    system = _system(snapshot, vectors, maps, seed)
    del vectors
    targets, rankings = _held_out(snapshot.sequences(), random)
    parts = {"all": np.ones(len(targets), dtype=bool)}
    generation = bind_generation(home, snapshot, adapter_id, maps, system, rankings, parts, {}, config, {})
    promote(home, generation)  # the gate has nothing to say of what nobody has measured
    return generation


def _snapshot(home: Home, kinds: NDArray[np.int64], random: np.random.Generator) -> Snapshot:
    count = len(kinds)
    ids = np.array([f"i{row:07}" for row in range(count)])
    things = [THINGS[kind // KINDS] for kind in kinds]
    titles = [
        f"{STYLES[kind % KINDS % len(STYLES)]} {MATERIALS[row // (CATEGORIES * KINDS) % len(MATERIALS)]} {thing} {row}"
        for row, (kind, thing) in enumerate(zip(kinds, things, strict=True))
    ]
    items = pl.DataFrame(
        {
            ITEM_ID: ids,
            TITLE: titles,
            "brand": [f"Brand {number}" for number in random.integers(500, size=count)],
            "category": things,
            "price": random.lognormal(3, 1, count).round(2),
            "year": random.integers(1990, 2027, count),
        }
    )
    # people stay near two categories; within them few items have most of the events
    lengths = random.integers(*EVENTS, size=USERS)
    users = np.repeat(np.arange(USERS), lengths)
    own = random.integers(CATEGORIES, size=(USERS, 2))[users, random.integers(2, size=len(users))]
    rounds = count // (CATEGORIES * KINDS)
    place = (random.pareto(0.8, len(users)) * rounds / 50).astype(np.int64) % rounds
    rows = place * CATEGORIES * KINDS + own * KINDS + random.integers(KINDS, size=len(users))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    events = pl.DataFrame(
        {
            USER_ID: [f"u{user:05}" for user in users],
            ITEM_ID: ids[rows],
            TIMESTAMP: pl.Series(np.arange(len(users)) * 1_000_000).cast(pl.Duration("us")) + start,
        }
    )
    quarantine = pl.DataFrame(schema={"table": pl.String, "reason": pl.String})
    return write_snapshot(home, events, items, quarantine)


def _adapter(home: Home, snapshot: Snapshot, config: ModelConfig) -> str:
    backbone = add_lora(load_backbone(config.adapter.lora.base), config.adapter.lora, config.seed)
    card = AdapterCard(
        base=backbone.name, base_digest=backbone.base_digest, snapshot=snapshot.id, settings=to_dict(config)
    )
    return save_adapter(home, partial(save_lora, backbone), card)


def _drawn_vectors(kinds: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float32]:
    """Return (items, WIDTH) unit vectors: a category, a kind within it, and noise of a falling spectrum."""
    spectrum = (1 / np.sqrt(1 + np.arange(WIDTH) / 16)).astype(np.float32)
    categories = random.standard_normal((CATEGORIES, WIDTH), dtype=np.float32) * spectrum
    centres = np.repeat(categories, KINDS, axis=0)
    centres += 0.7 * random.standard_normal(centres.shape, dtype=np.float32) * spectrum
    vectors = np.empty((len(kinds), WIDTH), dtype=np.float32)
    for start in track(range(0, len(kinds), CHUNK), "Draw vectors"):
        own = slice(start, start + CHUNK)
        chunk = centres[kinds[own]]
        chunk += 0.9 * random.standard_normal(chunk.shape, dtype=np.float32) * spectrum
        vectors[own] = chunk / np.linalg.norm(chunk, axis=1, keepdims=True)
    return vectors


def _both(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the base's vectors and the adapter's side by side; drawn ones stand for both."""
    return vectors if vectors.shape[1] == 2 * WIDTH else np.concatenate([vectors, vectors], axis=1)


def _system(snapshot: Snapshot, vectors: NDArray[np.float32], maps: TextMaps, seed: int) -> System:
    sequences, catalogue = snapshot.sequences(), len(vectors)
    popularity = Popularity.fit(sequences, catalogue)
    shape = TowerShape(
        features=2 * WIDTH, catalogue=catalogue, dimensions=128, blocks=1, heads=2, max_history=50,
        dropout=0.0, residual_norm=0.5, max_scale=40.0, max_bias=6.0,
    )  # fmt: skip
    torch.manual_seed(seed)
    towers = TwoTower(shape, None).eval()
    towers.items.set_known(popularity.counts.astype(np.int64))
    content = np.empty((catalogue, WIDTH), dtype=np.float32)
    with torch.inference_mode():
        towers.items.bias.copy_(torch.from_numpy(np.log1p(popularity.counts)))
        towers.items.residual.mul_(10)  # as long as training makes it
        towers.vectors = torch.empty(catalogue, shape.dimensions)
        for start in track(range(0, catalogue, CHUNK), "Make items"):
            own = slice(start, start + CHUNK)
            features = torch.from_numpy(maps.towers.apply(_both(vectors[own])))
            rows = torch.arange(start, start + len(features))
            towers.vectors[own] = towers.items(features, rows)
            content[own] = Content.unit(maps.content.apply(vectors[own, :WIDTH]))
    return System(
        towers=towers,
        ids=None,
        experts={
            "rules": fit_rules(sequences, catalogue, window=20, neighbours=512, decay=0.9),
            "knn": fit_knn(sequences, catalogue, neighbours=512, decay=0.9),
        },
        content=Content(content, decay=0.9),
        lexicon=None,
        popularity=popularity,
        blend=BLEND,
        chosen={},
    )


def _held_out(sequences: Sequences, random: np.random.Generator) -> tuple[Targets, list[Ranking]]:
    """Return targets of a few users and rankings that nobody believes: the gate is overruled."""
    users = np.sort(random.choice(len(sequences), 200, replace=False)).astype(np.int32)
    histories = sequences.slice(sequences.offsets[users], sequences.offsets[users + 1] - 1)
    targets = Targets(users, histories, sequences.items[sequences.offsets[users + 1] - 1])
    lists = np.full((len(users), 20), -1, dtype=np.int32), np.full((len(users), 20), np.nan, dtype=np.float32)
    ranks = np.ones(len(users))
    return targets, [Ranking(name, targets, *lists, ranks) for name in (OURS, POPULARITY)]


if __name__ == "__main__":
    main()
