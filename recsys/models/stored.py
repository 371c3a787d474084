"""The text vectors that the adapter learns through: those of the last time that each text was encoded.

A small catalogue is read and moved as a whole in every round. Of one whose softmax is sampled a round touches the rows
of its sample alone, so that its time follows the sample and not the catalogue.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from recsys.models.towers.whitening import Whitening


def move(vectors: torch.Tensor, chosen: torch.Tensor, fresh: torch.Tensor) -> None:
    """Set new vectors of some rows of (catalogue, hidden), and move all others by what these have moved on average.

    All texts share the weights, so most of what these vectors moved by since they were stored they have in common.
    Without it old and new ones drift apart, which whitening magnifies, and the loss rises with every step.
    """
    shift = (fresh - vectors[chosen]).mean(dim=0)
    vectors.copy_(functional.normalize(vectors + shift, dim=1))
    vectors[chosen] = fresh


class StoredVectors:
    """Vectors of a whole catalogue, and the towers' features of them.

    Attributes:
        vectors: (catalogue, hidden), as they were when each text was encoded last, or moved.
        beside: (catalogue, width), what the towers read to the left of them.
    """

    def __init__(
        self, vectors: NDArray[np.float32], fixed: NDArray[np.float32], whitening: Whitening, device: torch.device
    ) -> None:
        """Take a copy of some vectors.

        Args:
            vectors: (catalogue, hidden) of the backbone as it is.
            fixed: (catalogue, width) that the towers read to the left of these, and that stay.
            whitening: the map from both side by side to features.
            device: where to compute.
        """
        self.vectors = torch.tensor(vectors, device=device)
        self.beside = torch.from_numpy(fixed).to(device)
        self._mean, self._matrix = (torch.from_numpy(one).to(device) for one in (whitening.mean, whitening.matrix))

    def leaf(self, _: torch.Tensor) -> torch.Tensor:
        """Return what a round takes the gradient at, with it: here all vectors, (catalogue, hidden)."""
        return self.vectors.clone().requires_grad_(True)

    def features(self, leaf: torch.Tensor, _: torch.Tensor) -> Any:
        """Return the features of all items, (catalogue, width), or what gives those of some rows.

        Args:
            leaf: of this round.
            chosen: its texts.
        """
        return self.whitened(self.beside, leaf)

    def at(self, gradient: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Return the gradient at the vectors of some texts, (chosen, hidden), out of that at the leaf."""
        return gradient[chosen]

    def renew(self, chosen: torch.Tensor, fresh: torch.Tensor) -> None:
        """Store new vectors of some texts, (chosen, hidden), and move all others by what these moved on average."""
        move(self.vectors, chosen, fresh)

    def state(self) -> Any:
        """Return everything as a checkpoint can hold it."""
        return self.vectors

    def restore(self, state: Any) -> None:
        """Set what ``state`` returned."""
        self.vectors.copy_(state)

    def whitened(self, beside: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Return the features of some rows, (rows, width)."""
        return (torch.cat([beside, vectors], dim=1) - self._mean) @ self._matrix


class SampledVectors(StoredVectors):
    """Vectors of which a round reads some rows.

    What all have moved by since a row was stored is added when the row is read: the others are not touched.
    """

    def __init__(
        self, vectors: NDArray[np.float32], fixed: NDArray[np.float32], whitening: Whitening, device: torch.device
    ) -> None:
        super().__init__(vectors, fixed, whitening, device)
        self._since = torch.zeros(len(vectors), dtype=torch.int64, device=device)  # moves before each was stored
        self._moved = torch.zeros(1, vectors.shape[1], device=device)  # by 0, 1, … moves

    def rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Return some vectors as they are now, (rows, hidden)."""
        moved = self._moved[-1] - self._moved[self._since[rows]]
        return functional.normalize(self.vectors[rows] + moved, dim=1)

    def leaf(self, chosen: torch.Tensor) -> torch.Tensor:
        """Return the vectors of a round's own texts, (chosen, hidden): no others carry a gradient anywhere."""
        return self.rows(chosen).requires_grad_(True)

    def features(self, leaf: torch.Tensor, chosen: torch.Tensor) -> "_Rows":
        return _Rows(self, leaf, chosen)

    def at(self, gradient: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return gradient

    def renew(self, chosen: torch.Tensor, fresh: torch.Tensor) -> None:
        shift = (fresh - self.rows(chosen)).mean(dim=0)
        self._moved = torch.cat([self._moved, self._moved[-1:] + shift])
        self.vectors[chosen], self._since[chosen] = fresh, len(self._moved) - 1

    def state(self) -> Any:
        return {"vectors": self.vectors, "since": self._since, "moved": self._moved}

    def restore(self, state: Any) -> None:
        self.vectors.copy_(state["vectors"])
        self._since.copy_(state["since"])
        self._moved = state["moved"].to(self._moved.device)


class _Rows:
    """Features by row, in the place of a matrix of all."""

    def __init__(self, stored: SampledVectors, leaf: torch.Tensor, chosen: torch.Tensor) -> None:
        self._stored, self._leaf = stored, leaf
        self._sorted, self._order = chosen.sort()

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (rows, width); of the round's own texts, with gradient."""
        places = torch.searchsorted(self._sorted, rows).clamp_max(len(self._sorted) - 1)
        own = self._sorted[places] == rows
        vectors = self._stored.rows(rows)
        vectors = vectors.index_put((own.nonzero().squeeze(1),), self._leaf[self._order[places[own]]])
        with torch.autocast(rows.device.type, enabled=False):
            return self._stored.whitened(self._stored.beside[rows], vectors)
