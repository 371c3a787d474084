"""Turn rankings into what is kept and shown: summaries, comparisons, ``lists.parquet`` and ``metrics.json``.

The road: ``evaluate`` → ``section`` (one protocol, all systems) → ``metrics_document`` → ``write_metrics``. The pages
for people are made from the document alone, in ``page.py``.
"""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.artifacts import write_atomic, write_json
from recsys.data.columns import ITEM_ID, RANK, SCORE, SYSTEM, USER_ID
from recsys.evaluation.bootstrap import IntervalFields, bootstrap_mean, paired_bootstrap
from recsys.evaluation.full_ranking import Ranking
from recsys.evaluation.headline import HEADLINE as HEADLINE
from recsys.evaluation.headline import METRICS_FILE as METRICS_FILE
from recsys.evaluation.headline import OURS as OURS
from recsys.evaluation.metrics import coverage, diversity, mrr, ndcg, novelty, recall
from recsys.evaluation.objective import TradeOff
from recsys.evaluation.splits import Split

# Systems that read the adapter's text beside the base's, and the same over the base's alone.
FROZEN = {
    f"{OURS}.content": "bert-whitened",
    f"{OURS}.text": f"{OURS}.frozen-text",
    f"{OURS}.towers": f"{OURS}.frozen-towers",
}
LISTS_FILE = "lists.parquet"
HEAD_SHARE = 0.2
KEPT = "kept"  # what a section says of repeats where seen items were ranked
METRICS = {f"{metric.__name__}@{k}": (metric, k) for metric in (recall, ndcg) for k in (5, 10, 20)} | {
    "mrr@20": (mrr, 20)
}
BEYOND_ACCURACY = ("coverage@10", "novelty@10", "diversity@10")
PACKAGES = ("recsys", "numpy", "scipy", "polars", "torch", "transformers", "peft", "lancedb")

Summary = dict[str, Any]  # of a system: figures by slice, and beside the slices what concerns all of its lists


class Comparison(IntervalFields):
    """How much ours gains over a system on a slice."""

    system: str
    slice: str
    metric: str


class Sampled(TypedDict):
    """Test targets that were drawn from more."""

    asked: int
    of: int
    share: float


class Section(TypedDict):
    """The figures of one protocol; see ``section``."""

    counts: dict[str, int]
    sampled: NotRequired[Sampled]  # where not all test targets were asked; the intervals tell what that costs
    repeats: NotRequired[str]  # ``kept``: seen items were ranked, of all systems; without it they were removed
    systems: dict[str, Summary]
    best_baseline: str | None
    comparisons: list[Comparison]
    objective: NotRequired[TradeOff]  # of the first seed, where the settings name a field


class Environment(TypedDict):
    """What figures were computed on."""

    python: str
    machine: str
    cores: int
    device: str
    packages: dict[str, str]


class Learning(TypedDict):
    """How a training went: records by round of the adapter and by epoch of the towers."""

    adapter: list[dict[str, float]]
    towers: list[dict[str, float]]
    ids: list[dict[str, float]]


class MetricsDocument(TypedDict):
    """The content of ``metrics.json``."""

    data: dict[str, str | int]  # name, snapshot, counts
    settings: dict[str, Any]
    protocols: dict[str, Section]
    environment: Environment
    learning: NotRequired[Learning]  # of a training that became a generation


def slices(ranking: Ranking, split: Split) -> dict[str, NDArray[np.bool_]]:
    """Return which targets belong to each slice, (n,) booleans by name.

    Cold items have no training event. Head items are the fifth of the items seen in training with the most events
    there; all others, cold ones included, are the tail. Cold users have no history. Where seen items are kept, repeats
    are targets that would otherwise be removed, and firsts the others. Where targets are of several types, each is a
    slice, ``type:purchase``.
    """
    targets = ranking.targets
    counts = _training_counts(split)
    warm = int((counts > 0).sum())
    head = np.zeros(split.catalogue, dtype=bool)
    head[np.argsort(-counts, kind="stable")[: int(np.ceil(HEAD_SHARE * warm))]] = True
    is_cold, is_head = counts[targets.items] == 0, head[targets.items]
    parts = {
        "total": np.ones(len(targets), dtype=bool),
        "cold_items": is_cold,
        "warm_items": ~is_cold,
        "head_items": is_head,
        "tail_items": ~is_head,
        "cold_users": targets.histories.taught().lengths == 0,
    }
    if targets.repeats:
        taken = targets.histories.taken()
        rows = taken.rows()
        repeated = np.zeros(len(targets), dtype=bool)
        repeated[rows[taken.items == targets.items[rows]]] = True
        parts |= {"repeats": repeated, "firsts": ~repeated}
    if targets.types is not None:
        parts |= {f"type:{name}": targets.types == name for name in np.unique(targets.types).tolist()}
    return parts


