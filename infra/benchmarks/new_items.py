"""Whether new items are seen, and what that costs: on MovieLens, and in a world whose people answer.

    python infra/benchmarks/new_items.py --home HOME --out infra/results/new_items.json [--seeds 3] [--worlds 3] \\
        [--data DATA]

``HOME`` is one that ``recsys demo`` has made. For each seed a tenth of its films, of those with ten events or more, is
taken away from all that is learnt; then those who have watched one of them are asked for ten films, and it is counted
how often that one is there. What the others lose is NDCG@10 of the temporal targets among the films that are known.
With ``--data``, a folder with ``events.parquet`` and ``items.parquet``, what came after nine tenths of the events is
asked of a generation of these nine tenths: items that nobody had chosen by then apart from the others.
In the made-up world people answer the lists for two weeks; after the first everything is trained again, lists and all.
Trained systems and figures are kept in ``--work``, and found there. ``tables.py`` makes the table.
"""

import argparse
import copy
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[2]))

import recsys
from recsys.artifacts import read_json, write_json
from recsys.config import AdapterConfig, EvaluationConfig, ModelConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.data.snapshot import open_snapshot
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.splits import Split, Targets, temporal
from recsys.home import Home
from recsys.models.devices import device_name
from recsys.ranking.exploration import FITS, Exposure
from recsys.ranking.system import System
from recsys.serving.answers import ListRequest, NewItems
from recsys.serving.history import History
from recsys.serving.recommender import Recommender
from recsys.training.fit_system import train_on
from recsys.training.measuring import encode_texts

K = 10
SHARE, LEAST = 0.1, 10  # of the films that have so many events at least
WISHES: dict[str, NewItems | None] = {
    "none": None,
    "slots 1": NewItems(slots=1),
    "slots 2": NewItems(slots=2),
    "slots 3": NewItems(slots=3),
    "strength 0.5": NewItems(strength=0.5),
    "strength 1": NewItems(strength=1.0),
    "strength 2": NewItems(strength=2.0),
    "strength 3": NewItems(strength=3.0),
}
DATED = ("none", "slots 1", "slots 2", "slots 3", "strength 2")
LEARNT, MOST_ASKED = 0.9, 2_000  # share of the events, by time; targets that came after
LIVED = ("none", "slots 2", "strength 2")
WEEK = 7
QUICK = ModelConfig(
    adapter=AdapterConfig(rounds=4, items_per_round=64),
    tower=TowerConfig(dimensions=32, epochs=4),
    evaluation=EvaluationConfig(protocols=("temporal",), bootstrap_samples=200),
)


@dataclass(frozen=True)
class Withheld:
    """Films that are taken away, and who is asked.

    Attributes:
        split: of what is left, by time.
        films: (items,) bool, those taken away.
        asked: one of them that each user has watched, after the history of the training.
    """

    split: Split
    films: np.ndarray
    asked: Targets


def withheld(sequences: Sequences, catalogue: int, seed: int) -> Withheld:
    """Take some films away from a snapshot's sequences."""
    random = np.random.default_rng(seed)
    used = np.flatnonzero(np.bincount(sequences.items, minlength=catalogue) >= LEAST)
    films = np.zeros(catalogue, dtype=bool)
    films[random.choice(used, round(SHARE * len(used)), replace=False)] = True
    split = temporal(sequences.only(~films[sequences.items]), seed=seed, catalogue=catalogue)
    users, items = [], []
    for user in range(len(sequences)):
        watched = sequences.row(user)[films[sequences.row(user)]]
        if len(split.train.row(user)) >= 5 and len(watched):
            users.append(user)
            items.append(int(random.choice(watched)))
    rows = np.array(users)
    asked = Targets(rows.astype(np.int32), split.train.take(rows), np.array(items, dtype=np.int32))
    return Withheld(split, films, asked)


def movielens(home: Home, seed: int, work: Path) -> dict[str, Any]:
    """Return the figures of one seed."""
    opened = Recommender.open(home)
    snapshot = open_snapshot(home, opened.snapshot_id)
    config = ModelConfig(seed=seed)
    found = withheld(snapshot.sequences(), len(opened.catalogue), seed)
    folder = work / f"movielens-{seed}"
    if not folder.exists():
        texts, frozen = encode_texts(snapshot, config)
        train_on(found.split, texts, frozen, config).system.save(folder)
    system = System.load(folder)
    source = copy.copy(opened.scoring.source)
    source.vectors = np.concatenate(list(system.dense_vectors().values()), axis=1)  # type: ignore[misc]
    recommender = Recommender.of(opened.manifest, system, source, snapshot.items(), opened.users)
    asked, known = found.asked, found.split.test
    prepared = recommender.scoring.prepared(asked.histories)
    fits = np.array([one.fit(item[None])[0] for one, item in zip(prepared, asked.items.astype(np.int64), strict=True)])
    figures: dict[str, Any] = {
        "seed": seed,
        "films": int(found.films.sum()),
        "asked": len(asked),
        "fitting": int((fits >= FITS).sum()),
        "known": len(known),
        "wishes": {},
    }
    for name, wish in WISHES.items():
        places = places_of(recommender, asked, wish)
        new = places_of(recommender, known, wish)
        figures["wishes"][name] = {
            "found": float((places <= K).mean()),
            "found_fitting": float((places[fits >= FITS] <= K).mean()),
            "ndcg@10_known": float(ndcg(new, K).mean()),
            "new_share": share_of(recommender, asked, found.films, wish),
        }
        print(f"movielens, seed {seed}, {name}: {figures['wishes'][name]}", flush=True)
    return figures


