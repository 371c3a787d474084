"""What it is worth that events mean different things: the same training with and without roles, on the same targets.

    python infra/benchmarks/signals.py --out infra/results/signals.json --work WORK [--seeds 3] [--towers]

In made-up shops, whose truth is known, an order that came an hour or more after the history ends is asked for; in
MovieLens 100K a film that was rated 4 or better. ``equal`` counts every event alike, as before; ``equal, looks left``
is the same without taking what was only looked at out of the lists; ``roles`` are those that the data suggests. Each
finished round is kept in the work folder; a killed run goes on. ``tables.py`` makes the table.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from recsys.artifacts import read_json, write_json
from recsys.config import LEAVE_ONE_OUT, ModelConfig
from recsys.data.ingest import ingest
from recsys.data.movielens import fetch_movielens_100k
from recsys.data.sequences import Scorer, Sequences
from recsys.data.signals import said, signals_of, with_signals
from recsys.data.text import item_texts
from recsys.evaluation.bootstrap import paired_bootstrap
from recsys.evaluation.full_ranking import Ranking, evaluate
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.splits import Split, Targets
from recsys.experts.lexical import Lexicon
from recsys.experts.popularity import Popularity
from recsys.home import Home
from recsys.models.devices import device_name
from recsys.ranking.blend import BlendScorer, fit_blend
from recsys.ranking.system import CONTENT, LEXICAL, POPULARITY
from recsys.simulation.config import SimulationConfig
from recsys.simulation.world import World
from recsys.simulation.writing import write_world
from recsys.training.encoding import TextEncoding, frozen_encoding
from recsys.training.fit_experts import fit_best_lexical, fit_content, fit_experts
from recsys.training.fit_system import FIXED_POWER, fit_system
from recsys.training.weighing import chosen_weighing, weighed

SHOP = SimulationConfig(users=1_200, items=800, events=72_000)
ARMS = ("equal", "equal, looks left", "roles")
HOUR = 3_600
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Deaf:
    """A scorer that hears nothing of what events mean."""

    scorer: Scorer

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return the scores of histories whose events all count the same."""
        return self.scorer.score(replace(histories, signals=None))


def held_out(sequences: Sequences, ends: Places, gap: int) -> tuple[Places, Places]:
    """Return the last target of each row that can be asked for, and where its history ends, -1 where there is none.

    Args:
        sequences: with times; without signals every event is a target, and takes its item out of the lists.
        ends: (rows,) places before which a target may lie.
        gap: seconds before the target that belong to it: what led there in the same visit is no history.
    """
    assert sequences.times is not None
    signals = sequences.signals
    asked = np.ones(len(sequences.items), bool) if signals is None else signals.targets
    taken = np.ones(len(sequences.items), bool) if signals is None else signals.taken
    targets, histories = np.full(len(sequences), -1), np.full(len(sequences), -1)
    for row, (start, end) in enumerate(zip(sequences.offsets[:-1], ends, strict=True)):
        for place in reversed(start + np.flatnonzero(asked[start:end])):
            until = place
            if gap:
                until = start + np.searchsorted(sequences.times[start:place], sequences.times[place] - gap)
            known = sequences.items[start:until][taken[start:until]]
            if until > start and sequences.items[place] not in known:
                targets[row], histories[row] = place, until
                break
    return targets, histories


def targets_at(sequences: Sequences, places: Places, ends: Places) -> Targets:
    """Return the targets that were found, with what came before."""
    rows = np.flatnonzero(places >= 0)
    histories = sequences.slice(sequences.offsets[:-1][rows], ends[rows])
    return Targets(rows.astype(np.int32), histories, sequences.items[places[rows]])


def part(sequences: Sequences, test: tuple[Places, Places], gap: int, catalogue: int) -> Split:
    """Return what is learnt before the test targets, and the validation targets of these events' own meaning."""
    places, ends = test
    before = np.where(places >= 0, ends, sequences.offsets[1:])
    chosen, until = held_out(sequences, before, gap)
    train = sequences.slice(sequences.offsets[:-1], np.where(chosen >= 0, until, before))
    validation = targets_at(sequences, chosen, until)
    return Split(LEAVE_ONE_OUT, train, validation, targets_at(sequences, places, ends), catalogue)


def fitted(
    split: Split, texts: list[str], frozen: TextEncoding, config: ModelConfig, towers: bool
) -> dict[str, Scorer]:
    """Return the trained: experts and blend, and with towers, which read the frozen base, the whole as well."""
    if towers:
        system = fit_system(split, texts, frozen.features, frozen.features, config)
        simple = {name: one for name, one in system.components.items() if name not in system.learnt}
        found: dict[str, Scorer] = {"experts, blend and towers": system}
    else:
        experts, _ = fit_experts(split.train, split.catalogue, config.experts, split.validation)
        experts[LEXICAL] = fit_best_lexical(Lexicon.fit(texts), split.validation)
        popularity = Popularity.fit(split.train, split.catalogue, config.experts.popularity_half_life_days)
        simple = {CONTENT: fit_content(frozen.features, split.validation), POPULARITY: popularity, **experts}
        found = {}
    blend, _ = fit_blend(simple, FIXED_POWER, split.validation.histories, split.validation.items)
    return {"experts and blend": BlendScorer(blend, simple)} | found


