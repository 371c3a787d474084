"""Epochs of the two towers: the one loop behind a training from scratch and behind one that goes on.

It stands in a checkpoint after each epoch, so that a killed training ends with the weights it would have had.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from recsys.callbacks import Progress, note_loss
from recsys.config import TowerConfig
from recsys.data.sequences import Sequences
from recsys.models.checkpoints import Checkpoint, TrainingState
from recsys.models.devices import computes_bf16
from recsys.models.optimisation import check_descent, warm_cosine
from recsys.models.towers.batches import HistoryBatch, history_batches
from recsys.models.towers.descent import Descent
from recsys.models.towers.losses import catalogue_cross_entropy
from recsys.models.towers.sampling import softmax_items
from recsys.models.towers.tower import TwoTower

WARMUP_STEPS = 200
Validate = Callable[[TwoTower], float]


@dataclass(frozen=True)
class TowerRun:
    """Trained towers and how they came about.

    Attributes:
        towers: frozen, ready to score.
        history: one record an epoch: epoch, loss, validation.
        epochs: epochs behind the weights that were kept; 0: those that the training began with.
    """

    towers: TwoTower
    history: list[dict[str, float]]
    epochs: int


@dataclass(frozen=True)
class Course:
    """How long and how fast to train, and what judges it.

    Attributes:
        epochs: at most.
        steps: of an epoch, about; the rate falls to 0 over all of them.
        size: positions a step.
        rate: the learning rate at its peak.
        validate: returns a figure to maximise; the best epoch is kept. None: the last is.
        floor: the figure that an epoch has to beat to be kept.
    """

    epochs: int
    steps: int
    size: int
    rate: float
    validate: Validate | None = None
    floor: float = -math.inf


def run_epochs(
    towers: TwoTower,
    windows: Callable[[np.random.Generator], Sequences],
    config: TowerConfig,
    course: Course,
    rng: np.random.Generator,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> TowerRun:
    """Train towers in place, epoch by epoch.

    Args:
        towers: with weights to begin with, and the known items set.
        windows: returns what an epoch goes through, rows of at most ``max_history + 1`` items.
        config: settings of the loss, of the optimiser, and the patience.
        course: see there.
        rng: draws order and samples.
        progress: called with steps done and steps at most.
        checkpoint: where the training stands after each epoch; a killed one goes on from there.

    Raises:
        DivergedError: the loss is not finite.
    """
    device = next(towers.parameters()).device
    total, low = course.epochs * course.steps, computes_bf16(device)
    optimizer = _optimizer(towers, config, course.rate)
    schedule = _schedule(optimizer, total)
    state = TrainingState(checkpoint, optimizer, schedule, rng)
    history = state.history
    best: dict[str, Any] = {"figure": course.floor, "epoch": 0, "weights": copy.deepcopy(towers.state_dict())}
    found = state.restore()
    if found is not None:
        towers.load_state_dict(found["weights"])
        best = found["best"]
    descent = Descent(steps=state.steps)

    while len(history) < course.epochs and (course.validate is None or len(history) - best["epoch"] < config.patience):
        towers.train()
        losses = []
        epoch = windows(rng)
        for batch in history_batches(epoch, course.size, config.future_items, config.future_decay, rng, device):
            loss = descent.gradient(
                list(towers.parameters()), batch, lambda part, draws: tower_loss(towers, part, config, low, draws), rng
            )
            norm = nn.utils.clip_grad_norm_(towers.parameters(), 5.0)
            check_descent(loss, norm, f"epoch {len(history) + 1}", "tower.learning_rate")
            optimizer.step()
            schedule.step()
            losses.append(loss)
            note_loss(loss.item)
            if progress:
                progress(min(descent.steps, total), total)
        history.append({"epoch": float(len(history) + 1), "loss": float(torch.stack(losses).mean())})
        if course.validate is not None:
            history[-1]["validation"] = course.validate(towers.freeze())
        figure = history[-1].get("validation", math.inf)
        if course.validate is None or figure > best["figure"]:
            best = {"figure": figure, "epoch": len(history), "weights": copy.deepcopy(towers.state_dict())}
        state.save({"weights": towers.state_dict(), "best": best})
    towers.load_state_dict(best["weights"])
    return TowerRun(towers.freeze(), history, best["epoch"])


def tower_loss(
    towers: TwoTower,
    batch: HistoryBatch,
    config: TowerConfig,
    low: bool,
    rng: np.random.Generator,
    certain: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the loss of one batch over the known items, or over a sample of them that holds some for certain.

    Nothing is known against the others.
    """
    items = towers.items
    among = softmax_items(items.known_items, batch, config.max_softmax_items, rng, certain)
    histories, rows, softmax_rows = batch.items, None, among.items
    if among.sampled:  # vectors of what this step needs, no others
        rows = torch.unique(torch.cat([batch.items[batch.items >= 0], among.items]))
        histories = torch.where(batch.items >= 0, torch.searchsorted(rows, batch.items.contiguous()), -1)
        softmax_rows = torch.searchsorted(rows, among.items)
    with torch.autocast(batch.items.device.type, dtype=torch.bfloat16, enabled=low):
        vectors = towers.item_vectors(rows)
        hidden, real = towers.encode(histories, vectors, batch.kinds)
    bias = items.item_bias()[among.items] + among.corrections
    # A padded target weighs nothing but is looked up all the same.
    targets = among.places(batch.targets)
    return catalogue_cross_entropy(
        hidden[real].float(), vectors[softmax_rows], bias, items.scale, targets, batch.weights, low, batch.importance
    )


def _optimizer(towers: TwoTower, config: TowerConfig, rate: float) -> torch.optim.AdamW:
    decayed = [weight for weight in towers.parameters() if weight.ndim >= 2]
    plain = [weight for weight in towers.parameters() if weight.ndim < 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def _schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warm_cosine(step, min(WARMUP_STEPS, steps // 5), steps)
    )
