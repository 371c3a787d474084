"""What each stage of a training costs at some sizes: seconds and peak memory, each stage a process of its own.

    python infra/benchmarks/scale.py FOLDER --out infra/results/scale.json [--sizes 100000:10000 …] [--stages knn …]

FOLDER keeps the made-up shops, which are ingested once, and stays out of git. A stage reads what it needs, says how
long it took without that, and is held to ``--limit`` GiB of private memory (RLIMIT_DATA). What grows with items or
steps is done in part and told with the whole that its slope gives. Texts are encoded by the default base; what comes
after reads made-up vectors, so that no stage waits for hours of another. Rows of sizes and stages that are not asked
for stay in the file. ``tables.py`` makes the table.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read as numpy and torch are first imported
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import polars as pl

from recsys.artifacts import write_json
from recsys.config import TEMPORAL, ModelConfig
from recsys.data.snapshot import Snapshot, list_snapshots
from recsys.evaluation.splits import Split
from recsys.home import Home

SIZES = ("100000:10000", "1000000:50000", "10000000:500000")  # events:items
EVENTS_A_USER, DAYS, WIDTH = 10, 365, 384
ENCODED, ROUNDS, STEPS, RANKED = 2_048, 3, 20, 256  # of what is done in part: texts, rounds, steps, targets
FIRST_DAY = 1_700_000_000


@dataclass(frozen=True)
class Shop:
    """A made-up shop in a folder of its own: raw files, and a home with their snapshot."""

    folder: Path
    events: int
    items: int

    def make(self) -> None:
        """Draw the raw tables: people of uneven zeal, groups with a taste, items of uneven fame."""
        rng = np.random.default_rng(self.events)
        users, groups = max(10, self.events // EVENTS_A_USER), max(5, self.items // 500)
        zeal = rng.lognormal(0, 1, users)
        user = np.sort(rng.choice(users, self.events, p=zeal / zeal.sum())).astype(np.int32)
        fame = 1 / np.arange(1, self.items + 1) ** 0.8
        item = np.searchsorted(np.cumsum(fame) / fame.sum(), rng.random(self.events))
        own = rng.random(self.events) < 0.7  # what suits the group rather than what everybody takes
        size = self.items // groups
        inside = np.minimum((size * rng.random(self.events) ** 3).astype(np.int32), size - 1)
        item = np.where(own, rng.integers(groups, size=users)[user] * size + inside, np.minimum(item, self.items - 1))
        item = rng.permutation(self.items)[item]  # fame is not in the order of the ids
        moment = FIRST_DAY + rng.integers(DAYS * 86_400, size=self.events)
        self.folder.mkdir(parents=True, exist_ok=True)
        events = {"user_id": _ids("u", user), "item_id": _ids("i", item), "timestamp": moment}
        pl.DataFrame(events).write_parquet(self.folder / "events.parquet")
        words = np.array([f"word{number}" for number in range(20_000)])
        titles = [" ".join(row) for row in words[(20_000 * rng.random((self.items, 8)) ** 2).astype(int)]]
        brands = [f"brand {number}" for number in rng.integers(max(2, self.items // 50), size=self.items)]
        items = {"item_id": _ids("i", np.arange(self.items)), "title": titles, "brand": brands}
        pl.DataFrame(items).write_parquet(self.folder / "items.parquet")

    def ingest(self) -> None:
        from recsys.data.ingest import ingest

        ingest(str(self.folder / "events.parquet"), str(self.folder / "items.parquet"), Home(self.folder / "home"))

    @cached_property
    def snapshot(self) -> Snapshot:
        return list_snapshots(Home(self.folder / "home"))[0]

    @cached_property
    def config(self) -> ModelConfig:
        return ModelConfig()

    @cached_property
    def split(self) -> Split:
        from recsys.evaluation.held_out import make_split, read_sequences

        sequences, _ = read_sequences(self.snapshot, TEMPORAL, self.config)
        return make_split(sequences, self.items, TEMPORAL, self.config)

    @cached_property
    def validation(self) -> Any:
        from recsys.evaluation.splits import sample

        return sample(self.split.validation, self.config.evaluation.max_validation_users, self.config.seed)

    @cached_property
    def vectors(self) -> np.ndarray:
        """Unit vectors in the place of the base's, (items, width) float32."""
        path = self.folder / "vectors.npy"
        if not path.is_file():
            rng = np.random.default_rng(0)
            centres = rng.standard_normal((200, WIDTH), dtype=np.float32)
            made = np.lib.format.open_memmap(path, "w+", np.float32, (self.items, WIDTH))
            for start in range(0, self.items, 10_000):
                stop = min(start + 10_000, self.items)
                rows = centres[rng.integers(200, size=stop - start)]
                rows = rows + rng.standard_normal(rows.shape, dtype=np.float32)
                made[start:stop] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            made.flush()
        return np.load(path, mmap_mode="r")

    def towers(self, residual_norm: float) -> Any:
        """Return towers that have learnt nothing yet, over the whole catalogue."""
        from recsys.models.towers.tower import TwoTower
        from recsys.models.towers.training import tower_shape

        train, config = self.split.train, replace(self.config.tower, residual_norm=residual_norm)
        made = TwoTower(tower_shape(train, WIDTH, self.items, config), self.features)
        made.items.set_known(np.bincount(train.counting(), minlength=self.items))
        return made.freeze()

    @cached_property
    def features(self) -> np.ndarray:
        from recsys.models.towers.whitening import text_features

        return text_features([self.vectors])[0]