def later(data: Path) -> dict[str, Any]:
    """Return the figures of what people chose after a moment, by how often each item had been chosen before."""
    events, items = (pl.read_parquet(data / f"{name}.parquet") for name in ("events", "items"))
    if "timestamp_known" in events.columns:
        events = events.filter("timestamp_known")
    events = events.sort("timestamp", "user_id", "item_id")
    cut = round(LEARNT * len(events))
    before, after = events[:cut], events[cut:].join(events[:cut], on=["user_id", "item_id"], how="anti")
    firsts = after.filter(pl.col("user_id").is_in(before["user_id"].unique().implode()))
    firsts = firsts.unique("user_id", keep="first", maintain_order=True)
    firsts = firsts.sort(pl.col("user_id").hash(seed=0), "user_id").head(MOST_ASKED)
    with tempfile.TemporaryDirectory() as folder:
        recommender = trained(before, items, Path(folder))
        histories = pasts(before, firsts["user_id"].to_list())
        counts = Counter(before["item_id"].to_list())
        chosen = np.array([counts[item] for item in firsts["item_id"]])
        parts = {"cold": chosen == 0, "1 to 4 events": (chosen > 0) & (chosen < 5), "5 and more": chosen >= 5}
        wishes: dict[str, dict[str, dict[str, float]]] = {}
        for name in DATED:
            answers = recommender.recommend_many(histories, ListRequest(k=K, new_items=WISHES[name]))
            lists = [[item.item_id for item in answer.items] for answer in answers]
            pairs = zip(lists, firsts["item_id"].to_list(), strict=True)
            places = np.array([one.index(item) + 1 if item in one else np.inf for one, item in pairs])
            wishes[name] = {
                part: {"found": float((places[rows] <= K).mean()), "ndcg@10": float(ndcg(places[rows], K).mean())}
                for part, rows in (parts | {"all": np.full(len(chosen), True)}).items()
            }
            print(f"{data.name}, {name}: {wishes[name]}", flush=True)
    asked = {part: int(rows.sum()) for part, rows in parts.items()}
    return {
        "data": data.name,
        "events": len(before),
        "items": len(items),
        "asked": asked,
        "wishes": wishes,
        "processor": device_name(),
    }


def lists_of(recommender: Recommender, histories: Sequences, wish: NewItems | None) -> list[list[str]]:
    """Return the ten items of each history."""
    ids = recommender.catalogue.ids
    given = [[ids[item] for item in histories.row(row)] for row in range(len(histories))]
    answers = recommender.recommend_many(given, ListRequest(k=K, new_items=wish))
    return [[item.item_id for item in answer.items] for answer in answers]


def places_of(recommender: Recommender, targets: Targets, wish: NewItems | None) -> np.ndarray:
    """Return at which place each target stands, infinity where it is not among the ten."""
    wanted = [recommender.catalogue.ids[item] for item in targets.items]
    lists = lists_of(recommender, targets.histories, wish)
    found = [one.index(item) + 1 if item in one else np.inf for one, item in zip(lists, wanted, strict=True)]
    return np.array(found, dtype=np.float64)


def share_of(recommender: Recommender, targets: Targets, which: np.ndarray, wish: NewItems | None) -> float:
    """Return the share of all places that some items have."""
    named = {item for item, chosen in zip(recommender.catalogue.ids, which, strict=True) if chosen}
    lists = lists_of(recommender, targets.histories, wish)
    return float(np.mean([item in named for one in lists for item in one]))


