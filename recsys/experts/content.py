"""Content-based filtering: how near an item's text is to the texts of the history."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from recsys.data.sequences import Sequences
from recsys.experts.sparse import history_matrix
from recsys.models.tensors import read_tensors

ROWS_AT_ONCE = 16_384  # of vectors that are normalised


class Content:
    """Cosine between an item's text vector and the decayed mean of the history's text vectors.

    Attributes:
        vectors: (catalogue, width) float32 unit vectors.
        decay: weight of an event per newer event in the history.
        aversion: how much a dislike takes from what is like its item, against what a like gives; 0: nothing.
    """

    def __init__(self, vectors: NDArray[np.float32], decay: float, aversion: float = 1.0) -> None:
        self.vectors = self.unit(vectors)
        self.decay = decay
        self.aversion = aversion

    @staticmethod
    def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (rows, width) vectors of length 1, as the catalogue's are."""
        units = np.empty(vectors.shape, dtype=np.float32)
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            part = vectors[start : start + ROWS_AT_ONCE]
            units[start : start + ROWS_AT_ONCE] = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
        return units

    def reading(self, decay: float, aversion: float = 1.0) -> "Content":
        """Return one of the same vectors that reads a history in another way."""
        other = Content.__new__(Content)
        other.vectors, other.decay, other.aversion = self.vectors, decay, aversion
        return other

    def queries(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, width) unit vectors; zero for an empty history."""
        means = history_matrix(histories, len(self.vectors), self.decay, aversion=self.aversion) @ self.vectors
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return np.asarray(means, dtype=np.float32)

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) cosines; all 0 for an empty history."""
        return self.queries(histories) @ self.vectors.T

    def contributions(
        self, history: Sequences | NDArray[np.int32], past: NDArray[np.int32], items: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Return numbers in proportion to what items of a history add to some items' cosines, (past, items).

        Args:
            history: one row, or its item indices, oldest first.
            past: items of the history, each once.
            items: whose cosines.
        """
        row = Sequences.single(history)
        weights = history_matrix(row, len(self.vectors), self.decay, aversion=self.aversion)[0, past].toarray().T
        return np.asarray(weights * (self.vectors[past] @ self.vectors[items].T), dtype=np.float32)

    def save(self, folder: Path, name: str) -> None:
        """Write ``name.safetensors`` into a folder."""
        settings = [self.decay] if self.aversion == 1.0 else [self.decay, self.aversion]
        tensors = {"vectors": self.vectors, "decay": np.array(settings)}
        save_file(tensors, folder / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: Path, name: str) -> "Content":
        """Read what ``save`` wrote."""
        tensors = {key: tensor.numpy() for key, tensor in read_tensors(folder / f"{name}.safetensors").items()}
        loaded = cls.__new__(cls)  # normalising once more would change the last bits
        loaded.vectors = tensors["vectors"]
        loaded.decay, loaded.aversion = [*tensors["decay"].tolist(), 1.0][:2]
        return loaded
