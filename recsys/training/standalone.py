"""Train and judge a recommender from two Parquet files where nothing but the encoder's packages is installed.

    python -m recsys.training.standalone events.parquet items.parquet --base base.zip --out metrics.json

It is meant for a GPU machine without a network: copy this package, the two files and a packed base there. Adapter and
towers are trained by the product's own code; experts and blend need more packages and stay at home. Several GPUs share
the work under ``torchrun`` or ``accelerate launch``.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.artifacts import write_json
from recsys.callbacks import Progress
from recsys.config import LoraConfig, ModelConfig, to_dict
from recsys.data import columns
from recsys.data.sequences import Scorer, Sequences
from recsys.errors import DataError
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.metrics import ndcg, recall
from recsys.evaluation.splits import Split, Targets, leave_one_out, sample
from recsys.models.adapter import WARM_STEPS, train_adapter
from recsys.models.devices import team
from recsys.models.encoder.backbone import Backbone, add_lora, load_backbone, pack_base, unpack_base
from recsys.models.encoder.tokens import Tokens, embed_catalogue, tokenize
from recsys.models.throughput import machine
from recsys.models.towers.tower import TwoTower
from recsys.models.towers.training import train_towers
from recsys.models.towers.whitening import text_features

JUDGED = 2_000  # validation targets an epoch is judged by


def read_behaviour(events: Path, items: Path) -> tuple[Sequences, list[str], list[str]]:
    """Read two files of the input contract.

    Returns:
        A row of item indices for every user, oldest first; the item ids; the texts that BERT reads, title first, then
        the text columns, the shortest first.

    Raises:
        DataError: a column of the contract is missing, or an event names an item that is not in the catalogue.
    """
    log, catalogue = pq.read_table(events), pq.read_table(items)
    for path, table, needed in (
        (events, log, columns.REQUIRED_EVENT_COLUMNS),
        (items, catalogue, columns.REQUIRED_ITEM_COLUMNS),
    ):
        missing = [name for name in needed if name not in table.column_names]
        if missing:
            raise DataError(f"{path} has no column {missing[0]!r}; it has {', '.join(table.column_names)}.")
    catalogue = catalogue.sort_by(columns.ITEM_ID)
    order = [name for name in columns.EVENT_ORDER if name in log.column_names]
    log = log.sort_by([(name, "ascending") for name in (columns.USER_ID, *order)])
    codes = pc.index_in(log[columns.ITEM_ID], catalogue[columns.ITEM_ID])
    if codes.null_count:
        stranger = log[columns.ITEM_ID].filter(pc.is_null(codes))[0].as_py()
        raise DataError(f"{events} names the item {stranger!r}, which {items} has not. Bring its row.")
    runs = pc.run_end_encode(log[columns.USER_ID].combine_chunks())
    offsets = np.concatenate([[0], np.asarray(runs.run_ends)]).astype(np.int64)
    sequences = Sequences(codes.to_numpy().astype(np.int32), offsets)
    return (
        sequences,
        catalogue[columns.ITEM_ID].to_pylist(),
        item_texts(catalogue, ModelConfig().text.max_field_characters),
    )


def item_texts(catalogue: pa.Table, longest: int) -> list[str]:
    """Return one text a row: ``title | brand: … | categories: …``, columns whose values are all different left out."""
    named = []
    for name in catalogue.column_names:
        column = catalogue[name]
        if name in (columns.ITEM_ID, columns.TITLE) or not (
            pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        ):
            continue
        length = float(np.median(pc.utf8_length(column.drop_null()).to_numpy())) if len(column.drop_null()) else 0.0
        if 0 < length <= longest and pc.count_distinct(column).as_py() < 0.9 * len(column):
            named.append((length, name))
    rows = catalogue.select([columns.TITLE, *(name for _, name in sorted(named))]).to_pylist()
    return [
        columns.SEPARATOR.join(
            " ".join(value.split()) if name == columns.TITLE else f"{name.replace('_', ' ')}: {' '.join(value.split())}"
            for name, value in row.items()
            if value and value.strip()
        )
        for row in rows
    ]


class Journal:
    """What the run says while it works, and how long each stage took."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.stages: dict[str, dict[str, float]] = {}

    def say(self, line: str) -> None:
        if not self.quiet:
            print(line, flush=True)

    def progress(self, name: str) -> Progress:
        """Return a callback that shows a stage on one line of the terminal, and nothing elsewhere."""
        if self.quiet or not sys.stderr.isatty():
            return lambda done, total: None
        return lambda done, total: print(f"\r{name} {done}/{total}", end="\n" if done == total else "", file=sys.stderr)

    def done(self, name: str, started: float, tokens: int = 0) -> None:
        seconds = time.perf_counter() - started
        self.stages[name] = {"seconds": seconds} | ({"tokens_per_second": tokens / seconds} if tokens else {})
        rate = f"  {tokens / seconds:,.0f} tokens/s" if tokens else ""
        self.say(f"{name}: {seconds:.1f} s{rate}")