def world(seed: int, names: Sequence[str] = LIVED) -> dict[str, Any]:
    """Return the figures of one made-up world, a week after each of two trainings."""
    from recsys.simulation.config import SimulationConfig
    from recsys.simulation.world import World

    made = World(SimulationConfig(users=600, items=500, events=40_000, days=120, seed=seed))
    items = made.catalogue.table()
    events = made.events(made.users())
    random = np.random.default_rng(seed)
    new = {str(item) for item in random.choice(made.items, made.config.items // 10, replace=False)}
    known = events.filter(~pl.col("item_id").is_in(new))
    with tempfile.TemporaryDirectory() as folder:
        first = trained(known, items, Path(folder))
        policies = {name: lived(made, events, known, items, first, new, name, Path(folder)) for name in names}
    return {"seed": seed, "users": made.config.users, "items": made.config.items, "new": len(new), "policies": policies}


def trained(events: pl.DataFrame, items: pl.DataFrame, folder: Path) -> Recommender:
    """Return a generation of some events, quickly trained."""
    snapshot = recsys.ingest(events, items, home=folder, progress=False)
    training = recsys.train(snapshot, QUICK, home=folder, progress=False)
    return Recommender.open(Home(folder), training.generation)


def lived(
    made: Any,
    before: pl.DataFrame,
    known: pl.DataFrame,
    items: pl.DataFrame,
    first: Recommender,
    new: set[str],
    name: str,
    folder: Path,
) -> list[dict[str, float]]:
    """Return a policy's figures by week; people remember what they had bought before."""
    from recsys.simulation.environment import Environment

    environment, recommender = Environment(made, history=before), first
    shown: Counter[str] = Counter()
    brought: Counter[str] = Counter()
    weeks, seen = [], [known]
    for week in range(2):
        if week:
            recommender = trained(pl.concat(seen), items, folder)
        lists = bought = new_bought = new_places = places = 0
        for day in range(made.config.days + week * WEEK, made.config.days + (week + 1) * WEEK):
            people = environment.visitors(day)
            wish = policy(WISHES[name], shown, brought)
            answers = recommender.recommend_many(pasts(pl.concat(seen), people), ListRequest(k=K, new_items=wish))
            offered = [[item.item_id for item in answer.items] for answer in answers]
            answered = environment.respond(people, offered, day)
            seen.append(answered.select(known.columns))
            for one in offered:
                shown.update(recommender.little_known(one))
            brought.update(answered.unique(["user_id", "item_id"])["item_id"].to_list())
            orders = answered.filter(pl.col("event_type") == "purchase")["item_id"].to_list()
            lists, places = lists + len(people), places + sum(map(len, offered))
            new_places += sum(item in new for one in offered for item in one)
            bought, new_bought = bought + len(orders), new_bought + sum(item in new for item in orders)
        weeks.append(
            {
                "lists": lists,
                "new_share": new_places / max(1, places),
                "bought": 1_000 * bought / max(1, lists),
                "new_bought": 1_000 * new_bought / max(1, lists),
            }
        )
        print(f"world, {name}, week {week + 1}: {weeks[-1]}", flush=True)
    return weeks


def policy(wish: NewItems | None, shown: Mapping[str, int], brought: Mapping[str, int]) -> NewItems | None:
    """Return a wish with what is known of new items by now."""
    if wish is None:
        return None
    exposures = {item: Exposure(count, brought.get(item, 0)) for item, count in shown.items()}
    return NewItems(wish.slots, wish.strength, exposures)


def pasts(events: pl.DataFrame, people: Sequence[str]) -> list[History]:
    """Return what each of some people did, oldest first."""
    own = events.filter(pl.col("user_id").is_in(people)).sort("timestamp", maintain_order=True)
    if "value" not in own.columns:
        own = own.with_columns(value=pl.lit(None, pl.Float64))
    columns = ("item_id", pl.col("timestamp").dt.epoch("us").alias("time"), "event_type", "value")
    did = {user: History(*rest) for user, *rest in own.group_by("user_id").agg(*columns).iter_rows()}
    return [did.get(one, History.of([])) for one in people]


def kept(place: Path, measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Return figures that were kept, or measure and keep them."""
    path = place.with_suffix(".json")
    if not path.exists():
        write_json(path, measure(*arguments))
    return dict(read_json(path))


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="a home with a generation of MovieLens 100K")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--worlds", type=int, default=3, help="made-up shops, each of a seed")
    parser.add_argument("--data", type=Path, help="a folder whose events tell when they happened")
    parser.add_argument("--work", type=Path, help="where what is done is kept and found")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        work = options.work or Path(spare)
        work.mkdir(parents=True, exist_ok=True)
        films = [
            kept(work / f"films-{seed}", movielens, Home(options.home), seed, work) for seed in range(options.seeds)
        ]
        worlds = [kept(work / f"world-{seed}", world, seed) for seed in range(options.worlds)]
        dated = kept(work / "later", later, options.data) if options.data else None
    document = {
        "task": "new items",
        "command": f"python infra/benchmarks/new_items.py --home HOME --out infra/results/{options.out.name} "
        f"--seeds {options.seeds} --worlds {options.worlds}{' --data DATA' if options.data else ''}",
        "fits": FITS,
        "movielens": films,
        "worlds": worlds,
        "later": dated,
        "processor": device_name(),
    }
    write_json(options.out, document)


if __name__ == "__main__":
    main()