def summarise(
    ranking: Ranking,
    split: Split,
    vectors: NDArray[np.floating] | None = None,
    *,
    samples: int = 2_000,
    seed: int = 0,
) -> Summary:
    """Return all figures of one system as JSON values.

    Args:
        ranking: of the split's test or validation targets.
        split: gives the training counts behind slices and novelty.
        vectors: (catalogue, d) item vectors for diversity@10, the same for all systems; None leaves it out.
        samples: bootstrap samples of the 95 % interval of ndcg@10.
        seed: of the bootstrap.

    Returns:
        For each slice ``count`` and the metrics (None where the slice is empty), ``ndcg@10_interval`` [low, high]
        in ``total``; beside the slices coverage@10, novelty@10 and diversity@10.
    """
    parts = slices(ranking, split)
    summary: Summary = {name: {"count": int(chosen.sum())} for name, chosen in parts.items()}
    for metric, (function, k) in METRICS.items():
        values = function(ranking.ranks, k)
        for name, chosen in parts.items():
            summary[name][metric] = float(values[chosen].mean()) if chosen.any() else None
    summary["total"][f"{HEADLINE}_interval"] = _interval(_headline(ranking), samples, seed)
    summary["coverage@10"] = coverage(ranking.items, split.catalogue, 10)
    summary["novelty@10"] = novelty(ranking.items, _training_counts(split), 10)
    if vectors is not None:
        summary["diversity@10"] = diversity(ranking.items, vectors, 10)
    return summary


def section(
    rankings: Sequence[Ranking],
    split: Split,
    vectors: NDArray[np.floating] | None = None,
    *,
    samples: int = 2_000,
    seed: int = 0,
) -> Section:
    """Return the figures of all systems on one protocol, and what ``recsys`` gains over each of the others.

    Several rankings of the same name are several training seeds of that system: its figures are their means,
    intervals are over users whose values are means over the seeds, and ``seeds`` lists ndcg@10 of each.

    Returns:
        ``counts`` of the split, ``systems`` (name → summary), ``best_baseline`` (the highest ndcg@10 outside
        ``recsys`` and its ablations, or None) and ``comparisons``: one entry for each other system and slice with
        the fields of ``Interval``; empty without ``recsys``. ``repeats`` is there where seen items were kept, and
        ``sampled`` where the test targets are a sample.

    Raises:
        ValueError: there are no rankings, or they do not answer the same targets.
    """
    runs = _by_system(rankings)
    systems: dict[str, Summary] = {}
    headlines: dict[str, NDArray[np.float64]] = {}
    for name, repeats in runs.items():
        summaries = [summarise(ranking, split, vectors, samples=samples, seed=seed) for ranking in repeats]
        headlines[name] = np.mean([_headline(ranking) for ranking in repeats], axis=0)
        systems[name] = _mean(summaries)
        systems[name]["total"][f"{HEADLINE}_interval"] = _interval(headlines[name], samples, seed)
        systems[name]["seeds"] = [summary["total"][HEADLINE] for summary in summaries]
    comparisons: list[Comparison] = []
    for name in headlines if OURS in headlines else ():
        for part, chosen in slices(rankings[0], split).items():
            if name != OURS and chosen.any():
                interval = paired_bootstrap(headlines[OURS][chosen], headlines[name][chosen], samples, seed)
                comparisons.append({"system": name, "slice": part, "metric": HEADLINE, **interval.to_dict()})
    baselines = [name for name in systems if name != OURS and not name.startswith(f"{OURS}.")]
    figures: Section = {
        "counts": split_counts(split),
        "systems": systems,
        "best_baseline": max(baselines, key=lambda name: systems[name]["total"][HEADLINE] or 0.0, default=None),
        "comparisons": comparisons,
    }
    if split.test_of is not None:
        asked = len(split.test)
        figures["sampled"] = {"asked": asked, "of": split.test_of, "share": asked / split.test_of}
    return figures | {"repeats": KEPT} if split.repeats else figures


