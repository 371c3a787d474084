"""The life of an encoder, measured: pre-train, train on older events, go on with newer ones, and train on all anew.

    python infra/benchmarks/life.py DATA --work /tmp/life --out infra/results/life-ml-1m.json [--users 0.2]

What the newer events add is judged on a window after all training, what is forgotten on an older window: half of the
people of that time are kept out of everything later, so that nobody has learnt their answers. Each finished step is
kept in the work folder, with the processor time that it took; a killed run goes on. ``tables.py`` writes the README's
table from the result.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.artifacts import read_json, write_json
from recsys.config import TEMPORAL, EvaluationConfig, IngestConfig, ModelConfig, PretrainConfig, to_dict
from recsys.data.ingest import ingest
from recsys.data.sequences import Scorer, Sequences
from recsys.data.snapshot import Snapshot
from recsys.data.text import item_texts
from recsys.evaluation.bootstrap import paired_bootstrap
from recsys.evaluation.full_ranking import evaluate
from recsys.evaluation.held_out import make_split
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.report import metrics_document
from recsys.evaluation.splits import Split, Targets
from recsys.home import Home
from recsys.models.checkpoints import Checkpoints
from recsys.models.devices import device_name
from recsys.models.encoder.backbone import save_lora
from recsys.models.encoder.pretraining import pretrain
from recsys.ranking.text_maps import TextMaps, written_out
from recsys.store.adapters import save_adapter
from recsys.store.manifests import PRETRAINING, AdapterCard
from recsys.training.encoding import frozen_encoding
from recsys.training.fit_system import Trained, train_on
from recsys.training.pretrained import judge_pretraining
from recsys.training.resuming import Parent, adapt_on, save_training

OLD_SHARE, WINDOW_SHARE = 0.8, 0.72  # of the events, by time: the older ones, and where their last window begins
TARGETS_PER_USER = 10


class Life:
    """One run and its work folder."""

    def __init__(self, data: Path, work: Path, users: float, seed: int) -> None:
        self.home = Home(work / "home")
        self.work = work
        self.config = ModelConfig(evaluation=EvaluationConfig(protocols=(TEMPORAL,)), seed=seed)
        self.old, self.new, self.counts = self.tables(data, users)
        self.texts = item_texts(self.old.items(), self.config.text)

    def tables(self, data: Path, users: float) -> tuple[Snapshot, Snapshot, dict[str, Any]]:
        """Make the older and the newer snapshot, the latter without what half of the older window's people did then."""
        events = pl.read_parquet(data / "events.parquet")
        random = np.random.default_rng(self.config.seed)
        everybody = events["user_id"].unique().sort().to_numpy()
        some = random.choice(everybody, round(users * len(everybody)), replace=False)
        events = events.filter(pl.col("user_id").is_in(some.tolist()))
        times = events["timestamp"].sort()
        end, begin = (times[int(share * len(times))] for share in (OLD_SHARE, WINDOW_SHARE))
        window = (pl.col("timestamp") >= begin) & (pl.col("timestamp") < end)
        people = events.filter(window)["user_id"].unique().sort().to_numpy()
        witnesses = np.sort(random.choice(people, len(people) // 2, replace=False)).tolist()
        later = pl.col("user_id").is_in(witnesses) & (pl.col("timestamp") >= begin)
        found = []
        for name, part in (("old", events.filter(pl.col("timestamp") < end)), ("new", events.filter(~later))):
            path = self.work / f"{name}.parquet"
            part.write_parquet(path)
            settings = IngestConfig(max_quarantined_share=0.5)
            found.append(ingest(str(path), str(data / "items.parquet"), self.home, settings))
        counts = {"users": len(some), "witnesses": len(witnesses), "events": len(events)}
        self.witnesses, self.begin = set(witnesses), begin
        return found[0], found[1], counts

    def step(self, name: str, work: Callable[[Checkpoints], dict[str, Any]]) -> dict[str, Any]:
        """Do a step, or find it done; ``cpu_seconds`` is what training took in the process that finished it."""
        path = self.work / f"{name}.json"
        if not path.is_file():
            print(f"{name} …", flush=True)
            checkpoints = Checkpoints(self.work / name, name)
            write_json(path, work(checkpoints))
            checkpoints.remove()
        result: dict[str, Any] = read_json(path)
        print(f"{name}: {json.dumps({key: value for key, value in result.items() if key != 'history'})}", flush=True)
        return result

    def split(self, snapshot: Snapshot) -> Split:
        """Return the temporal split of a snapshot."""
        return make_split(snapshot.sequences(), len(self.texts), TEMPORAL, self.config)

    def pretrain(self, checkpoints: Checkpoints) -> dict[str, Any]:
        """Pre-train on the texts and judge it on the older snapshot; keep the adapter where it pays."""
        began, config = time.process_time(), PretrainConfig()
        run = pretrain(
            self.texts,
            config,
            self.config.seed,
            partial(report, "Pre-train"),
            checkpoints.of("head"),
            checkpoints.of("lora"),
        )
        trained = time.process_time() - began
        worth = judge_pretraining(
            self.split(self.old), self.texts, run.backbone, config, self.config, report, checkpoints
        )
        digest = run.backbone.base_digest
        card = AdapterCard(task=PRETRAINING, base=config.lora.base, base_digest=digest, settings=to_dict(config))
        adapter = save_adapter(self.home, partial(save_lora, run.backbone), card) if worth.pays else None
        perplexity = {"before": run.before, "after": run.after}
        return {"cpu_seconds": trained, "perplexity": perplexity, "worth": worth.to_dict(), "adapter": adapter}

    def train(self, snapshot: Snapshot, pretrained: str | None, checkpoints: Checkpoints) -> dict[str, Any]:
        """Train from the beginning on a snapshot's training part."""
        began = time.process_time()
        frozen = frozen_encoding(self.texts, self.config, report)
        folder = self.home.adapters / pretrained if pretrained else None
        trained = train_on(self.split(snapshot), self.texts, frozen, self.config, report, checkpoints, folder)
        seconds = time.process_time() - began
        text = written_out(snapshot.items(), self.config.text)
        maps = TextMaps(text, trained.encoding.whitening, frozen.whitening)
        return self.result(trained, maps, snapshot, pretrained, seconds)

    def go_on(self, adapter: str, checkpoints: Checkpoints) -> dict[str, Any]:
        """Go on from an adapter with the newer snapshot."""
        parent = Parent.open(self.home, adapter)
        config, split = parent.settings(self.config), self.split(self.new)
        began = time.process_time()
        frozen = parent.encode(self.texts, config, report)
        rows, learnt = parent.rows(self.new), parent.learnt(self.new, split)
        trained = adapt_on(split, self.texts, frozen, parent, rows, learnt, config, report, checkpoints)
        seconds = time.process_time() - began
        return self.result(trained, parent.maps, self.new, adapter, seconds)

    def result(
        self, trained: Trained, maps: TextMaps, snapshot: Snapshot, parent: str | None, seconds: float
    ) -> dict[str, Any]:
        """Store the adapter and ask for both windows' targets; the gain of every target is kept beside."""
        card = AdapterCard(
            base=trained.backbone.name, base_digest=trained.backbone.base_digest, snapshot=snapshot.id,
            protocol=TEMPORAL, settings=to_dict(self.config), parent=parent,
        )  # fmt: skip
        adapter = save_adapter(self.home, partial(save_training, trained=trained, maps=maps), card)
        newer = self.split(self.new)
        asked = {
            "protocol": newer.test,
            "new_window": self.window(self.new, newer.test.users, int(latest(newer, self.new.sequences()))),
            "old_window": self.old_window(),
        }
        gains = {name: gain(trained.system, targets) for name, targets in asked.items()}
        np.savez(self.work / f"{adapter}.npz", **gains)
        figures = {name: float(values.mean()) for name, values in gains.items()}
        return {
            "adapter": adapter,
            "cpu_seconds": seconds,
            "ndcg@10": figures,
            "targets": {name: len(values) for name, values in gains.items()},
            "epochs": {key: trained.system.chosen.get(key) for key in ("epochs", "id_epochs")},
            "blend": trained.system.blend.weights,
        }

    def old_window(self) -> Targets:
        """Return what those did in the older window who were kept out of everything later."""
        users = np.array([place for place, name in enumerate(self.old.user_ids()) if name in self.witnesses])
        return self.window(self.old, users, int(self.begin.timestamp()) - 1)

    def window(self, snapshot: Snapshot, users: np.ndarray, after: int) -> Targets:
        """Return up to ten random events of each of some people after a moment, with what came before each."""
        sequences, random = snapshot.sequences(), np.random.default_rng(self.config.seed)
        assert sequences.times is not None
        rows, ends = [], []
        for user in users:
            first, last = sequences.offsets[user], sequences.offsets[user + 1]
            places = np.arange(first, last)[sequences.times[first:last] > after]
            chosen = np.sort(random.permutation(places)[:TARGETS_PER_USER])
            rows += [user] * len(chosen)
            ends += chosen.tolist()
        users, positions = np.array(rows), np.array(ends)
        histories = sequences.slice(sequences.offsets[:-1][users], positions)
        return Targets(users.astype(np.int32), histories, sequences.items[positions])


def latest(split: Split, sequences: Sequences) -> np.int64:
    """Return when the last validation target was: nothing later has been seen."""
    assert sequences.times is not None
    places = sequences.offsets[:-1][split.validation.users] + split.validation.histories.lengths
    return sequences.times[places].max()


def gain(scorer: Scorer, targets: Targets) -> np.ndarray:
    """Return NDCG@10 by target."""
    return ndcg(evaluate("life", scorer, targets, k=10).ranks, 10)


def report(stage: str, done: int, total: int) -> None:
    """Say what is being done."""
    if done == total:
        print(f"  {stage} ({time.process_time():.0f} s of processor time)", flush=True)


def main() -> None:
    """Live a life and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--users", type=float, default=1.0, help="share of the people")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)

    life = Life(given.data, given.work, given.users, given.seed)
    pretraining = life.step("pretrain", life.pretrain)
    older = life.step("older", partial(life.train, life.old, pretraining["adapter"]))
    further = life.step("further", partial(life.go_on, older["adapter"]))
    anew = life.step("anew", partial(life.train, life.new, pretraining["adapter"]))

    gains = {one["adapter"]: np.load(given.work / f"{one['adapter']}.npz") for one in (older, further, anew)}
    compared = {
        name: paired_bootstrap(gains[further["adapter"]][name], gains[other["adapter"]][name]).to_dict()
        for name, other in (("protocol", anew), ("new_window", anew), ("old_window", older))
    }
    document = metrics_document(
        {"name": given.data.name, "share_of_users": given.users, **life.counts}, to_dict(life.config), {}, device_name()
    )
    del document["protocols"]  # none of its own
    document |= {
        "task": "life",
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "pretrain": pretraining, "older": older, "further": further, "anew": anew, "compared": compared,
    }  # fmt: skip
    write_json(given.out, document)


if __name__ == "__main__":
    main()