def _ids(letter: str, numbers: np.ndarray) -> pl.Series:
    return pl.select(pl.lit(letter) + pl.Series(numbers).cast(pl.String).str.zfill(8)).to_series()


class Clock:
    """What a stage itself takes, in seconds of its clock and of its processor, and what part of the whole it did."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.part = 1.0

    def __enter__(self) -> "Clock":
        self._began = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.monotonic() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


def ingest(shop: Shop, clock: Clock) -> str:
    with clock:
        shop.ingest()
    return ""


def read(shop: Shop, clock: Clock) -> str:
    from recsys.data.mapped_sequences import discard_sequences, mapped_sequences

    discard_sequences(Home(shop.folder / "home"), shop.snapshot.id)
    with clock:
        found = mapped_sequences(shop.snapshot)
    began = time.monotonic()
    mapped_sequences(shop.snapshot)
    return f"{len(found):,} users; {1000 * (time.monotonic() - began):,.0f} ms when it is read again"


def split(shop: Shop, clock: Clock) -> str:
    from recsys.evaluation.held_out import make_split, read_sequences
    from recsys.evaluation.leaks import check_split

    found, _ = read_sequences(shop.snapshot, TEMPORAL, shop.config)
    with clock:
        made = make_split(found, shop.items, TEMPORAL, shop.config)
        check_split(made, found)
    return f"{len(made.validation):,} + {len(made.test):,} targets, {len(made.train.items):,} events learnt from"


def encode(shop: Shop, clock: Clock) -> str:
    from recsys.data.text import item_texts
    from recsys.models.encoder.backbone import load_backbone
    from recsys.models.encoder.export import encode_texts

    texts = item_texts(shop.snapshot.items(), shop.config.text)
    backbone = load_backbone(shop.config.adapter.lora.base)
    encode_texts(backbone, texts[:8], shop.config.text.max_tokens)
    with clock:
        encode_texts(backbone, texts[:ENCODED], shop.config.text.max_tokens)
    clock.part = min(1.0, ENCODED / len(texts))
    return f"{backbone.name}"


def whiten(shop: Shop, clock: Clock) -> str:
    from recsys.models.towers.whitening import text_features

    vectors = shop.vectors
    with clock:
        text_features([vectors, vectors])
    return "base and adapter side by side"


def rules(shop: Shop, clock: Clock) -> str:
    from recsys.training.fit_experts import fit_expert

    train = shop.split.train
    with clock:
        expert = fit_expert("rules", train, shop.items, shop.config.experts, 0.9, None)
    return f"{expert.matrix.nnz:,} entries"


def knn(shop: Shop, clock: Clock) -> str:
    from recsys.training.fit_experts import fit_expert

    train = shop.split.train
    with clock:
        expert = fit_expert("knn", train, shop.items, shop.config.experts, 0.9, None)
    return f"{expert.matrix.nnz:,} entries"


def choose(shop: Shop, clock: Clock) -> str:
    """Judge one setting of an expert by validation; rules and ItemKNN have six each, content six."""
    from recsys.evaluation.splits import sample
    from recsys.experts.popularity import Popularity
    from recsys.training.validation import validation_ndcg

    scorer, few = Popularity.fit(shop.split.train, shop.items), sample(shop.validation, RANKED)
    with clock:
        validation_ndcg(scorer, few)
    clock.part = min(1.0, len(few) / len(shop.validation) / 18)
    return "18 settings of rules, ItemKNN and content"


def adapter(shop: Shop, clock: Clock) -> str:
    from recsys.data.text import item_texts
    from recsys.models.adapter import adapter_rounds, train_adapter
    from recsys.models.encoder.backbone import add_lora, load_backbone
    from recsys.models.encoder.tokens import tokenize

    config = shop.config
    texts = item_texts(shop.snapshot.items(), config.text)
    backbone = add_lora(load_backbone(config.adapter.lora.base), config.adapter.lora, 0)
    tokens = tokenize(backbone, texts, config.text.max_tokens)
    train, warm = shop.split.train, shop.towers(0.0)
    few = replace(config.adapter, rounds=ROUNDS)
    rounds = config.adapter.rounds or adapter_rounds(np.flatnonzero(warm.items.known.numpy()))
    if int(warm.items.known.sum()) <= config.tower.max_softmax_items:
        rounds = adapter_rounds(tokens)
    moments: list[float] = []
    with clock:
        train_adapter(
            backbone, tokens, train, few, config.tower, 0, warm, np.asarray(shop.vectors),
            lambda *_: moments.append(time.process_time()),
        )  # fmt: skip
    one = (moments[-1] - moments[0]) / (len(moments) - 1)
    clock.part = min(1.0, clock.cpu / (clock.cpu + (rounds - ROUNDS) * one))
    return f"{rounds:,} rounds of {config.adapter.items_per_round} texts, {one:.1f} s each, of one protocol"


def towers(shop: Shop, clock: Clock) -> str:
    from recsys.models.towers.batches import training_windows
    from recsys.models.towers.epochs import Course, run_epochs
    from recsys.models.towers.training import _epochs, batch_tokens, is_long

    made, train, rng = shop.towers(shop.config.tower.residual_norm), shop.split.train, np.random.default_rng(0)
    windows = training_windows(train, made.shape.max_history)
    positions, long = int((windows.lengths - 1).sum()), is_long(train)
    size = batch_tokens(positions, long)
    few = windows.take(np.sort(rng.choice(len(windows), min(len(windows), STEPS * size * len(windows) // positions))))
    with clock:
        run_epochs(made, lambda _: few, shop.config.tower, Course(1, STEPS, size, 1e-3), rng)
    steps, epochs = -(-positions // size), _epochs(positions, long)
    clock.part = min(1.0, STEPS / (steps * epochs))
    return f"{epochs} epochs of {steps:,} steps, of one protocol, and as much to fit again"


def blend(shop: Shop, clock: Clock) -> str:
    from recsys.data.sequences import Scorer
    from recsys.experts.content import Content
    from recsys.experts.popularity import Popularity
    from recsys.ranking.blend import MOST_SCORES, fit_blend
    from recsys.training.fit_experts import fit_expert

    train, targets = shop.split.train, shop.validation
    components: dict[str, Scorer] = {
        "knn": fit_expert("knn", train, shop.items, shop.config.experts, 0.9, None),
        "content": Content(shop.features, 0.9),
        "popularity": Popularity.fit(train, shop.items),
    }
    whole = min(len(targets), max(1, MOST_SCORES // shop.items))
    few = targets.take(np.arange(min(whole, RANKED)))
    with clock:
        fit_blend(components, frozenset({"content"}), few.histories, few.items)
    clock.part = len(few) / whole
    return f"{whole:,} targets, three components"


def rank(shop: Shop, clock: Clock) -> str:
    from recsys.evaluation.full_ranking import evaluate
    from recsys.experts.content import Content
    from recsys.training.baselines import QUICK

    scorer, test = Content(shop.features, 0.9), shop.split.test
    few = test.take(np.arange(min(len(test), RANKED)))
    with clock:
        evaluate("content", scorer, few)
    clock.part = min(1.0, len(few) / len(test) / len(QUICK))
    return f"{len(test):,} targets, {len(QUICK)} systems, of one protocol"


def index(shop: Shop, clock: Clock) -> str:
    from recsys.store.index import build_index

    width = shop.config.tower.dimensions + 1
    vectors = np.concatenate([np.asarray(shop.vectors), np.asarray(shop.vectors[:, :width])], axis=1)
    ids, titles = shop.snapshot.item_ids(), shop.snapshot.items()["title"].to_list()
    with clock:
        build_index(Home(shop.folder / "home").lance, ids, vectors, titles)
    return f"vectors of {vectors.shape[1]}"


STAGES = {
    one.__name__: one
    for one in (ingest, read, split, encode, whiten, rules, knn, choose, adapter, towers, blend, rank, index)
}


def main() -> None:
    """Run what is asked for and write what was found beside what the file holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="EVENTS:ITEMS")
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--limit", type=float, default=8.0, help="GiB of private memory of a stage")
    parser.add_argument("--timeout", type=float, default=3_600, help="seconds of a stage")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the stage that a child runs
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split(":"))) for size in options.sizes]
    if options.one:
        shop, clock = Shop(options.folder, *sizes[0]), Clock()
        note = STAGES[options.one](shop, clock)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB, of what it read beforehand as well
        told = {"seconds": clock.wall, "cpu_seconds": clock.cpu, "part": clock.part, "peak_gib": peak, "note": note}
        print(json.dumps(told))
        return
    found = json.loads(options.out.read_text()) if options.out and options.out.is_file() else {"rows": []}
    for events, items in sizes:
        shop = Shop(options.folder / f"{events}-{items}", events, items)
        if not (shop.folder / "items.parquet").is_file():
            shop.make()
        for stage in options.stages:
            if stage == "ingest" and any((shop.folder / "home" / "snapshots").glob("*")):
                continue
            row = {"events": events, "items": items, "stage": stage} | _child(shop, stage, options)
            print(row, flush=True)
            rows = [
                one for one in found["rows"] if (one["events"], one["items"], one["stage"]) != (events, items, stage)
            ]
            places = {name: place for place, name in enumerate(STAGES)}
            found["rows"] = sorted([*rows, row], key=lambda one: (one["events"], one["items"], places[one["stage"]]))
            if options.out:
                write_json(options.out, found | {"task": "scale", "limit_gib": options.limit, "machine": _machine()})


def _child(shop: Shop, stage: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, str(shop.folder), "--sizes", f"{shop.events}:{shop.items}", "--one", stage]
    most = int(options.limit * 2**30)

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=bounded) as child:
        try:
            said, wrong = child.communicate(timeout=options.timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            return {"failed": f"longer than {options.timeout:,.0f} s"}
    if child.returncode:
        last = wrong.decode().strip().splitlines()[-1:] or [f"ended with {child.returncode}"]
        return {"failed": last[0][:200]}
    return json.loads(said.decode().splitlines()[-1])


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if "model name" in line), "")
    return {"processor": model.strip(), "cores": len(os.sched_getaffinity(0)), "threads": 1}


if __name__ == "__main__":
    main()
