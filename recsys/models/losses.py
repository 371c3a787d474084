"""Cross-entropy over the whole catalogue with soft targets, with a backward pass written by hand.

The gradient is formed together with the loss, chunk by chunk and in bf16 where the processor has it, so that the
(positions × catalogue) matrix is never kept for the backward pass.
"""

from typing import Any

import torch

CHUNK_ELEMENTS = 8_000_000  # logits held at once


def catalogue_cross_entropy(
    queries: torch.Tensor,
    items: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    low_precision: bool = False,
) -> torch.Tensor:
    """Return the mean over positions of ``-Σ_j w_j · log softmax(scale · q·V + bias)[t_j]``.

    Args:
        queries: (positions, d).
        items: (catalogue, d), the vectors V of every item.
        bias: (catalogue,).
        scale: a scalar tensor.
        targets: (positions, m) int64 item indices.
        weights: (positions, m); each row sums to 1.
        low_precision: multiply in bf16; sums and exponentials stay in fp32.

    Returns:
        A scalar; its gradient reaches queries, items, bias and scale.
    """
    dtype = torch.bfloat16 if low_precision else torch.float32
    loss: torch.Tensor = _CatalogueCrossEntropy.apply(queries, items, bias, scale, targets, weights, dtype)
    return loss


class _CatalogueCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries, items, bias, scale, targets, weights, dtype):  # type: ignore[no-untyped-def]
        positions, catalogue = len(queries), len(items)
        items_low = items.to(dtype)
        query_gradient = torch.empty_like(queries, dtype=torch.float32)
        item_gradient = torch.zeros(items.shape, dtype=torch.float32, device=items.device)
        bias_gradient = torch.zeros(catalogue, dtype=torch.float32, device=items.device)
        scale_gradient = torch.zeros((), dtype=torch.float32, device=items.device)
        total = torch.zeros((), dtype=torch.float32, device=items.device)
        step = max(1, CHUNK_ELEMENTS // catalogue)
        for start in range(0, positions, step):
            part = slice(start, min(start + step, positions))
            scaled = (queries[part].float() * scale).to(dtype)
            logits = (scaled @ items_low.T).float().add_(bias)
            log_normaliser = logits.logsumexp(1, keepdim=True)
            total += (log_normaliser.squeeze(1) - (logits.gather(1, targets[part]) * weights[part]).sum(1)).sum()
            error = logits.sub_(log_normaliser).exp_()  # softmax, then minus the soft one-hot target
            error.scatter_add_(1, targets[part], -weights[part])
            bias_gradient += error.sum(0)
            error_low = error.to(dtype)
            direction = (error_low @ items_low).float()
            scale_gradient += (direction * queries[part]).sum()
            query_gradient[part] = direction * scale
            item_gradient += (error_low.T @ scaled).float()
        ctx.save_for_backward(query_gradient, item_gradient, bias_gradient, scale_gradient)
        ctx.positions = positions
        return total / positions

    @staticmethod
    def backward(ctx: Any, output_gradient):  # type: ignore[no-untyped-def]
        factor = output_gradient / ctx.positions
        gradients = [gradient * factor for gradient in ctx.saved_tensors]
        return (*gradients, None, None, None)
