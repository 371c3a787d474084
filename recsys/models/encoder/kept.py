"""Vectors that are kept as they come, so that an encoding that was killed goes on with the texts that are missing.

They lie in a memory-mapped file of their own folder, and beside it stands how many groups of batches are in it. The
folder is of one encoder and one list of texts, in one order: what is found there is what would be computed again.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.artifacts import write_atomic

TEXTS_AT_ONCE = 4_096  # encoded between two marks; so few texts or fewer are encoded in one go, and nothing is kept
MAPPED_FROM = 2**25  # numbers of an array, 128 MiB
VECTORS, MARK = "vectors.npy", "encoded.json"

Batches = list[NDArray[np.integer]]


class KeptVectors:
    """The vectors of some texts in a folder.

    Attributes:
        vectors: (texts, width) float32, mapped; rows that are not encoded yet are 0.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        """Open what is there, or begin; what is damaged, or of another shape, is begun anew."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.vectors = np.lib.format.open_memmap(folder / VECTORS, "r+")
            usable = self.vectors.shape == shape and self.vectors.dtype == np.float32
        except (OSError, ValueError):
            usable = False
        if not usable:
            (folder / MARK).unlink(missing_ok=True)
            self.vectors = np.lib.format.open_memmap(folder / VECTORS, "w+", np.float32, shape)

    def done(self, budget: int) -> int:
        """Return how many groups of batches that a budget of tokens has cut are encoded."""
        try:
            mark: dict[str, Any] = json.loads((self._folder / MARK).read_text())
        except (OSError, ValueError):
            return 0
        return int(mark["groups"]) if mark["budget"] == budget else 0

    def mark(self, budget: int, groups: int) -> None:
        """Say that so many groups are encoded, once their vectors are in the file."""
        self.vectors.flush()
        write_atomic(self._folder / MARK, json.dumps({"budget": budget, "groups": groups}).encode())

    def mapped(self) -> NDArray[np.float32]:
        """Return all vectors; they stay in their file until somebody writes to them, and the file stays as it is."""
        self.vectors.flush()
        return np.asarray(np.load(self._folder / VECTORS, mmap_mode="c"))


def roomy(shape: tuple[int, int], folder: Path | None) -> NDArray[np.float32]:
    """Return an array to be written to; a large one lies in a file without a name, which memory can be taken from.

    Args:
        shape: of the array, float32.
        folder: where the file may lie; None: in memory, whatever its size.
    """
    if folder is None or shape[0] * shape[1] < MAPPED_FROM:
        return np.empty(shape, dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.asarray(np.memmap(file, np.float32, "w+", shape=shape))


def grouped(batches: Batches) -> list[Batches]:
    """Return batches in groups of about ``TEXTS_AT_ONCE`` texts, in their order."""
    groups: list[Batches] = []
    held = TEXTS_AT_ONCE
    for batch in batches:
        if held >= TEXTS_AT_ONCE:
            groups.append([])
            held = 0
        groups[-1].append(batch)
        held += len(batch)
    return groups


def distinct(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return each different text once, in the order of their first places, and where each text stands among them."""
    places: dict[str, int] = {}
    rows = np.fromiter((places.setdefault(text, len(places)) for text in texts), np.int64, len(texts))
    return list(places), rows
