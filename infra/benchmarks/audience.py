"""What is popular among people alike, and in a situation, for who is new: a fifth of the users held out entirely.

    python infra/benchmarks/audience.py --out infra/results/audience.json [--cache DIR] [--seeds 5] [--trained 2]

MovieLens 100K: a system is trained on the other users' events. Of each held-out user age, sex and occupation are known
and the first 0, 1, 3 or 5 events; all later ones are what a list of ten should hold. Half of the held-out users choose
the weight of the segments beside the blend, the other half is what the figures are of.

A made-up shop: of each held-out user's purchases the first ten are asked for, one at a time, knowing nothing of the
user, or the attributes, or device, country and hour, or both. ``tables.py`` makes the tables.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

import recsys
from recsys.artifacts import write_json
from recsys.config import AdapterConfig, EvaluationConfig, IngestConfig, ModelConfig, to_dict
from recsys.data.columns import EVENT_ORDER, EVENT_TYPE, ITEM_ID, TIMESTAMP, USER_ID
from recsys.data.movielens import fetch_movielens_100k, fetch_movielens_100k_users
from recsys.data.sequences import Sequences
from recsys.data.signals import signals_of, with_signals
from recsys.evaluation.bootstrap import bootstrap_mean
from recsys.experts.audience import Audience
from recsys.home import Home
from recsys.models.devices import device_name
from recsys.ranking.scoring import total
from recsys.serving.audience import CONTEXT, SnapshotAudience
from recsys.serving.recommender import Recommender
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World
from recsys.simulation.writing import write_world

KNOWN = (0, 1, 3, 5)  # events
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
HELD_OUT = 0.2
K = 10
METRICS = ("ndcg@10", "recall@10")
# one step of LoRA: of this data's lists little hangs on the text, and a training takes minutes otherwise
CONFIG = ModelConfig(adapter=AdapterConfig(rounds=1), evaluation=EvaluationConfig(protocols=("temporal",)))
SHOP = SimulationConfig(users=2_000, items=800, events=120_000)
CONTEXTS = ("device", "country", "hour")
DISCOUNTS = 1 / np.log2(np.arange(2, 2 + K))


def measured(scores: NDArray, history: list[int], wanted: NDArray[np.bool_]) -> tuple[float, float]:
    """Return NDCG@10 and recall@10 (of ten at most) of the items of all later events, those of the history left out."""
    scores = scores.astype(np.float64)
    scores[history] = -np.inf
    hits = wanted[np.argsort(-scores, kind="stable")[:K]]
    most = min(K, int(wanted.sum()))
    return float((hits * DISCOUNTS).sum() / DISCOUNTS[:most].sum()), float(hits.sum() / most)


def one_seed(
    events: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame, seed: int, home: Path, trained: bool
) -> dict[str, Any]:
    """Learn without a fifth of the users; return their figures by known events and system, one a user."""
    random = np.random.default_rng(seed)
    people = users[USER_ID].to_numpy()
    held = random.permutation(people)[: int(HELD_OUT * len(people))].tolist()
    rest = events.filter(~pl.col(USER_ID).is_in(held))
    snapshot = recsys.ingest(rest, items, users=users, home=home, progress=False)
    recommender, described = None, SnapshotAudience.of(snapshot)
    if trained:
        made = recsys.train(snapshot, CONFIG, home=home, progress=False)
        recommender = Recommender.open(Home.of(home), made.generation)
        described = recommender.users.audience
    assert described is not None
    audience, rows = described.audience, {item_id: row for row, item_id in enumerate(snapshot.item_ids())}
    figures: dict[str, Any] = {str(known): [] for known in KNOWN}
    for user in users.filter(pl.col(USER_ID).is_in(held)).to_dicts():
        own = events.filter(user_id=user[USER_ID])
        own = own.sort(*(name for name in EVENT_ORDER if name in events.columns), ITEM_ID)
        did = [rows[item_id] for item_id in own[ITEM_ID]]
        for known in KNOWN:
            figures[str(known)].append(_figures(recommender, audience, user, did, known))
    fields = {name: {"shrinkage": one.shrinkage, "gain": audience.gains[name]} for name, one in audience.fields.items()}
    return {"figures": figures, "fields": fields}


def _figures(
    recommender: Recommender | None, audience: Audience, user: dict[str, Any], rows: list[int], known: int
) -> dict[str, tuple[float, float]]:
    history, wanted = rows[:known], np.zeros(len(audience.counts), dtype=bool)
    wanted[rows[known:]] = True
    wanted[history] = False
    segments, _ = audience.known({name: value for name, value in user.items() if name in audience.fields})
    ratios = sum(audience.parts(segments).values(), np.zeros(len(wanted)))
    scores = {"popularity": audience.counts, "segments": audience.everybody() + ratios}
    if known and recommender is not None:
        every = np.arange(len(wanted))
        (prepared,) = recommender.scoring.prepared(Sequences.from_lists([history]))
        blend = total(prepared.parts(every), every)
        scores |= {f"blend+{weight:g}": blend + weight * ratios for weight in WEIGHTS}
    return {name: measured(one, history, wanted) for name, one in scores.items()}


def one_shop(seed: int, home: Path) -> list[dict[str, tuple[float, float]]]:
    """Make up a shop and learn without a fifth of its users; return these users' mean figures by system."""
    world = World(replace(SHOP, seed=seed))
    write_world(world, home / "shop")
    events = pl.read_parquet(home / "shop" / "events")
    users = pl.read_parquet(home / "shop" / "users.parquet")
    random = np.random.default_rng(seed)
    held = random.permutation(users[USER_ID].to_numpy())[: int(HELD_OUT * users.height)].tolist()
    rest = events.filter(~pl.col(USER_ID).is_in(held))
    config = IngestConfig(context_columns=CONTEXTS)
    snapshot = recsys.ingest(
        rest, home / "shop" / "items.parquet", config, users=users, home=home / "home", progress=False
    )
    described = SnapshotAudience.of(snapshot, signals_of(with_signals(snapshot, ModelConfig())))
    assert described is not None
    audience, rows = described.audience, {item_id: row for row, item_id in enumerate(snapshot.item_ids())}
    print("shop", seed, dict(audience.gains), list(audience.fields), flush=True)
    named = {row[USER_ID]: row for row in users.to_dicts()}
    bought = events.filter((pl.col(EVENT_TYPE) == "purchase") & pl.col(USER_ID).is_in(held)).sort(USER_ID, TIMESTAMP)
    found = []
    for (user_id,), purchases in bought.group_by(USER_ID, maintain_order=True):
        own = {name: value for name, value in named[user_id].items() if name in audience.fields}
        asked = [_asked(audience, rows, own, purchase) for purchase in purchases.head(K).to_dicts()]
        found.append({name: tuple(np.mean([one[name] for one in asked], axis=0)) for name in asked[0]})
    return found