def round_of(
    data: tuple[Path, Path], home: Home, seed: int, gap: int, towers: bool, world: World | None = None
) -> dict[str, Any]:
    """Train and ask both ways on one data set; return counts, figures by system and arm, and gains of each target."""
    began = time.monotonic()
    snapshot = ingest(str(data[0]), str(data[1]), home)
    config = with_signals(snapshot, ModelConfig(seed=seed))
    assert config.signals is not None
    meant, alike = snapshot.sequences(None, signals_of(config)), snapshot.sequences()
    assert len(meant.items) == len(alike.items)  # no role of these leaves an event out
    texts = item_texts(snapshot.items(), config.text)
    frozen = frozen_encoding(texts, config)
    test = held_out(meant, meant.offsets[1:], gap)
    splits = {"roles": part(meant, test, gap, len(texts)), "equal": part(alike, test, gap, len(texts))}
    weighing = chosen_weighing(splits["roles"], config)
    splits["roles"] = weighed(splits["roles"], weighing)
    trained = {arm: fitted(split, texts, frozen, config, towers) for arm, split in splits.items()}
    systems: dict[str, Any] = {}
    for name in trained["roles"]:
        rankings = {
            "equal": evaluate("equal", trained["equal"][name], splits["equal"].test, k=10),
            "equal, looks left": evaluate("deaf", Deaf(trained["equal"][name]), splits["roles"].test, k=10),
            "roles": evaluate("roles", trained["roles"][name], splits["roles"].test, k=10),
        }
        truth = None if world is None else Truth(world, snapshot.user_ids(), snapshot.item_ids())
        systems[name] = {arm: figures(ranking, truth) for arm, ranking in rankings.items()}
    return {
        "seed": seed,
        "counts": {
            "users": len(meant), "items": len(texts), "events": len(meant.items),
            "targets": len(splits["roles"].test), "taken_before": int(np.isinf(rankings["equal"].ranks).sum()),
        },
        "roles": [said(rule) for rule in config.signals],
        "weighing": weighing,
        "seconds": round(time.monotonic() - began, 1),
        "systems": systems,
    }  # fmt: skip


class Truth:
    """What a world knows of the lists that were made of its files."""

    def __init__(self, world: World, users: Sequence[str], items: Sequence[str]) -> None:
        self.world, self.users, self.items = world, users, items

    def of(self, ranking: Ranking) -> dict[str, float]:
        """Return how much of the lists is truly disliked, and how probably a place of them would be bought."""
        day = float(self.world.config.days)
        disliked, bought, places = 0, 0.0, 0
        for user, row in zip(ranking.targets.users, ranking.items, strict=True):
            names = [self.items[item] for item in row if item >= 0]
            disliked += int(self.world.disliked([self.users[user]], names, day).sum())
            bought += float(self.world.purchase_probability([self.users[user]], names, day).sum())
            places += len(names)
        return {"disliked": disliked / places, "purchase_probability": bought / places}


def figures(ranking: Ranking, truth: Truth | None) -> dict[str, Any]:
    """Return NDCG@10, the gain of every target, and what the truth says of the lists."""
    gains = ndcg(ranking.ranks, 10)
    return {"ndcg@10": float(gains.mean()), "gains": gains.tolist()} | ({} if truth is None else truth.of(ranking))


def summary(name: str, rounds: list[dict[str, Any]], samples: int) -> dict[str, Any]:
    """Return the rounds of one kind of data, and over all of their targets what roles bring, with intervals."""
    compared: dict[str, Any] = {}
    for system in rounds[0]["systems"]:
        gains = {
            arm: np.array([gain for one in rounds for gain in one["systems"][system][arm].pop("gains")]) for arm in ARMS
        }
        compared[system] = {
            arm: paired_bootstrap(gains["roles"], gains[arm], samples).to_dict() for arm in ARMS if arm != "roles"
        }
    return {"name": name, "rounds": rounds, "roles_minus": compared}


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--towers", action="store_true", help="train towers over the frozen base as well")
    parser.add_argument("--work", type=Path, required=True, help="where finished rounds and MovieLens are kept")
    options = parser.parse_args()
    work, home = options.work, Home(options.work / "home").make()

    def kept(name: str, seed: int, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = work / f"{name}-{seed}{'-towers' if options.towers else ''}.json"
        if not path.is_file():
            write_json(path, measured())
        one: dict[str, Any] = read_json(path)
        tell(one)
        return one

    def shop(seed: int) -> dict[str, Any]:
        world = World(replace(SHOP, seed=seed))
        with TemporaryDirectory(prefix="shop-") as place:
            folder = Path(place) / "shop"
            write_world(world, folder)
            return round_of((folder / "events", folder / "items.parquet"), home, seed, HOUR, options.towers, world)

    def films(seed: int) -> dict[str, Any]:
        return round_of(fetch_movielens_100k(home.cache), home, seed, 0, options.towers)

    shops = [kept("shop", seed, partial(shop, seed)) for seed in range(options.seeds)]
    # without towers nothing hangs on the seed
    rated = [kept("films", seed, partial(films, seed)) for seed in range(options.seeds if options.towers else 1)]
    samples = ModelConfig().evaluation.bootstrap_samples
    document = {
        "task": "signals",
        "processor": device_name(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "command": shlex.join(["python", "infra/benchmarks/signals.py", *sys.argv[1:]]),
        "data": [summary("made-up shops", shops, samples), summary("MovieLens 100K", rated, samples)],
    }
    write_json(options.out, document)


def tell(one: dict[str, Any]) -> None:
    """Say what a round gave."""
    shown = {
        name: {arm: {key: round(value, 4) for key, value in of.items() if key != "gains"} for arm, of in arms.items()}
        for name, arms in one["systems"].items()
    }
    print(one["seed"], one["counts"], one["seconds"], one["weighing"], one["roles"], shown, flush=True)


if __name__ == "__main__":
    main()