def train(
    backbone: Backbone, tokens: Tokens, split: Split, config: ModelConfig, journal: Journal
) -> tuple[TwoTower, list[dict[str, float]], list[dict[str, float]]]:
    """Train adapter and towers on the training part; the epoch of the towers is chosen on the validation part.

    Returns:
        The towers, the adapter's loss by round, the towers' loss by epoch.
    """
    count = sum(map(len, tokens.ids))
    started = time.perf_counter()
    frozen = embed_catalogue(backbone, tokens, journal.progress("Encode texts"))
    journal.done("encode texts", started, count)

    started = time.perf_counter()
    features, _ = text_features([frozen])
    text_alone = replace(config.tower, residual_norm=0.0)
    warm = train_towers(features, split.train, split.catalogue, text_alone, config.seed, steps=WARM_STEPS).towers
    journal.done("warm up towers", started)

    started = time.perf_counter()
    carrier = add_lora(backbone, config.adapter.lora, config.seed)
    records = train_adapter(
        carrier, tokens, split.train, config.adapter, config.tower, config.seed, warm, frozen,
        progress=journal.progress("Fine-tune BERT"),
    )  # fmt: skip
    journal.done("fine-tune BERT", started, round(len(records) * config.adapter.items_per_round * count / len(tokens)))
    journal.say("  loss by round: " + " ".join(f"{row['loss']:.3f}" for row in records[:: max(1, len(records) // 10)]))

    started = time.perf_counter()
    features, _ = text_features([frozen, embed_catalogue(carrier, tokens)])
    judged = sample(split.validation, JUDGED, config.seed)
    run = train_towers(
        features, split.train, split.catalogue, config.tower, config.seed,
        lambda towers: accuracy(towers, judged)["ndcg@10"], progress=journal.progress("Train towers"),
    )  # fmt: skip
    journal.done("train towers", started)
    for row in run.history:
        journal.say(f"  epoch {row['epoch']:.0f}: loss {row['loss']:.4f}, validation N@10 {row['validation']:.4f}")
    return run.towers, records, run.history


def accuracy(scorer: Scorer, targets: Targets) -> dict[str, float]:
    """Return R@10 and N@10 by ranking the whole catalogue, seen items removed but where people come back to them."""
    ranks = evaluate("towers", scorer, targets, k=10).ranks
    return {"recall@10": float(recall(ranks, 10).mean()), "ndcg@10": float(ndcg(ranks, 10).mean())}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what the command line names and print loss, seconds, tokens/s and accuracy; or pack a base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path, nargs="?")
    parser.add_argument("items", type=Path, nargs="?")
    parser.add_argument("--base", default=ModelConfig().adapter.lora.base, help="a base model, or one packed as a .zip")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="pack the base into a file to carry, and stop")
    parser.add_argument("--rounds", type=int, help="LoRA steps")
    parser.add_argument("--epochs", type=int, help="of the towers, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file")
    options = parser.parse_args(arguments)
    if options.pack:
        pack_base(load_backbone(options.base), options.pack)
        print(f"{options.pack}: {options.pack.stat().st_size / 1e6:.1f} MB")
        return
    if options.items is None:
        parser.error("name the events' file and the items' file")

    standard = ModelConfig(seed=options.seed)
    config = replace(
        standard,
        adapter=replace(standard.adapter, lora=LoraConfig(base=options.base), rounds=options.rounds),
        tower=replace(standard.tower, epochs=options.epochs),
    )
    with team() as joined, tempfile.TemporaryDirectory() as place:
        journal = Journal(quiet=joined.rank > 0)
        packed = options.base.endswith(".zip")
        started = time.perf_counter()
        backbone = load_backbone(unpack_base(Path(options.base), Path(place)) if packed else options.base)
        sequences, _, texts = read_behaviour(options.events, options.items)
        split = leave_one_out(sequences, catalogue=len(texts), repeats=sequences.repeats())
        tokens = tokenize(backbone, texts, config.text.max_tokens)
        journal.say(f"{len(sequences):,} users, {len(texts):,} items, {len(sequences.items):,} events; {machine()}")
        journal.done("read", started)
        towers, rounds, epochs = train(backbone, tokens, split, config, journal)
        started = time.perf_counter()
        found = accuracy(towers, split.test)
        journal.done("rank", started)
        journal.say(f"R@10 {found['recall@10']:.4f}  N@10 {found['ndcg@10']:.4f} on {len(split.test):,} test targets")
        if options.out and joined.rank == 0:
            document: dict[str, Any] = {
                "task": "standalone",
                "machine": machine() | {"processes": joined.size},
                "data": {"users": len(sequences), "items": len(texts), "events": len(sequences.items)},
                "settings": to_dict(config),
                "stages": journal.stages,
                "rounds": rounds,
                "epochs": epochs,
                "test": found,
            }
            write_json(options.out, document)


if __name__ == "__main__":
    main()
