"""What trainings share: schedules of the learning rate, and the check that a step is finite."""

import math

import torch

from recsys.errors import TrainingError

WARMUP_SHARE = 0.06  # of all steps, where a training chooses no number of its own
MAX_GRADIENT_NORM = 1.0  # of the weights of BERT in one step; longer gradients are shortened to it


def warm_cosine(step: int, warmup: int, steps: int) -> float:
    """Return the share of the peak rate at a step: a rise over the warm-up, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def warm_linear(step: int, steps: int) -> float:
    """Return the share of the peak rate at a step: a rise over ``WARMUP_SHARE`` of all, then a line down to 0."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    return (step + 1) / warmup if step < warmup else max(0.0, (steps - step) / max(1, steps - warmup))


class DivergedError(TrainingError):
    """The loss, or a gradient, is no longer a finite number. Nothing is kept of such a training."""


def check_descent(loss: torch.Tensor, norm: torch.Tensor, where: str, setting: str) -> None:
    """Check that a step's loss and the norm of its gradient are finite, before the step is taken.

    Raises:
        DivergedError: one is not; the message says where and which setting to lower.
    """
    if not bool(torch.isfinite(loss)):
        raise DivergedError(f"The loss became {loss.item()} in {where}. Lower {setting}; nothing was saved.")
    if not bool(torch.isfinite(norm)):
        raise DivergedError(f"The gradient became {norm.item()} in {where}. Lower {setting}; nothing was saved.")
