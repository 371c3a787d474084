"""The gradient of one batch: in shares where several processes train together, in parts where memory is short.

Shares and parts are rows of the batch, each loss weighted by its positions, so that the sum is the gradient of the
whole batch whatever it was cut into.
"""

import copy
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch

from recsys.models.devices import Team, fitting_memory
from recsys.models.towers.batches import HistoryBatch

Loss = Callable[[HistoryBatch, np.random.Generator], torch.Tensor]


class Descent:
    """Sums gradients over the processes of a team, in parts that fit into memory; what fitted once is kept to."""

    def __init__(self, team: Team | None = None, steps: int = 0) -> None:
        self.team = team or Team.current()
        self.steps = steps  # taken so far, those before a restart included
        self._rows = sys.maxsize

    def gradient(
        self, weights: Sequence[torch.Tensor], batch: HistoryBatch, loss_of: Loss, rng: np.random.Generator
    ) -> torch.Tensor:
        """Set the gradients of the weights to those of the batch's mean loss; return that loss, detached.

        Args:
            weights: leaves of the loss. They must be the same in all processes, as the batch must.
            batch: what all processes learn from in this step.
            loss_of: the mean loss over the positions of some rows.
            rng: what ``loss_of`` draws from.

        Raises:
            OutOfMemoryError: not even one row fits.
        """
        rows, positions = len(batch.items), len(batch.targets)
        share = -(-rows // self.team.size)
        first, last = min(rows, self.team.rank * share), min(rows, (self.team.rank + 1) * share)
        # Parts draw from generators of their own: ``rng`` stays where it would be in every process.
        seed = int(copy.deepcopy(rng).integers(2**63))
        self.steps += 1
        total = torch.zeros((), device=batch.items.device)

        def attempt(size: int) -> None:
            whole = self.team.size == 1 and size >= rows
            total.zero_()
            for weight in weights:
                weight.grad = None
            for start in range(first, last, size):
                part = batch if whole else batch.part(start, min(last, start + size))
                if len(part.targets) == 0:
                    continue
                drawn = rng if whole else np.random.default_rng([seed, self.steps, start])
                loss = loss_of(part, drawn) * (len(part.targets) / positions)
                loss.backward()
                total.add_(loss.detach())

        fitted = fitting_memory(attempt, min(share, self._rows), 1, "taking a step", self.team)
        if fitted < min(share, self._rows):
            self._rows = fitted
        self.team.sum_gradients(weights)
        return self.team.sum(total)