def _asked(
    audience: Audience, rows: dict[str, int], own: dict[str, Any], purchase: dict[str, Any]
) -> dict[str, tuple[float, float]]:
    wanted = np.zeros(len(audience.counts), dtype=bool)
    wanted[rows[purchase[ITEM_ID]]] = True
    situation = {CONTEXT + name: purchase[name] for name in CONTEXTS if CONTEXT + name in audience.fields}
    known = {"popularity": {}, "segments": own, "situation": situation, "segments and situation": own | situation}
    return {name: measured(audience.scores(audience.known(values)[0]), [], wanted) for name, values in known.items()}


def shop_summary(users: list[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    """Return means over all users with intervals, and the differences of the same users from popularity."""
    figures = {name: np.array([one[name] for one in users]) for name in users[0]}
    systems = {
        name: {metric: vars(bootstrap_mean(values[:, place])) for place, metric in enumerate(METRICS)}
        for name, values in figures.items()
    }
    plain = figures["popularity"][:, 0]
    gains = {
        name: vars(bootstrap_mean(values[:, 0] - plain)) for name, values in figures.items() if name != "popularity"
    }
    return {"users": len(users), "systems": systems, "gains": gains}


def summary(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means with intervals, and the differences of the same users, over the users of all seeds."""
    found: dict[str, Any] = {}
    for known in map(str, KNOWN):
        chosen = [one for seed in seeds for one in seed["figures"][known][::2]]
        judged = [one for seed in seeds for one in seed["figures"][known][1::2]]
        names = [name for name in chosen[0] if name.startswith("blend+")]
        grid = {name: float(np.mean([one[name][0] for one in chosen if name in one])) for name in names}
        pairs = [("segments", "segments", "popularity", "popularity")]
        if grid:
            best = max(grid, key=lambda name: (grid[name], -float(name.removeprefix("blend+"))))
            pairs.append(("blend with segments", best, "blend", "blend+0"))
        systems, gains = {}, {}
        for ours, our_key, theirs, their_key in pairs:
            for name, key in ((theirs, their_key), (ours, our_key)):
                values = np.array([one[key] for one in judged if key in one])
                metrics = {metric: vars(bootstrap_mean(values[:, place])) for place, metric in enumerate(METRICS)}
                systems[name] = {"users": len(values), **metrics}
            gain = np.array([one[our_key][0] - one[their_key][0] for one in judged if our_key in one])
            gains[f"{ours} over {theirs}"] = vars(bootstrap_mean(gain))
        found[known] = {
            "systems": systems,
            "gains": gains,
            "weight": best.removeprefix("blend+") if grid else None,
            "grid": grid,
        }
    return found


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".recsys/cache"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trained", type=int, default=2, help="of the seeds; the others compare popularity alone")
    options = parser.parse_args()
    events, items = fetch_movielens_100k(options.cache)
    tables = pl.read_parquet(events), pl.read_parquet(items)
    users = pl.read_parquet(fetch_movielens_100k_users(options.cache))
    shops, seeds = [], []
    for seed in range(options.seeds):
        with TemporaryDirectory(prefix="audience-") as home:
            shops += one_shop(seed, Path(home))
    shop = shop_summary(shops) | {"config": to_dict(SHOP), "seeds": options.seeds}
    for seed in range(options.seeds):
        with TemporaryDirectory(prefix="audience-") as home:
            seeds.append(one_seed(*tables, users, seed, Path(home), seed < options.trained))
        document = {
            "task": "audience", "data": "MovieLens 100K", "held_out_share": HELD_OUT, "seeds": len(seeds),
            "trained": min(options.trained, len(seeds)),
            "processor": device_name(), "cores": os.cpu_count(), "fields": [one["fields"] for one in seeds],
            "known": summary(seeds), "shop": shop,
        }  # fmt: skip
        write_json(options.out, document)
        print(seed, {name: part["grid"] for name, part in document["known"].items()}, flush=True)


if __name__ == "__main__":
    main()
