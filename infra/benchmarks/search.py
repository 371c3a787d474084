"""How well the search finds, by meaning, by words and by both, on questions whose answers are known.

    python infra/benchmarks/search.py --out infra/results/search.json

Each catalogue of ``collections_of_texts.py`` becomes a home of its own, with a generation trained in seconds on
made-up events, and is asked as ``POST /v1/search`` would be. Weights and powers of the fusion are compared on every
other question of the help desk and of the products. ``--items`` asks another catalogue, too.
The help desk's search is then taught by most of its questions, as ``recsys teach`` does it, and asked the others.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

import recsys
from infra.benchmarks.collections_of_texts import (
    Collection,
    Question,
    by_key_words,
    courses,
    films,
    help_desk,
    in_sentences,
    products,
    titles_in_part,
)
from recsys.artifacts import write_json
from recsys.config import AdapterConfig, EvaluationConfig, ModelConfig, PairsConfig, TowerConfig
from recsys.data.pairs import asked_of, read_pairs, split_asked
from recsys.evaluation.bootstrap import paired_bootstrap
from recsys.home import Home
from recsys.interactive.generation import Generation
from recsys.publishing.search_run import teach_search
from recsys.serving import fusion
from recsys.serving.search import BOTH, CANDIDATES, MEANING, WORDS

QUICK = ModelConfig(
    adapter=AdapterConfig(rounds=1, items_per_round=16),
    tower=TowerConfig(dimensions=16, epochs=1),
    evaluation=EvaluationConfig(protocols=("leave-one-out",), bootstrap_samples=200),
)
RANKS = "reciprocal ranks"  # of the two lists, at equal weight: what the search did before
WEIGHTS, POWERS = (1.0, 2.0, 4.0, 8.0), (1, 2, 3, 4, 5, 6)
TEN = 10
TEACHING = PairsConfig(held_out_share=0.3)
CHOSEN = ", chosen on"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--items", type=Path, help="a Parquet catalogue with item_id and title, asked by two words")
    parser.add_argument("--seeds", type=int, default=3, help="times that the help desk is taught")
    options = parser.parse_args()
    started = time.monotonic()
    desk, shop, school, cinema = help_desk(), products(), courses(), films()
    several = {
        desk.name: [half(desk, 0), half(desk, 1), by_key_words(desk)],
        shop.name: [half(shop, 0), half(shop, 1), in_sentences(shop)],
        school.name: [school, by_key_words(school)],
        cinema.name: [cinema, in_sentences(cinema)],
    }
    if options.items:
        columns = pl.read_parquet(options.items)
        items = columns.select(pl.col("item_id").cast(pl.String), "title").to_dicts()
        several["given"] = [Collection(options.items.stem, "words", items, titles_in_part(items))]
    kinds, grid, lessons = [], [], []
    for asked in several.values():
        with tempfile.TemporaryDirectory() as place:
            generation = served(asked[0], Path(place))
            for collection in asked:
                kinds.append({**described(collection), **measured(generation, collection)})
                print(line(kinds[-1]), flush=True)
                if collection.name.endswith(CHOSEN):
                    grid.append(compared(generation, collection.questions))
            if asked[0].items == desk.items:
                lessons = [taught(Home(Path(place)), generation, desk, seed) for seed in range(options.seeds)]
    document = {
        "task": "search",
        "command": f"python infra/benchmarks/search.py --out infra/results/{options.out.name}",
        "fusion": {"weight": fusion.WORDS_WEIGHT, "power": fusion.WORDS_POWER},
        "chosen_on": {
            f"{weight:g} · share^{power}": [round(one[weight, power], 4) for one in grid]
            for weight in WEIGHTS
            for power in POWERS
        },
        "kinds": kinds,
        "taught": lessons,
        "seconds": round(time.monotonic() - started, 1),
        "load_after": os.getloadavg(),
    }
    write_json(options.out, document)


def half(collection: Collection, number: int) -> Collection:
    """Return every other question of a collection; by the first half weight and power were chosen."""
    name = collection.name + (CHOSEN if number == 0 else "")
    return replace(collection, name=name, questions=collection.questions[number::2])


def served(collection: Collection, folder: Path) -> Generation:
    """Return a generation over a collection's items, with made-up events, in a home of its own."""
    rng = np.random.default_rng(0)
    ids = [item["item_id"] for item in collection.items]
    users = [f"u{number:03}" for number in range(80) for _ in range(8)]
    events = pl.DataFrame(
        {
            "user_id": users,
            "item_id": [ids[place] for place in rng.integers(len(ids), size=len(users))],
            "timestamp": list(range(1_700_000_000, 1_700_000_000 + len(users))),
        }
    )
    snapshot = recsys.ingest(events, pl.DataFrame(collection.items), home=folder, progress=False)
    training = recsys.train(snapshot, QUICK, home=folder, progress=False)
    return recsys.load(training, home=folder, progress=False)


def described(collection: Collection) -> dict[str, Any]:
    """Return what is asked of what."""
    asked_by = collection.asked_by
    return {
        "name": collection.name,
        "asked_by": asked_by,
        "items": len(collection.items),
        "questions": len(collection.questions),
    }


