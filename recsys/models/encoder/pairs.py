"""Fine-tuning on pairs of a query and an item: each query shall be nearer to its item than to those of its batch.

The loss is the cross-entropy of the right item among all of the batch, over cosines by a temperature (Henderson et al.,
"Efficient natural language response suggestion", 2017; multiple negatives ranking). An item stands in a batch once,
however many queries chose it, and what else was chosen after a query is no negative of it. Pairs are few and the base
knows much, so in the end the learnt weights go back a part of the way to it (Wortsman et al., "Robust fine-tuning of
zero-shot models", 2022).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from recsys.callbacks import Progress
from recsys.config import PairsConfig
from recsys.models.checkpoints import Checkpoint, TrainingState
from recsys.models.devices import autocast
from recsys.models.encoder.backbone import Backbone, lora_weights, set_lora_weights
from recsys.models.encoder.tokens import Tokens, forward, tokenize
from recsys.models.optimisation import WARMUP_SHARE, warm_cosine

LORA_OUT = "lora_B"  # in the names of the second of LoRA's two matrices, as PEFT has them
NEVER = -1e9  # the cosine of what is no negative, by the temperature


def train_pairs(
    backbone: Backbone,
    queries: Sequence[str],
    chosen: Sequence[NDArray[np.int64]],
    weights: Sequence[NDArray[np.float64]],
    texts: Sequence[str],
    config: PairsConfig,
    max_tokens: int,
    seed: int,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, float]]:
    """Train the backbone's LoRA weights in place.

    Args:
        backbone: a base with LoRA weights.
        queries: what was asked.
        chosen: the items that were chosen after each query, as places among ``texts``.
        weights: how much each of these pairs weighs; an epoch draws as many pairs as there are, by weight.
        texts: the catalogue's.
        config: settings.
        max_tokens: longer texts are cut.
        seed: fixes the order.
        progress: called with steps done and steps in all.
        checkpoint: where the training stands after each epoch; a killed one goes on from there.

    Returns:
        One record an epoch: epoch, loss.

    Raises:
        DivergedError: the loss is not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    asked, read = (tokenize(backbone, part, max_tokens) for part in (queries, texts))
    pairs = np.array([(query, row) for query, rows in enumerate(chosen) for row in rows.tolist()], dtype=np.int64)
    shares = np.concatenate(weights)
    even = bool((shares == shares[0]).all())
    steps_per_epoch = -(-len(pairs) // config.batch_size)
    steps = config.epochs * steps_per_epoch
    lora = [weight for weight in backbone.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(lora, lr=config.learning_rate, weight_decay=0.0)
    warmup = max(1, round(WARMUP_SHARE * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, warmup, steps))
    state = TrainingState(checkpoint, optimizer, schedule, rng)
    history, found = state.history, state.restore()
    if found is not None:
        set_lora_weights(backbone, found["lora"])
    backbone.model.eval()  # the base's own dropout was meant for longer pre-training, and helps nothing here
    while len(history) < config.epochs:
        order = rng.permutation(len(pairs))
        if not even:
            order = rng.choice(len(pairs), len(pairs), p=shares / shares.sum())
        losses = []
        for start in range(0, len(order), config.batch_size):
            batch = pairs[order[start : start + config.batch_size]]
            loss = _loss(backbone, asked, read, batch, chosen, config.temperature)
            losses.append(state.step(loss, lora, "learning_rate"))
            if progress:
                progress(state.steps, steps)
        history.append({"epoch": float(len(history) + 1), "loss": float(np.mean(losses))})
        state.save({"lora": lora_weights(backbone)})
    with torch.no_grad():
        for name, weight in lora_weights(backbone).items():
            if LORA_OUT in name:  # of the product of the two: the other stays
                weight.mul_(config.kept_share)
    return history


def _loss(
    backbone: Backbone,
    asked: Tokens,
    read: Tokens,
    batch: NDArray[np.int64],
    chosen: Sequence[NDArray[np.int64]],
    temperature: float,
) -> torch.Tensor:
    """Return the mean cross-entropy of a batch of pairs, (pairs, 2): query and item."""
    items, places = np.unique(batch[:, 1], return_inverse=True)
    with autocast(backbone.device):
        queries = functional.normalize(forward(backbone, asked, batch[:, 0]), dim=1)
        vectors = functional.normalize(forward(backbone, read, items), dim=1)
    logits = queries.float() @ vectors.float().T / temperature
    also = np.stack([np.isin(items, chosen[query]) for query in batch[:, 0]])
    also[np.arange(len(batch)), places] = False
    logits = logits.masked_fill(torch.from_numpy(also).to(logits.device), NEVER)
    return functional.cross_entropy(logits, torch.from_numpy(places).to(logits.device))
