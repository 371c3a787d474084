"""The vectors that a generation's items are searched by, where an adapter of the search made them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from recsys.models.tensors import read_tensors

FILE, NAME = "search.safetensors", "vectors"


def save_search_vectors(vectors: NDArray[np.float32], folder: Path) -> None:
    """Write (items, width) unit vectors into a generation's folder."""
    save_file({NAME: np.ascontiguousarray(vectors, dtype=np.float32)}, folder / FILE)


def load_search_vectors(folder: Path) -> NDArray[np.float32]:
    """Return (items, width) of a generation's folder; a large file is mapped."""
    vectors: NDArray[np.float32] = read_tensors(folder / FILE)[NAME].numpy()
    return vectors
