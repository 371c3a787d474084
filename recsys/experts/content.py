"""Content-based filtering: how near an item's text is to the texts of the history."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from recsys.data.sequences import Sequences
from recsys.experts.sparse import history_matrix
from recsys.models.tensors import read_tensors


class Content:
    """Cosine between an item's text vector and the decayed mean of the history's text vectors.

    Attributes:
        vectors: (catalogue, width) float32 unit vectors.
        decay: weight of an event per newer event in the history.
    """

    def __init__(self, vectors: NDArray[np.float32], decay: float) -> None:
        self.vectors = self.unit(vectors)
        self.decay = decay

    @staticmethod
    def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (rows, width) vectors of length 1, as the catalogue's are."""
        norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.asarray(vectors / norms, dtype=np.float32)

    def queries(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, width) unit vectors; zero for an empty history."""
        means = history_matrix(histories, len(self.vectors), self.decay) @ self.vectors
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return np.asarray(means, dtype=np.float32)

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) cosines; all 0 for an empty history."""
        return self.queries(histories) @ self.vectors.T

    def contributions(
        self, history: NDArray[np.int32], past: NDArray[np.int32], items: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Return numbers in proportion to what items of a history add to some items' cosines, (past, items).

        Args:
            history: (events,) item indices, oldest first.
            past: items of the history, each once.
            items: whose cosines.
        """
        row = Sequences(history, np.array([0, len(history)], dtype=np.int64))
        weights = history_matrix(row, len(self.vectors), self.decay)[0, past].toarray().T
        return np.asarray(weights * (self.vectors[past] @ self.vectors[items].T), dtype=np.float32)

    def save(self, folder: Path, name: str) -> None:
        """Write ``name.safetensors`` into a folder."""
        tensors = {"vectors": self.vectors, "decay": np.array([self.decay])}
        save_file(tensors, folder / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: Path, name: str) -> "Content":
        """Read what ``save`` wrote."""
        tensors = {key: tensor.numpy() for key, tensor in read_tensors(folder / f"{name}.safetensors").items()}
        loaded = cls.__new__(cls)  # normalising once more would change the last bits
        loaded.vectors, loaded.decay = tensors["vectors"], float(tensors["decay"][0])
        return loaded