def measured(generation: Generation, collection: Collection) -> dict[str, Any]:
    """Return hit@1 and MRR@10 of every way to search, and by how much both differ from the better of the two."""
    questions = collection.questions
    lists = {mode: found(generation, questions, mode) for mode in (MEANING, WORDS, BOTH)}
    lists[RANKS] = [by_ranks(*pair) for pair in zip(lists[MEANING], lists[WORDS], strict=True)]
    ranks = {name: reciprocal(own, questions) for name, own in lists.items()}
    hits = {name: (own == 1).astype(np.float64) for name, own in ranks.items()}
    better = max((MEANING, WORDS), key=lambda name: hits[name].mean())
    difference = paired_bootstrap(hits[BOTH], hits[better])
    gain = paired_bootstrap(hits[BOTH], hits[RANKS])
    return {
        "systems": {
            name: {"hit@1": float(hits[name].mean()), "mrr@10": float(ranks[name].mean())} for name in sorted(lists)
        },
        "better_alone": better,
        "both_minus_better": difference.to_dict(),
        "both_minus_ranks": gain.to_dict(),
    }


def found(generation: Generation, questions: Sequence[Question], mode: Any) -> list[list[str]]:
    """Return the ids that a search finds for each question, best first."""
    frame = generation.search([question.text for question in questions], k=CANDIDATES, mode=mode, fields=())
    lists = dict(frame.group_by("query", maintain_order=True).agg("item_id").iter_rows())
    return [lists.get(question.text, []) for question in questions]


def by_ranks(meaning: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return two lists fused by ``sum(1 / (60 + place))`` (Cormack, Clarke and Büttcher, 2009)."""
    scores: dict[str, float] = {}
    for ids in (meaning, words):
        for place, item_id in enumerate(ids, start=1):
            scores[item_id] = scores.get(item_id, 0.0) + 1 / (60 + place)
    return sorted(scores, key=lambda item_id: (-scores[item_id], item_id))


def reciprocal(lists: Sequence[Sequence[str]], questions: Sequence[Question]) -> NDArray[np.float64]:
    """Return one over the place of each question's first answer among the first ten, or 0, (questions,)."""
    places = (
        next((place for place, item_id in enumerate(ids[:TEN], start=1) if item_id in question.answers), np.inf)
        for ids, question in zip(lists, questions, strict=True)
    )
    return 1 / np.array(list(places))


def compared(generation: Generation, questions: Sequence[Question]) -> dict[tuple[float, int], float]:
    """Return hit@1 by weight and power of the fusion."""
    search = generation._search
    source, ids = search._recommender.scoring.source, search._recommender.catalogue.ids
    everything = np.ones(len(ids), dtype=bool)
    hits: dict[tuple[float, int], list[bool]] = {(weight, power): [] for weight in WEIGHTS for power in POWERS}
    for question in questions:
        cosines = search._meaning.cosines(search.encoder.query(question.text))
        worded, shares = source.worded(question.text, CANDIDATES, everything), np.zeros(len(ids))
        shares[worded.rows] = worded.shares
        for weight, power in hits:
            best = int((cosines + weight * shares**power).argmax())
            hits[weight, power].append(ids[best] in question.answers)
    return {setting: float(np.mean(own)) for setting, own in hits.items()}


def taught(home: Home, before: Generation, collection: Collection, seed: int) -> dict[str, Any]:
    """Teach a search by a collection's questions, and ask those that were held out before and after."""
    rows = [(question.text, item_id) for question in collection.questions for item_id in question.answers]
    pairs = pl.DataFrame(rows, schema=["query", "item_id"], orient="row")
    path = home.root / "pairs.parquet"
    pairs.write_parquet(path)
    started = time.process_time()
    done = teach_search(home, before.generation, path, TEACHING, seed, keep=True)
    seconds = time.process_time() - started
    ids = [item["item_id"] for item in collection.items]
    asked = asked_of(read_pairs(path), sorted(ids))
    _, held_out = split_asked(asked, TEACHING.held_out_share, seed)
    texts = {one.text for one in held_out}
    questions = [question for question in collection.questions if question.text in texts]
    after = recsys.load(done.generation, home=home.root, progress=False)
    ranks = [reciprocal(found(one, questions, BOTH), questions) for one in (before, after)]
    hits = [(own == 1).astype(np.float64) for own in ranks]
    figures = [{"hit@1": float(hit.mean()), "mrr@10": float(own.mean())} for hit, own in zip(hits, ranks, strict=True)]
    lesson = {
        "seed": seed,
        "learnt": done.learnt,
        "held_out": len(questions),
        "before": figures[0],
        "after": figures[1],
        "after_minus_before": paired_bootstrap(hits[1], hits[0]).to_dict(),
        "pays": done.figures["pays"],
        "cpu_seconds": round(seconds, 1),
    }
    print(f"taught, seed {seed}: hit@1 {figures[0]['hit@1']:.3f} → {figures[1]['hit@1']:.3f}", flush=True)
    return lesson


def line(kind: dict[str, Any]) -> str:
    """Return a kind's figures as a line."""
    figures = "  ".join(f"{name} {own['hit@1']:.3f}" for name, own in kind["systems"].items())
    return f"{kind['name']:28} {kind['questions']:4} questions  {figures}"


if __name__ == "__main__":
    main()