def split_counts(split: Split) -> dict[str, int]:
    """Return how large the parts of a split are."""
    seen = _training_counts(split) > 0
    return {
        "users": len(split.train),
        "items": split.catalogue,
        "training_events": len(split.train.items),
        "training_items": int(seen.sum()),
        "validation_targets": split.validation_of or len(split.validation),
        "test_targets": len(split.test),
        "test_targets_cold_items": int((~seen[split.test.items]).sum()),
        "test_targets_cold_users": int((split.test.histories.taught().lengths == 0).sum()),
    }


def metrics_document(
    data: Mapping[str, str | int], settings: Mapping[str, Any], protocols: Mapping[str, Section], device: str
) -> MetricsDocument:
    """Return the content of ``metrics.json``.

    Args:
        data: what was evaluated on: name, snapshot, counts.
        settings: what was run: configuration, seeds.
        protocols: protocol → its ``section``.
        device: what it was computed on, by name.
    """
    environment: Environment = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "device": device,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }
    return {
        "data": dict(data),
        "settings": dict(settings),
        "protocols": dict(protocols),
        "environment": environment,
    }


def write_metrics(path: Path, document: Mapping[str, Any]) -> None:
    """Write ``metrics.json`` atomically.

    Raises:
        ValueError: a figure is NaN or infinite.
    """
    write_json(path, document)


def write_lists(path: Path, rankings: Sequence[Ranking], user_ids: Sequence[str], item_ids: Sequence[str]) -> None:
    """Write ``lists.parquet``: system, user_id, rank (from 1), item_id, score; from which anyone can recompute metrics.

    Places that a small catalogue leaves empty are left out.

    Args:
        path: of the file, replaced atomically.
        rankings: one a system, all on the targets of one protocol.
        user_ids: id of each user row.
        item_ids: id of each item index.

    Raises:
        ValueError: there are no rankings, two have the same name, or they do not answer the same targets.
    """
    runs = _by_system(rankings)
    repeated = [name for name, repeats in runs.items() if len(repeats) > 1]
    if repeated:
        raise ValueError(f"{repeated[0]} has several rankings; lists.parquet holds one list a system and user.")
    types = {SYSTEM: pa.string(), USER_ID: pa.string(), RANK: pa.int32(), ITEM_ID: pa.string(), SCORE: pa.float32()}
    schema = pa.schema(list(types.items()))
    users, items = pa.array(user_ids, pa.string()), pa.array(item_ids, pa.string())
    buffer = BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for ranking in rankings:
            rows, places = np.nonzero(ranking.items >= 0)
            columns = [
                pa.repeat(pa.scalar(ranking.name), len(rows)),
                users.take(pa.array(ranking.targets.users[rows])),
                pa.array((places + 1).astype(np.int32)),
                items.take(pa.array(ranking.items[rows, places])),
                pa.array(ranking.scores[rows, places]),
            ]
            writer.write_table(pa.table(columns, schema=schema))
    write_atomic(path, buffer.getvalue())


def _by_system(rankings: Sequence[Ranking]) -> dict[str, list[Ranking]]:
    if not rankings:
        raise ValueError("There is no ranking to report. Evaluate a system first.")
    first = rankings[0].targets
    runs: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        targets = ranking.targets
        if not (np.array_equal(targets.users, first.users) and np.array_equal(targets.items, first.items)):
            raise ValueError(f"{ranking.name} and {rankings[0].name} were not asked the same targets.")
        runs.setdefault(ranking.name, []).append(ranking)
    return runs


def _headline(ranking: Ranking) -> NDArray[np.float64]:
    function, k = METRICS[HEADLINE]
    return function(ranking.ranks, k)


def _interval(values: NDArray[np.float64], samples: int, seed: int) -> list[float] | None:
    if len(values) == 0:
        return None
    mean = bootstrap_mean(values, samples, seed)
    return [mean.low, mean.high]


def _mean(summaries: Sequence[Summary]) -> Summary:
    """Average the figures of several seeds, name by name; counts and empty slices are the same for all of them."""
    result: Summary = {}
    for name, value in summaries[0].items():
        values = [summary[name] for summary in summaries]
        if isinstance(value, dict):
            result[name] = _mean(values)
        else:
            result[name] = float(np.mean(values)) if isinstance(value, float) else value
    return result


def _training_counts(split: Split) -> NDArray[np.int64]:
    return np.bincount(split.train.counting(), minlength=split.catalogue)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
