"""New texts as vectors, exactly as the items of a generation were encoded.

A generation keeps how its items became text and how text vectors became features; with the base and the adapter that it
names, a new item gets the vectors that it would have had in training, and a query those of an item with that text.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recsys.artifacts import ArtifactError
from recsys.config import ModelConfig, TextConfig, from_dict, to_dict
from recsys.data.text import chosen_fields, item_texts
from recsys.home import Home
from recsys.models.backbone import Backbone, load_backbone, load_lora
from recsys.models.texts import tokenize
from recsys.models.tower import Whitening
from recsys.models.training import embed_catalogue
from recsys.store.adapters import read_card, verify_adapter
from recsys.store.generations import read_generation
from recsys.system import CONTENT, TOWERS, System

SETTINGS, MAPS = "text.json", "text.safetensors"


@dataclass(frozen=True)
class TextMaps:
    """How a generation's items became text, and text vectors became features.

    Attributes:
        text: settings with the fields written out.
        towers: the map from base and adapter vectors side by side to the towers' features.
        content: the map from base vectors to the features of content-based filtering.
    """

    text: TextConfig
    towers: Whitening
    content: Whitening

    def save(self, folder: Path) -> None:
        """Write ``text.json`` and ``text.safetensors``."""
        (folder / SETTINGS).write_text(json.dumps(to_dict(self.text), indent=2, sort_keys=True) + "\n")
        maps = {TOWERS: self.towers, CONTENT: self.content}
        save_file(
            {f"{name}.{key}": value for name, one in maps.items() for key, value in vars(one).items()}, folder / MAPS
        )

    @classmethod
    def load(cls, folder: Path) -> "TextMaps":
        """Read what ``save`` wrote."""
        tensors = load_file(folder / MAPS)
        towers, content = (Whitening(tensors[f"{name}.mean"], tensors[f"{name}.matrix"]) for name in (TOWERS, CONTENT))
        return cls(from_dict(TextConfig, json.loads((folder / SETTINGS).read_text())), towers, content)


def written_out(items: pl.DataFrame, config: TextConfig) -> TextConfig:
    """Return text settings whose fields no longer depend on the catalogue, so that a new item is read alike."""
    return replace(config, fields=chosen_fields(items, config))


class Encoder:
    """Encodes texts as one generation does. Safe to share between threads: nothing changes after opening.

    Attributes:
        adapter_id: the adapter behind the vectors.
        dimensions: width of what ``encode`` returns.
    """

    def __init__(self, base: Backbone, adapted: Backbone, maps: TextMaps, system: System, adapter_id: str) -> None:
        self.adapter_id = adapter_id
        self.dimensions = base.hidden_size + adapted.hidden_size
        self._base = base
        self._adapted = adapted
        self._maps = maps
        self._system = system
        self._unwhitening = np.linalg.inv(maps.content.matrix)

    @classmethod
    def open(cls, home: Home, generation_id: str, system: System | None = None) -> "Encoder":
        """Load the base twice, once with the adapter of a generation merged into it.

        Args:
            home: where state lives.
            generation_id: whose items the texts shall be comparable with.
            system: that generation's, if it is loaded already.

        Raises:
            ArtifactError: the generation or the adapter is missing, or the base is not the one of the adapter's card.
        """
        folder, manifest = read_generation(home, generation_id)
        adapter = verify_adapter(home, manifest["adapter"])
        name = from_dict(ModelConfig, manifest["settings"]).adapter.base
        base = load_backbone(name)
        wanted = read_card(home, manifest["adapter"])["base_digest"]
        if base.base_digest != wanted:
            raise ArtifactError(
                f"The base model {name} that is installed here is not the one that adapter {manifest['adapter']} was "
                "trained on. Install that version again, or train a new adapter."
            )
        loaded = system or System.load(folder)
        return cls(base, load_lora(adapter, name), TextMaps.load(folder), loaded, manifest["adapter"])

    def item_texts(self, items: pl.DataFrame) -> list[str]:
        """Return the texts of item rows, read as those of the catalogue; columns that are absent count as empty."""
        fields = self._maps.text.fields or ()
        absent = [pl.lit(None, dtype=pl.String).alias(name) for name in fields if name not in items.columns]
        return item_texts(items.with_columns(absent), self._maps.text)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (texts, dimensions) float32: unit vectors of the base, then of base and adapter, side by side."""
        return np.concatenate([self._embed(self._base, texts), self._embed(self._adapted, texts)], axis=1)

    def dense_vectors(self, vectors: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the rows that new items with these ``encode`` vectors have in the index, (texts, width) by name.

        The blocks and their order are those of ``System.dense_vectors``.
        """
        return self._system.new_dense_vectors(
            self._maps.towers.apply(vectors), self._maps.content.apply(vectors[:, : self._base.hidden_size])
        )

    def meaning_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (texts, width): ``content vectors @ query / meaning_norms`` are cosines before the whitening.

        Whitening suits comparing an item with a history; a query is nearer to what it asks for without it, as the base
        has learnt, with nothing but the catalogue's mean taken away.
        """
        centred = self._embed(self._base, texts) - self._maps.content.mean
        centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        return np.asarray(centred @ self._unwhitening.T, dtype=np.float32)

    def meaning_norms(self, content_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (items,), see ``meaning_queries``; ``content_vectors`` is (items, width)."""
        starts = range(0, len(content_vectors), 8_192)
        chunks = (content_vectors[start : start + 8_192] @ self._unwhitening for start in starts)
        return np.maximum(np.concatenate([np.linalg.norm(chunk, axis=1) for chunk in chunks]), 1e-12)

    def _embed(self, backbone: Backbone, texts: Sequence[str]) -> NDArray[np.float32]:
        return embed_catalogue(backbone, tokenize(backbone, texts, self._maps.text.max_tokens))
