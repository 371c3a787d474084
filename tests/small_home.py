"""Artifacts of a home that are whole and tiny, bound as real ones are; nothing of them was trained."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.artifacts import staged_folder
from recsys.data.quality import QUARANTINE_SCHEMA
from recsys.data.snapshot import write_snapshot
from recsys.home import Home
from recsys.ranking.candidates import VectorSource
from recsys.store.adapters import save_adapter
from recsys.store.generations import commit_generation, report_path
from recsys.store.index import build_index, indexing
from recsys.store.manifests import RECOMMENDATION, AdapterCard, GenerationManifest

ITEMS = 20
IDS = [f"item-{row}" for row in range(ITEMS)]


def make_snapshot(home: Home, seed: int, config: Any = None) -> str:
    """Write a snapshot of one event; another seed gives another."""
    events = pl.DataFrame(
        {"user_id": ["u"], "item_id": [IDS[0]], "timestamp": [datetime(2024, 1, 1 + seed, tzinfo=UTC)]}
    )
    items = pl.DataFrame({"item_id": IDS, "title": IDS})
    return write_snapshot(home, events, items, pl.DataFrame(schema=QUARANTINE_SCHEMA), config=config).id


def make_adapter(
    home: Home, seed: int, snapshot: str | None = None, task: str = RECOMMENDATION, parent: str | None = None
) -> str:
    """Store an adapter of a few bytes; another seed gives another."""

    def write(folder: Path) -> None:
        (folder / "adapter_model.safetensors").write_text(f"weights {seed}")

    card = AdapterCard(task=task, base="b", base_digest="d", snapshot=snapshot, parent=parent)
    return save_adapter(home, write, card)


def make_generation(home: Home, seed: int, snapshot: str, adapter_id: str, **settings: Any) -> str:
    """Commit a generation with a table, a file of vectors and a report of its own; another seed gives another."""
    vectors = np.random.default_rng(seed).standard_normal((ITEMS, 8)).astype(np.float32)
    with indexing(home.lance), staged_folder(home.generations) as staging:
        index = build_index(home.lance, IDS, vectors, IDS)
        (staging / "weights.bin").write_text(f"weights {seed}")
        manifest = GenerationManifest(snapshot=snapshot, adapter=adapter_id, settings=settings, index=index)
        generation_id = commit_generation(home, staging, manifest)
    VectorSource(home.lance, index)  # writes the file of vectors
    report_path(home, generation_id).write_text("a page")
    return generation_id


def make_all(home: Home, seed: int) -> tuple[str, str, str]:
    """Make a snapshot, an adapter and a generation; return their ids, the generation's first."""
    home.make()
    snapshot = make_snapshot(home, seed)
    adapter = make_adapter(home, seed, snapshot)
    return make_generation(home, seed, snapshot, adapter), adapter, snapshot
