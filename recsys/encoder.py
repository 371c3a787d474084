"""New texts as vectors, exactly as the items of a generation were encoded.

A generation keeps how its items became text and how text vectors became features; with the base and the adapter that it
names, a new item gets the vectors that it would have had in training, and a query those of an item with that text.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recsys.artifacts import ArtifactError
from recsys.callbacks import Progress
from recsys.config import TextConfig, from_dict, to_dict
from recsys.data.columns import ITEM_ID
from recsys.data.snapshot import open_snapshot
from recsys.data.text import chosen_fields, item_texts
from recsys.home import Home
from recsys.models.encoder.export import ExportedEncoder, Form
from recsys.models.towers.whitening import Whitening
from recsys.store.adapters import read_card, verify_adapter
from recsys.store.encoders import open_encoder
from recsys.store.generations import read_generation
from recsys.system import CONTENT, TOWERS, System

SETTINGS, MAPS = "text.json", "text.safetensors"
CHECKED_ITEMS = 8  # encoded again to see that adapter and index belong together
SAME_COSINE = 0.995  # rounding of bf16 stays above


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

    def item_texts(self, items: pl.DataFrame) -> list[str]:
        """Return the texts of item rows, read as the catalogue was; columns that are absent count as empty."""
        absent = [name for name in self.text.fields or () if name not in items.columns]
        return item_texts(items.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in absent), self.text)

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


@dataclass(frozen=True)
class TextVectors:
    """Texts as vectors by one or more exported encoders side by side. Safe to share between threads.

    Attributes:
        parts: the frozen base, then the base with the adapter; the base alone where there is no adapter.
        base: how the base is called.
        adapter_id: the adapter; None without one.
    """

    parts: tuple[ExportedEncoder, ...]
    base: str
    adapter_id: str | None = None

    @classmethod
    def of_adapter(cls, home: Home, adapter_id: str, form: Form | None = None) -> "TextVectors":
        """Open the exported encoders of an adapter and of its base; what was not exported yet is exported now.

        Args:
            home: where state lives.
            adapter_id: a stored adapter, whatever its task.
            form: of the export; None: the fastest here.

        Raises:
            ArtifactError: the adapter is missing, or the base is not the one of its card.
        """
        card = read_card(home, adapter_id)
        tokens = _max_tokens(card["settings"])
        base, digest = card["base"], card["base_digest"]
        parts = (
            open_encoder(home, base, tokens, form=form, base_digest=digest),
            open_encoder(home, base, tokens, form=form, base_digest=digest, adapter_id=adapter_id),
        )
        return cls(parts, base, adapter_id)

    @classmethod
    def of_base(cls, home: Home, base: str, max_tokens: int, form: Form | None = None) -> "TextVectors":
        """Open the exported encoder of a base model without an adapter.

        Raises:
            ArtifactError: there is no such base.
        """
        return cls((open_encoder(home, base, max_tokens, form=form),), base)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the parts."""
        return tuple(part.dimensions for part in self.parts)

    def encode(
        self, texts: Sequence[str], names: Sequence[str] | None = None, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return (texts, sum of widths) float32: a unit vector of each part, side by side.

        Args:
            texts: what to encode.
            names: what a message calls the texts; their ids, for instance.
            progress: called with texts done and texts in all, each part counted.

        Raises:
            FloatingPointError: a vector is zero or not finite; the message names its text.
        """
        vectors = []
        for number, part in enumerate(self.parts):
            vectors.append(part.encode(texts, names, _share(progress, number, len(self.parts))))
        return np.concatenate(vectors, axis=1)

    def unit_vectors(
        self, texts: Sequence[str], names: Sequence[str] | None = None, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return ``encode`` as unit vectors: what ``POST /v1/embed`` and ``recsys embed`` give."""
        # So many unit vectors side by side have the length of the square root of their number.
        return self.encode(texts, names, progress) / np.float32(math.sqrt(len(self.parts)))


class Encoder:
    """Encodes texts as one generation does. Safe to share between threads: nothing changes after opening.

    Attributes:
        adapter_id: the adapter behind the vectors.
        dimensions: width of what ``encode`` returns.
        vectors: the exported encoders of base and adapter.
    """

    def __init__(self, vectors: TextVectors, maps: TextMaps, system: System, adapter_id: str) -> None:
        self.adapter_id = adapter_id
        self.dimensions = sum(vectors.widths)
        self.vectors = vectors
        self._maps = maps
        self._system = system
        self._unwhitening = np.linalg.inv(maps.content.matrix)

    @classmethod
    def open(cls, home: Home, generation_id: str, system: System | None = None) -> "Encoder":
        """Open the exported encoders of a generation's adapter and of its base.

        Args:
            home: where state lives.
            generation_id: whose items the texts shall be comparable with.
            system: that generation's, if it is loaded already.

        Raises:
            ArtifactError: the generation or the adapter is missing, or the base is not the one of the adapter's card.
        """
        folder, manifest = read_generation(home, generation_id)
        verify_adapter(home, manifest["adapter"])
        vectors = TextVectors.of_adapter(home, manifest["adapter"])
        loaded = system or System.load(folder)
        encoder = cls(vectors, TextMaps.load(folder), loaded, manifest["adapter"])
        encoder.check(open_snapshot(home, manifest["snapshot"]).items())
        return encoder

    def check(self, items: pl.DataFrame) -> None:
        """Encode some items again and compare with the vectors that the generation ranks by.

        Equal dimensions prove nothing, and neither does a manifest that somebody has written by hand.

        Args:
            items: the generation's catalogue, without live items.

        Raises:
            ArtifactError: they are not those that this base and this adapter make.
        """
        rows = np.unique(np.linspace(0, len(items) - 1, CHECKED_ITEMS).astype(np.int64))
        vectors = self.encode(self.item_texts(items[rows.tolist()]))
        towers, content = self._system.towers, self._system.content
        pairs = {
            TOWERS: (towers.made_again(rows, self._maps.towers.apply(vectors)), towers.vectors.cpu().numpy()[rows]),
            CONTENT: (self.dense_vectors(vectors)[CONTENT], content.vectors[rows]),
        }
        for name, (made, kept) in pairs.items():
            cosines = (made * kept).sum(axis=1)
            if not cosines.min() >= SAME_COSINE:
                item = items[ITEM_ID][int(rows[cosines.argmin()])]
                raise ArtifactError(
                    f"The index was not made by adapter {self.adapter_id}: encoded again, item {item} has a cosine of "
                    f"{cosines.min():.3f} to its {name} vector. Train and publish again, or roll back."
                )

    def item_texts(self, items: pl.DataFrame) -> list[str]:
        """Return the texts of item rows, read as those of the catalogue; columns that are absent count as empty."""
        return self._maps.item_texts(items)

    def encode(self, texts: Sequence[str], names: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Return (texts, dimensions) float32: unit vectors of the base, then of base and adapter, side by side.

        Args:
            texts: what to encode.
            names: what a message calls the texts; their ids, for instance.

        Raises:
            FloatingPointError: a vector is zero or not finite; the message names its text.
        """
        return self.vectors.encode(texts, names)

    def dense_vectors(self, vectors: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the rows that new items with these ``encode`` vectors have in the index, (texts, width) by name.

        The blocks and their order are those of ``System.dense_vectors``.
        """
        return self._system.new_dense_vectors(
            self._maps.towers.apply(vectors), self._maps.content.apply(vectors[:, : self.vectors.widths[0]])
        )

    def meaning_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (texts, width): ``content vectors @ query / meaning_norms`` are cosines before the whitening.

        Whitening suits comparing an item with a history; a query is nearer to what it asks for without it, as the base
        has learnt, with nothing but the catalogue's mean taken away.
        """
        centred = self.vectors.parts[0].encode(texts) - self._maps.content.mean
        centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        return np.asarray(centred @ self._unwhitening.T, dtype=np.float32)

    def meaning_norms(self, content_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (items,), see ``meaning_queries``; ``content_vectors`` is (items, width)."""
        starts = range(0, len(content_vectors), 8_192)
        chunks = (content_vectors[start : start + 8_192] @ self._unwhitening for start in starts)
        return np.maximum(np.concatenate([np.linalg.norm(chunk, axis=1) for chunk in chunks]), 1e-12)


def _max_tokens(settings: dict[str, Any]) -> int:
    """Return how many tokens of a text an adapter was trained to read: a recommender's card nests it, others don't."""
    found = settings.get("text", settings).get("max_tokens")
    return TextConfig().max_tokens if found is None else int(found)


def _share(progress: Progress | None, number: int, parts: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, parts * total)
