"""Texts as vectors by the exported encoders of a base and, beside it, of an adapter."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.callbacks import Progress
from recsys.home import Home
from recsys.models.encoder.export import ExportedEncoder, Form
from recsys.store.adapters import read_card
from recsys.store.exports import open_encoder


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
        tokens = card.max_tokens
        base, digest = card.base, card.base_digest
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
            VectorError: a vector is zero or not finite; the message names its text.
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


def _share(progress: Progress | None, number: int, parts: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, parts * total)
