"""New texts as vectors, exactly as the items of a generation were encoded.

A generation keeps how its items became text and how text vectors became features; with the base and the adapter that it
names, a new item gets the vectors that it would have had in training, and a query those of an item with that text.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.artifacts import ArtifactError
from recsys.data.columns import ITEM_ID
from recsys.home import Home
from recsys.ranking.system import CONTENT, TOWERS, System
from recsys.ranking.text_maps import TextMaps
from recsys.store.adapters import verify_adapter
from recsys.store.generations import generation_snapshot, read_generation
from recsys.texts.vectors import TextVectors

CHECKED_ITEMS = 8  # encoded again to see that adapter and index belong together
SAME_COSINE = 0.995  # rounding of bf16 stays above


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
    def open(
        cls, home: Home, generation_id: str, system: System | None = None, vectors: TextVectors | None = None
    ) -> "Encoder":
        """Open the exported encoders of a generation's adapter and of its base.

        Args:
            home: where state lives.
            generation_id: whose items the texts shall be comparable with.
            system: that generation's, if it is loaded already; as it was loaded, without live items.
            vectors: the encoders, if they are open already.

        Raises:
            ArtifactError: the generation or the adapter is missing, or the base is not the one of the adapter's card.
        """
        folder, manifest = read_generation(home, generation_id, verify=True)
        verify_adapter(home, manifest.adapter)
        items = generation_snapshot(home, manifest).items()
        vectors = vectors or TextVectors.of_adapter(home, manifest.adapter)
        loaded = system or System.load(folder)
        encoder = cls(vectors, TextMaps.load(folder), loaded, manifest.adapter)
        encoder.check(items)
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
            VectorError: a vector is zero or not finite; the message names its text.
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
