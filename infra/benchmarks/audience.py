"""What is popular among people alike, for who is new: MovieLens 100K's users, a fifth of them held out entirely.

    python infra/benchmarks/audience.py --out infra/results/audience.json [--cache DIR] [--seeds 3]

A system is trained on the other users' events. Of each held-out user age, sex and occupation are known and the first
0, 1, 3 or 5 events; all later ones are what a list of ten should hold. Half of the held-out users choose the weight of
the segments beside the blend, the other half is what the figures are of. ``tables.py`` makes the table.
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

import recsys
from recsys.artifacts import write_json
from recsys.config import EvaluationConfig, ModelConfig
from recsys.data.columns import EVENT_ORDER, ITEM_ID, USER_ID
from recsys.data.movielens import fetch_movielens_100k, fetch_movielens_100k_users
from recsys.data.sequences import Sequences
from recsys.evaluation.bootstrap import bootstrap_mean
from recsys.experts.audience import Audience
from recsys.home import Home
from recsys.models.devices import device_name
from recsys.ranking.scoring import total
from recsys.serving.recommender import Recommender

KNOWN = (0, 1, 3, 5)  # events
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
HELD_OUT = 0.2
K = 10
CONFIG = ModelConfig(evaluation=EvaluationConfig(protocols=("temporal",)))
DISCOUNTS = 1 / np.log2(np.arange(2, 2 + K))


def measured(scores: NDArray, history: list[int], wanted: NDArray[np.bool_]) -> tuple[float, float]:
    """Return NDCG@10 and recall@10 (of ten at most) of the items of all later events, those of the history left out."""
    scores = scores.astype(np.float64)
    scores[history] = -np.inf
    hits = wanted[np.argsort(-scores, kind="stable")[:K]]
    most = min(K, int(wanted.sum()))
    return float((hits * DISCOUNTS).sum() / DISCOUNTS[:most].sum()), float(hits.sum() / most)


def one_seed(events: pl.DataFrame, items: Path, users: pl.DataFrame, seed: int, home: Path) -> dict[str, Any]:
    """Train without a fifth of the users; return their figures by known events and system, a row a user."""
    random = np.random.default_rng(seed)
    people = users[USER_ID].to_numpy()
    held = random.permutation(people)[: int(HELD_OUT * len(people))]
    rest = events.filter(~pl.col(USER_ID).is_in(held.tolist()))
    snapshot = recsys.ingest(rest, items, users=users, home=home, progress=False)
    made = recsys.train(snapshot, CONFIG, home=home, progress=False)
    recommender = Recommender.open(Home.of(home), made.generation)
    assert recommender.users.audience is not None
    audience = recommender.users.audience.audience
    figures: dict[str, Any] = {str(known): [] for known in KNOWN}
    named = {row[USER_ID]: row for row in users.to_dicts()}
    for user in held.tolist():
        own = events.filter(user_id=user).sort(*(name for name in EVENT_ORDER if name in events.columns), ITEM_ID)
        rows, _ = recommender.catalogue.split(own[ITEM_ID].to_list())
        for known in KNOWN:
            figures[str(known)].append(_figures(recommender, audience, named[user], rows, known))
    fields = {name: {"shrinkage": one.shrinkage, "gain": audience.gains[name]} for name, one in audience.fields.items()}
    return {"figures": figures, "fields": fields}


def _figures(
    recommender: Recommender, audience: Audience, user: dict[str, Any], rows: list[int], known: int
) -> dict[str, tuple[float, float]]:
    history, wanted = rows[:known], np.zeros(len(recommender.catalogue), dtype=bool)
    wanted[rows[known:]] = True
    wanted[history] = False
    counts = recommender.scoring.system.popularity.counts
    segments, _ = audience.known({name: value for name, value in user.items() if name in audience.fields})
    ratios = sum(audience.parts(segments).values(), np.zeros(len(counts)))
    scores = {"popularity": counts, "segments": audience.everybody(counts) + ratios}
    if known:
        every = np.arange(len(counts))
        (prepared,) = recommender.scoring.prepared(Sequences.from_lists([history]))
        blend = total(prepared.parts(every), every)
        scores |= {f"blend+{weight:g}": blend + weight * ratios for weight in WEIGHTS}
    return {name: measured(one, history, wanted) for name, one in scores.items()}


def summary(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means with intervals, and the differences of the same users, over the users of all seeds."""
    found: dict[str, Any] = {}
    for known in map(str, KNOWN):
        chosen = [one for seed in seeds for one in seed["figures"][known][::2]]
        judged = [one for seed in seeds for one in seed["figures"][known][1::2]]
        grid = {
            name: float(np.mean([one[name][0] for one in chosen])) for name in chosen[0] if name.startswith("blend+")
        }
        kept = {"popularity": "popularity", "segments": "segments"}
        if grid:
            best = max(grid, key=lambda name: (grid[name], -float(name.removeprefix("blend+"))))
            kept |= {"blend": "blend+0", "blend with segments": best}
        systems = {}
        for name, key in kept.items():
            values = np.array([one[key] for one in judged])
            systems[name] = {
                metric: vars(bootstrap_mean(values[:, place])) for place, metric in enumerate(("ndcg@10", "recall@10"))
            }
        pairs = [("segments", "popularity")] + ([("blend with segments", "blend")] if grid else [])
        gains = {}
        for ours, theirs in pairs:
            gain = np.array([one[kept[ours]][0] - one[kept[theirs]][0] for one in judged])
            gains[f"{ours} over {theirs}"] = vars(bootstrap_mean(gain))
        found[known] = {"users": len(judged), "systems": systems, "gains": gains, "chosen": kept, "grid": grid}
    return found


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".recsys/cache"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    events, items = fetch_movielens_100k(options.cache)
    users = pl.read_parquet(fetch_movielens_100k_users(options.cache))
    seeds = []
    for seed in range(options.seeds):
        with TemporaryDirectory(prefix="audience-") as home:
            seeds.append(one_seed(pl.read_parquet(events), items, users, seed, Path(home)))
        document = {
            "task": "audience", "data": "MovieLens 100K", "held_out_share": HELD_OUT, "seeds": len(seeds),
            "processor": device_name(), "cores": os.cpu_count(), "fields": [one["fields"] for one in seeds],
            "known": summary(seeds),
        }  # fmt: skip
        write_json(options.out, document)
        print(seed, {name: part["grid"] for name, part in document["known"].items()}, flush=True)


if __name__ == "__main__":
    main()
