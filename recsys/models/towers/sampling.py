"""Which items one step's softmax is taken over: every known one, or in huge catalogues a part that stands for all.

The part is the step's own targets and a uniform sample of the other known items. Each sampled item stands for as many
as it was drawn from: its logit grows by the logarithm of that number, so that the sum of exponentials is the whole
catalogue's in expectation (Horvitz and Thompson, 1952; the sampled softmax of Bengio and Senécal, 2008, without
replacement and with the targets taken for certain).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from recsys.models.towers.batches import HistoryBatch


@dataclass(frozen=True)
class SoftmaxItems:
    """The items of one softmax.

    Attributes:
        items: (m,) int64 item indices, ascending.
        corrections: (m,) float32 to add to their logits: minus the logarithm of the chance with which each was taken.
        sampled: whether some known items are missing.
    """

    items: torch.Tensor
    corrections: torch.Tensor
    sampled: bool

    def places(self, indices: torch.Tensor) -> torch.Tensor:
        """Return where item indices stand in ``items``; for those that it lacks, some place or other."""
        return torch.searchsorted(self.items, indices.contiguous()).clamp_max(len(self.items) - 1)


def softmax_items(
    known: torch.Tensor, batch: HistoryBatch, most: int, rng: np.random.Generator, certain: torch.Tensor | None = None
) -> SoftmaxItems:
    """Choose the items of one step's softmax.

    Args:
        known: (known,) int64, ascending: the items with training events.
        batch: the step's histories and targets.
        most: how many items a softmax may hold; a step with more targets than that takes half as many others again.
        rng: draws the sample.
        certain: known items that a sample holds beside the targets; None: no others.
    """
    if len(known) <= most:
        return SoftmaxItems(known, torch.zeros(len(known), device=known.device), sampled=False)
    targets = batch.targets[batch.weights > 0]
    targets = torch.unique(targets if certain is None else torch.cat([targets, certain]))
    others = known[~torch.isin(known, targets)]
    count = min(len(others), max(most - len(targets), most // 2))
    drawn = others[torch.from_numpy(rng.choice(len(others), count, replace=False)).to(known.device)]
    items, order = torch.cat([targets, drawn]).sort()
    corrections = torch.zeros(len(items), device=known.device)
    corrections[order >= len(targets)] = math.log(max(len(others), 1) / max(count, 1))
    return SoftmaxItems(items, corrections, sampled=True)
