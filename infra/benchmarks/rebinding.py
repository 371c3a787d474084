"""One trained system bound again and again, each time as another generation with a snapshot, adapter, table of its own.

Nothing is trained: files are copied, and what makes an id differs: a moment of one event, the settings' seed, the texts
of the index. Every generation answers and passes every check, and has as many bytes of its own as one that was trained.
"""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from recsys.artifacts import ArtifactError, commit_folder, read_json, short_id, staged_folder, write_json
from recsys.data.columns import TIMESTAMP
from recsys.data.snapshot import Snapshot, open_snapshot, write_snapshot
from recsys.home import Home
from recsys.models.encoder.export import CARD as ENCODER
from recsys.ranking.system import System
from recsys.ranking.text_maps import TextMaps
from recsys.store.adapters import read_card, save_adapter
from recsys.store.exports import list_encoders
from recsys.store.generations import commit_generation, read_generation, report_path
from recsys.store.index import build_index, indexing


class Trained:
    """A trained generation, kept in memory and in a folder beside, from which others are bound.

    Attributes:
        generation: its id.
    """

    def __init__(self, home: Home, generation_id: str, beside: Path) -> None:
        self.generation = generation_id
        self._home, self._source = home, Home(beside)
        folder, self._manifest = read_generation(home, generation_id, verify=True)
        for room, name in (
            ("generations", generation_id), ("adapters", self._manifest.adapter), ("snapshots", self._manifest.snapshot)
        ):  # fmt: skip
            shutil.copytree(home.root / room / name, beside / room / name)
        shutil.copytree(home.encoders, beside / "encoders") if home.encoders.exists() else None
        self._encoders = list_encoders(self._source)
        page = report_path(home, generation_id)
        self._report = page.read_bytes() if page.exists() else b""
        self._vectors = System.load(folder).dense_vectors()
        self._snapshot = open_snapshot(self._source, self._manifest.snapshot)
        self._texts = TextMaps.load(folder).item_texts(self._snapshot.items())

    def snapshot(self, number: int) -> Snapshot:
        """Write a snapshot of the same events, the first of them some seconds later."""
        events = self._snapshot.events().with_row_index("row")
        moved = pl.when(pl.col("row") == 0).then(pl.col(TIMESTAMP) + timedelta(seconds=number)).otherwise(TIMESTAMP)
        events = events.with_columns(moved.alias(TIMESTAMP)).drop("row")
        return write_snapshot(self._home, events, self._snapshot.items(), self._snapshot.quarantine())

    def adapter(self, number: int, snapshot_id: str) -> str:
        """Store an adapter of the same weights, and what the service exports of it."""
        stored = self._source.adapters / self._manifest.adapter
        card = read_card(self._source, self._manifest.adapter)

        def write(folder: Path) -> None:
            shutil.copytree(stored, folder, dirs_exist_ok=True)
            (folder / "card.json").unlink()

        numbered = replace(card, id="", files={}, snapshot=snapshot_id, settings=card.settings | {"seed": number})
        return save_adapter(self._home, write, numbered)

    def export(self, adapter_id: str) -> None:
        """Put beside an adapter what the service would export of it."""
        for name, card in self._encoders.items():
            if card.adapter == self._manifest.adapter:
                with staged_folder(self._home.encoders) as staging:
                    shutil.copytree(self._source.encoders / name, staging, dirs_exist_ok=True)
                    write_json(staging / ENCODER, read_json(staging / ENCODER) | {"adapter": adapter_id})
                    commit_folder(staging, self._home.encoders / short_id(name, adapter_id))

    def bind(self, number: int) -> str:
        """Bind a generation of a snapshot, an adapter and a table of its own; return its id.

        Raises:
            ArtifactError: the number is that of one that is there already.
        """
        snapshot = self.snapshot(number)
        adapter_id = self.adapter(number, snapshot.id)
        texts = [f"{text} {number}" for text in self._texts]
        with indexing(self._home.lance):
            vectors = np.concatenate(list(self._vectors.values()), axis=1)
            index = build_index(self._home.lance, snapshot.item_ids(), vectors, texts)
            with staged_folder(self._home.generations) as staging:
                shutil.copytree(self._source.generations / self.generation, staging, dirs_exist_ok=True)
                (staging / "manifest.json").unlink()
                manifest = replace(
                    self._manifest, id="", files={}, snapshot=snapshot.id, adapter=adapter_id, index=index,
                    snapshot_digest=snapshot.manifest.content_digest,
                    settings=self._manifest.settings | {"seed": number},
                )  # fmt: skip
                bound = commit_generation(self._home, staging, manifest)
        if bound == self.generation:
            raise ArtifactError(f"{number} makes the trained generation itself.")
        report_path(self._home, bound).write_bytes(self._report)
        write_json(
            self._home.runs / f"train-{short_id(number)}.json",
            {"generation": bound, "adapter": adapter_id, "snapshot": snapshot.id, "metrics": "", "seconds": 0.0},
        )
        return bound
