"""From a trained system to a generation, and the gate in front of the pointer.

Binding writes vectors and texts, then the generation; nothing is served before ``publish`` has switched the pointer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import digest, staged_folder, write_json
from recsys.columns import ITEM_ID, USER_ID
from recsys.config import ModelConfig, to_dict
from recsys.data.snapshot import Snapshot
from recsys.data.text import item_texts
from recsys.encoder import TextMaps
from recsys.evaluation.gate import Verdict, judge
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.protocols import Ranking
from recsys.home import Home
from recsys.store.generations import commit_generation, current_id, promote, read_generation
from recsys.store.index import build_index
from recsys.system import POPULARITY, System

HELD_OUT = "held_out.parquet"
METRICS = "metrics.json"
OURS = "recsys"
SLICE = "slice:"  # before the name of a slice's column


def bind_generation(
    home: Home,
    snapshot: Snapshot,
    adapter_id: str,
    maps: TextMaps,
    system: System,
    rankings: Sequence[Ranking],
    parts: Mapping[str, NDArray[np.bool_]],
    metrics: dict[str, Any],
    config: ModelConfig,
    notes: dict[str, Any],
) -> str:
    """Index the item vectors, write the generation and return its id; it is not served yet.

    Args:
        home: where state lives.
        snapshot: what the system was trained on.
        adapter_id: the stored adapter behind the encoding.
        maps: how the items became text and features.
        system: fitted on all events of the snapshot.
        rankings: of the held-out targets, our system's and popularity's among them.
        parts: which of these targets belong to each slice, by name.
        metrics: the metrics document that goes with the generation.
        config: all settings.
        notes: what may differ between equal generations: flow run, timings.
    """
    item_ids = snapshot.item_ids()
    vectors = np.concatenate(list(system.dense_vectors().values()), axis=1)
    index = build_index(home.lance, item_ids, vectors, item_texts(snapshot.items(), maps.text))
    with staged_folder(home.generations) as staging:
        system.save(staging)
        maps.save(staging)
        held_out_table(rankings, parts, snapshot.user_ids(), item_ids).write_parquet(staging / HELD_OUT)
        write_json(staging / METRICS, metrics)
        bound = {
            "snapshot": snapshot.id,
            "adapter": adapter_id,
            "index": index.to_dict(),
            "settings": to_dict(config),
        }
        return commit_generation(home, staging, bound, notes)


def held_out_table(
    rankings: Sequence[Ranking],
    parts: Mapping[str, NDArray[np.bool_]],
    user_ids: Sequence[str],
    item_ids: Sequence[str],
) -> pl.DataFrame:
    """Return NDCG@10 by user: ``user_id``, ``item_id`` of the target, a column a system and a slice; sorted by user.

    User ids are hashed, since a generation outlives whoever is forgotten.
    """
    targets = rankings[0].targets
    columns: dict[str, Any] = {
        USER_ID: [digest(user_ids[user].encode()) for user in targets.users],
        ITEM_ID: [item_ids[item] for item in targets.items],
    }
    columns |= {ranking.name: ndcg(ranking.ranks, 10) for ranking in rankings}
    columns |= {SLICE + name: chosen for name, chosen in parts.items()}
    return pl.DataFrame(columns).sort(USER_ID, ITEM_ID)


def check_gate(home: Home, generation_id: str) -> Verdict:
    """Judge a generation by its own held-out targets, and against the served one where the targets are the same.

    Raises:
        ArtifactError: there is no such generation.
    """
    folder, manifest = read_generation(home, generation_id)
    candidate = pl.read_parquet(folder / HELD_OUT)
    served: NDArray[np.float64] | None = None
    current = current_id(home)
    if current not in (None, generation_id):
        served_folder, _ = read_generation(home, str(current))
        other = pl.read_parquet(served_folder / HELD_OUT)
        if other.select(USER_ID, ITEM_ID).equals(candidate.select(USER_ID, ITEM_ID)):
            served = other[OURS].to_numpy()
    seed = int(manifest["settings"]["seed"])
    parts = {
        name.removeprefix(SLICE): candidate[name].to_numpy() for name in candidate.columns if name.startswith(SLICE)
    }
    return judge(candidate[OURS].to_numpy(), candidate[POPULARITY].to_numpy(), served, parts, seed)


def publish(home: Home, generation_id: str, force: bool = False) -> Verdict:
    """Switch the pointer to a generation if the gate lets it pass, or in any case with ``force``.

    Raises:
        ArtifactError: the generation is missing or broken; the pointer stays.
    """
    verdict = check_gate(home, generation_id)
    if verdict.passed or force:
        promote(home, generation_id)
    return verdict
