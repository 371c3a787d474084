"""From a trained system to a generation: binding writes vectors and texts, then the generation.

Nothing is served by it; whether it may be is asked in ``recsys/publishing/admission.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import digest, staged_folder, write_json
from recsys.config import ModelConfig, to_dict
from recsys.data.columns import ITEM_ID, USER_ID
from recsys.data.sequences import Sequences
from recsys.data.snapshot import Snapshot
from recsys.evaluation.full_ranking import Ranking
from recsys.evaluation.metrics import ndcg
from recsys.evaluation.report import METRICS_FILE, MetricsDocument
from recsys.home import Home
from recsys.ranking.candidates import VectorSource
from recsys.ranking.scoring import Scoring
from recsys.ranking.system import System
from recsys.ranking.text_maps import TextMaps
from recsys.store.generations import commit_generation
from recsys.store.index import APPROXIMATE_FROM, build_index, indexing
from recsys.store.manifests import GenerationManifest, IndexReference

HELD_OUT = "held_out.parquet"
TUNING_HISTORIES = 100
SEARCHED = "searched.parquet"  # reciprocal ranks of held-out queries, where the search has learnt from pairs
QUERY, CHOSEN, BASE, TAUGHT = "query", "chosen", "base", "taught"  # its columns; texts and ids are hashed
SLICE = "slice:"  # before the name of a slice's column


def bind_generation(
    home: Home,
    snapshot: Snapshot,
    adapter_id: str,
    maps: TextMaps,
    system: System,
    rankings: Sequence[Ranking],
    parts: Mapping[str, NDArray[np.bool_]],
    metrics: MetricsDocument,
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
    with indexing(home.lance):
        vectors = np.concatenate(list(system.dense_vectors().values()), axis=1)
        index = build_index(home.lance, item_ids, vectors, maps.item_texts(snapshot.items()))
        del vectors
        index = tuned(home, index, system, rankings[0].targets.histories)
        with staged_folder(home.generations) as staging:
            system.save(staging)
            maps.save(staging)
            held_out_table(rankings, parts, snapshot.user_ids(), item_ids).write_parquet(staging / HELD_OUT)
            write_json(staging / METRICS_FILE, metrics)
            manifest = GenerationManifest(
                snapshot=snapshot.id,
                snapshot_digest=snapshot.manifest.content_digest,
                adapter=adapter_id,
                index=index,
                settings=to_dict(config),
                notes=notes,
            )
            return commit_generation(home, staging, manifest)


def tuned(home: Home, index: IndexReference, system: System, histories: Sequences) -> IndexReference:
    """Return a reference that says how much of an approximate index must be read, measured on some histories."""
    histories = histories.take(np.flatnonzero(histories.lengths)[:TUNING_HISTORIES])
    if index.rows < APPROXIMATE_FROM or not len(histories):
        return index
    source = VectorSource(home.lance, index)
    queries = Scoring(system, source).queries(histories)
    return replace(index, probes=source.tuned_probes(queries) if queries.any() else None)


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
    columns: dict[str, Sequence[str] | NDArray[Any]] = {
        USER_ID: [digest(user_ids[user].encode()) for user in targets.users],
        ITEM_ID: [item_ids[item] for item in targets.items],
    }
    columns |= {ranking.name: ndcg(ranking.ranks, 10) for ranking in rankings}
    columns |= {SLICE + name: chosen for name, chosen in parts.items()}
    return pl.DataFrame(columns).sort(USER_ID, ITEM_ID)


def read_held_out(folder: Path) -> pl.DataFrame:
    """Return the table of ``held_out_table`` that a generation's folder holds."""
    return pl.read_parquet(folder / HELD_OUT, glob=False)  # a home may have brackets in its path
