"""Cross-entropy over the whole catalogue with soft targets, with a backward pass written by hand.

The gradient is formed together with the loss, chunk by chunk and in bf16 where the processor has it, so that the
(positions × catalogue) matrix is never kept for the backward pass.
"""

from typing import Any

import torch

CHUNK_ELEMENTS = 8_000_000  # logits held at once
MAX_EXPONENT = 70.0  # exp of it times any catalogue stays finite in fp32


def catalogue_cross_entropy(
    queries: torch.Tensor,
    items: torch.Tensor,
    bias: torch.Tensor,
    scale: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    low_precision: bool = False,
    importance: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the mean over positions of ``-c Σ_j w_j · log softmax(scale · q·V + bias)[t_j]``.

    Args:
        queries: (positions, d).
        items: (catalogue, d), the vectors V of every item.
        bias: (catalogue,).
        scale: a scalar tensor.
        targets: (positions, m) int64 item indices.
        weights: (positions, m); each row sums to 1.
        low_precision: multiply in bf16; sums and exponentials stay in fp32.
        importance: (positions,), what each position counts, the c of the formula; None: 1.

    Returns:
        A scalar; its gradient reaches queries, items, bias and scale.
    """
    dtype = torch.bfloat16 if low_precision else torch.float32
    loss: torch.Tensor = _CatalogueCrossEntropy.apply(queries, items, bias, scale, targets, weights, dtype, importance)
    return loss


class _CatalogueCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries, items, bias, scale, targets, weights, dtype, importance):  # type: ignore[no-untyped-def]
        positions, catalogue = len(queries), len(items)
        items_low = items.to(dtype)
        # One bound for all logits in place of each row's maximum: it saves two passes over the matrix.
        bound = scale * queries.norm(dim=1).max() * items.norm(dim=1).max() + bias.abs().max()
        shift = (bound - MAX_EXPONENT).clamp_min(0)
        shifted_bias = bias - shift
        query_gradient = torch.empty_like(queries, dtype=torch.float32)
        item_gradient = torch.zeros(items.shape, dtype=torch.float32, device=items.device)
        bias_gradient = torch.zeros(catalogue, dtype=torch.float32, device=items.device)
        total = torch.zeros((), dtype=torch.float32, device=items.device)
        step = max(1, CHUNK_ELEMENTS // catalogue)
        for start in range(0, positions, step):
            part = slice(start, min(start + step, positions))
            scaled = queries[part].float() * scale
            target, weight = targets[part], weights[part]
            counts = None if importance is None else importance[part]
            if counts is not None:
                weight = weight * counts[:, None]
            logits = (scaled.to(dtype) @ items_low.T).float().add_(shifted_bias)
            own = (logits.gather(1, target) * weight).sum(1)
            odds = logits.exp_()  # softmax times its row sum; dividing vectors is cheaper than dividing the matrix
            row_sum = odds.sum(1)
            total += ((row_sum.log() if counts is None else counts * row_sum.log()) - own).sum()
            share = (1 if counts is None else counts[:, None]) / row_sum[:, None]
            odds_low = odds.to(dtype)
            expected = (odds_low @ items_low).float() * share
            wanted = (weight[..., None] * items[target].float()).sum(1)
            query_gradient[part] = (expected - wanted) * scale
            item_gradient += (odds_low.T @ (scaled * share).to(dtype)).float()
            bias_gradient += odds.T @ share.squeeze(1)
            own_gradient = (weight[..., None] * scaled[:, None, :]).flatten(0, 1)
            item_gradient.index_add_(0, target.flatten(), own_gradient, alpha=-1)
            bias_gradient.index_add_(0, target.flatten(), weight.flatten(), alpha=-1)
        scale_gradient = (query_gradient * queries).sum() / scale
        ctx.save_for_backward(query_gradient, item_gradient, bias_gradient, scale_gradient)
        ctx.positions = positions
        return total / positions

    @staticmethod
    def backward(ctx: Any, output_gradient):  # type: ignore[no-untyped-def]
        factor = output_gradient / ctx.positions
        gradients = [gradient * factor for gradient in ctx.saved_tensors]
        return (*gradients, None, None, None, None)
