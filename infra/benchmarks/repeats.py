"""What seen items as candidates are worth where people come back to them: repeats and firsts, before and now.

    python infra/benchmarks/repeats.py --out infra/results/repeats.json [--seeds 3]

Shops are made whose truth is known: a part of what is bought is used up, each item at its own interval, and bought
again. Of every user one of the last purchases is asked for, by a temporal split. *before* leaves seen items out, in the
choice of all settings as in the lists; *kept* leaves them in; *now* knows besides what is due when. The adapter is
trained once a seed, and all else anew. ``tables.py`` makes the table.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from recsys.artifacts import write_json
from recsys.config import TEMPORAL, AdapterConfig, ModelConfig
from recsys.data.ingest import ingest
from recsys.data.sequences import Scorer
from recsys.data.signals import signals_of, with_signals
from recsys.data.snapshot import Snapshot
from recsys.data.text import item_texts
from recsys.evaluation.bootstrap import paired_bootstrap
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.held_out import make_split
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.report import slices
from recsys.evaluation.splits import Split, sample
from recsys.home import Home
from recsys.models.devices import device_name
from recsys.ranking.blend import BlendScorer, fit_blend
from recsys.ranking.system import AGAIN, POPULARITY, System
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World
from recsys.simulation.writing import write_world
from recsys.training.encoding import adapted_encoding, frozen_encoding
from recsys.training.fit_system import FIXED_POWER, fit_system
from recsys.training.weighing import as_meant

WORLD = SimulationConfig(users=600, items=300, events=60_000, days=240)
CONFIG = ModelConfig(adapter=AdapterConfig(rounds=30))  # short: what is compared has the same adapter
PARTS = ("total", "repeats", "firsts")
Figures = dict[str, np.ndarray]


def shop(seed: int, folder: Path) -> Snapshot:
    """Make a shop and ingest it."""
    write_world(World(replace(WORLD, seed=seed)), folder / "shop")
    return ingest(str(folder / "shop/events"), str(folder / "shop/items.parquet"), Home(folder / "home"))


def measured(snapshot: Snapshot, seed: int) -> tuple[Figures, dict[str, np.ndarray], dict[str, Any]]:
    """Train on one shop; return NDCG@10 of each target by system, the targets of each part, and what the shop is."""
    config = with_signals(snapshot, replace(CONFIG, seed=seed))
    texts = item_texts(snapshot.items(), config.text)
    sequences = snapshot.sequences(signals=signals_of(config))
    kept = as_meant(make_split(sequences, len(texts), TEMPORAL, config), sequences, config)
    removed = without_repeats(kept)
    frozen = frozen_encoding(texts, config)
    encoding, _, _ = adapted_encoding(texts, frozen, kept.train, config)
    before, now = (fit_system(split, texts, encoding.features, frozen.features, config) for split in (removed, kept))
    if now.again is None:
        raise ValueError(f"Nothing is bought twice in the shop of seed {seed}.")
    asked: Mapping[str, tuple[Scorer, Split]] = {
        "before": (before, removed),
        "kept": (without_again(now, kept, config), kept),
        "now": (now, kept),
        AGAIN: (now.again, kept),
        POPULARITY: (now.popularity, kept),
    }
    rankings = {name: evaluate(name, scorer, split.test, seed=seed) for name, (scorer, split) in asked.items()}
    parts = slices(rankings["now"], kept)
    about = {
        "targets": {name: int(parts[name].sum()) for name in PARTS},
        "repeats": None if snapshot.manifest.repeats is None else asdict(snapshot.manifest.repeats),
        "weights": now.blend.weights,
    }
    return {name: ndcg(ranking.ranks, 10) for name, ranking in rankings.items()}, parts, about


def without_repeats(split: Split) -> Split:
    """Return the same questions with seen items left out."""
    validation, test = (replace(targets, repeats=False) for targets in (split.validation, split.test))
    return replace(split, validation=validation, test=test)


def without_again(system: System, split: Split, config: ModelConfig) -> BlendScorer:
    """Return a system's best blend of all but what is due."""
    components = {name: scorer for name, scorer in system.components.items() if name != AGAIN}
    asked = sample(split.validation, config.evaluation.max_validation_users, config.seed)
    blend, _ = fit_blend(components, FIXED_POWER, asked.histories, asked.items, repeats=True)
    return BlendScorer(blend, components)


def summary(runs: Sequence[tuple[Figures, dict[str, np.ndarray], dict[str, Any]]]) -> dict[str, Any]:
    """Return the result file's content: means by system and part for each seed, and intervals over all targets."""
    document: dict[str, Any] = {
        "task": "repeats", "users": WORLD.users, "items": WORLD.items, "events": WORLD.events, "seeds": len(runs),
        "processor": device_name(), "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "shops": [about for _, _, about in runs],
        "ndcg@10": {
            name: {part: [float(figures[name][chosen[part]].mean()) for figures, chosen, _ in runs] for part in PARTS}
            for name in runs[0][0]
        },
    }  # fmt: skip
    for other in ("before", "kept"):
        document[f"now_minus_{other}"] = {}
        for part in PARTS:
            now, then = (
                np.concatenate([figures[name][chosen[part]] for figures, chosen, _ in runs]) for name in ("now", other)
            )
            document[f"now_minus_{other}"][part] = paired_bootstrap(now, then).to_dict()
    return document


def main() -> None:
    """Measure and write the result file, after each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    runs = []
    for seed in range(options.seeds):
        with TemporaryDirectory(prefix="repeats-") as folder:
            runs.append(measured(shop(seed, Path(folder)), seed))
        write_json(options.out, summary(runs))
        print(seed, runs[-1][2], {name: round(float(one.mean()), 4) for name, one in runs[-1][0].items()}, flush=True)


if __name__ == "__main__":
    main()
