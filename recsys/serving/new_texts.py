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
from recsys.models.encoder.export import ExportedEncoder
from recsys.ranking.search_vectors import load_search_vectors
from recsys.ranking.system import CONTENT, TOWERS, System
from recsys.ranking.text_maps import TextMaps
from recsys.serving.meaning import Meaning
from recsys.store.adapters import read_card, verify_adapter
from recsys.store.exports import open_encoder
from recsys.store.generations import generation_snapshot, read_generation
from recsys.texts.vectors import TextVectors

CHECKED_ITEMS = 8  # encoded again to see that adapter and index belong together
SAME_COSINE = 0.995  # rounding of bf16 stays above


class Encoder:
    """Encodes texts as one generation does. Safe to share between threads: nothing changes after opening.

    Attributes:
        adapter_id: the adapter behind the vectors.
        key: what names all adapters behind the vectors of an item: this one, and that of the search where there is one.
        dimensions: width of what ``encode`` returns.
        vectors: the exported encoders of base and adapter.
    """

    def __init__(
        self,
        vectors: TextVectors,
        maps: TextMaps,
        system: System,
        adapter_id: str,
        search: ExportedEncoder | None = None,
        search_adapter: str | None = None,
    ) -> None:
        """Take the parts; ``search`` encodes with the adapter of the search, where there is one."""
        self.adapter_id = adapter_id
        self.key = adapter_id if search is None else f"{adapter_id}+{search_adapter}"
        self.dimensions = sum(vectors.widths)
        self.vectors = vectors
        self._maps = maps
        self._system = system
        self._search = search

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
        search = None
        if manifest.search_adapter is not None:
            verify_adapter(home, manifest.search_adapter)
            card = read_card(home, manifest.search_adapter)
            search = open_encoder(
                home, card.base, card.max_tokens, base_digest=card.base_digest, adapter_id=manifest.search_adapter
            )
        encoder = cls(vectors, TextMaps.load(folder), loaded, manifest.adapter, search, manifest.search_adapter)
        encoder.check(items, None if search is None else load_search_vectors(folder))
        return encoder

    def check(self, items: pl.DataFrame, search_vectors: NDArray[np.float32] | None = None) -> None:
        """Encode some items again and compare with the vectors that the generation ranks by.

        Equal dimensions prove nothing, and neither does a manifest that somebody has written by hand.

        Args:
            items: the generation's catalogue, without live items.
            search_vectors: (items, width) that it searches by, where an adapter of the search made them.

        Raises:
            ArtifactError: they are not those that this base and these adapters make.
        """
        rows = np.unique(np.linspace(0, len(items) - 1, CHECKED_ITEMS).astype(np.int64))
        vectors = self.encode_items(self.item_texts(items[rows.tolist()]))
        towers, content = self._system.towers, self._system.content
        pairs = {
            TOWERS: (
                towers.made_again(rows, self._maps.towers.apply(vectors[:, : self.dimensions])),
                towers.vectors.cpu().numpy()[rows],
            ),
            CONTENT: (self.dense_vectors(vectors)[CONTENT], content.vectors[rows]),
        }
        if search_vectors is not None:
            pairs["search"] = (vectors[:, self.dimensions :], search_vectors[rows])
        for name, (made, kept) in pairs.items():
            cosines = (made * kept).sum(axis=1)
            if not cosines.min() >= SAME_COSINE:
                item = items[ITEM_ID][int(rows[cosines.argmin()])]
                raise ArtifactError(
                    f"The index was not made by adapter {self.key}: encoded again, item {item} has a cosine of "
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

    def encode_items(self, texts: Sequence[str], names: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Return all that a generation needs of new items: ``encode``, then their vectors by the search's adapter.

        Raises:
            VectorError: as ``encode``.
        """
        vectors = self.encode(texts, names)
        if self._search is None:
            return vectors
        return np.concatenate([vectors, self._search.encode(texts, names)], axis=1)

    def search_vectors(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return of ``encode_items`` what the search's adapter made, (texts, width); width 0 where there is none."""
        return vectors[:, self.dimensions :]

    def dense_vectors(self, vectors: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the rows that new items with these vectors have in the index, (texts, width) by name.

        The blocks and their order are those of ``System.dense_vectors``.
        """
        return self._system.new_dense_vectors(
            self._maps.towers.apply(vectors[:, : self.dimensions]),
            self._maps.content.apply(vectors[:, : self.vectors.widths[0]]),
        )

    def query(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector, (width,), that ``meaning(...).cosines`` compares with the items."""
        part = self.vectors.parts[0] if self._search is None else self._search
        return part.encode([text])[0]

    def meaning(
        self, content_vectors: NDArray[np.float32], search_vectors: NDArray[np.float32] | None = None
    ) -> Meaning:
        """Return items as a query is compared with them.

        Args:
            content_vectors: (items, width), as they are in the index.
            search_vectors: (items, width) by the search's adapter, where there is one.
        """
        if search_vectors is not None:
            return Meaning(search_vectors)
        return Meaning.whitened(content_vectors, self._maps.content)
