"""Where a training stands, in one file, so that a killed one goes on and ends with the same weights.

A checkpoint holds all that the next step depends on: weights, optimiser, schedule, random states and position. It is
replaced atomically and bound to the training's inputs; another training never goes on from it.
"""

import logging
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recsys.artifacts import stream_atomic
from recsys.callbacks import note_loss
from recsys.models.optimisation import MAX_GRADIENT_NORM, check_descent

_LOG = logging.getLogger(__name__)


class Checkpoint:
    """One training's checkpoint.

    Attributes:
        path: the file; its folder is made when it is first written.
        key: what identifies the training's inputs: data, settings, seed.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last and set the random states to theirs; None where there is nothing to go on from.

        A file that is damaged, or that belongs to other inputs, counts as nothing.
        """
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            _LOG.warning("The checkpoint %s cannot be read (%s); the training begins anew.", self.path, error)
            return None
        if not isinstance(found, dict) or found.get("key") != self.key:
            return None
        torch.set_rng_state(found["torch_rng"])
        if torch.cuda.is_available() and found["cuda_rng"]:
            torch.cuda.set_rng_state_all(found["cuda_rng"])
        state: dict[str, Any] = found["state"]
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Write tensors, numbers, strings, and dicts and lists of those; the random states of torch go with them."""
        random = {
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        stream_atomic(self.path, lambda file: torch.save({"key": self.key, "state": state, **random}, file))

    def remove(self) -> None:
        """Forget it: the training is done."""
        self.path.unlink(missing_ok=True)


class Checkpoints:
    """The checkpoints of a training in several stages, each a file of its stage's name in one folder.

    A stage that is done keeps its last one until the whole training is, so that it is not done again.

    Attributes:
        folder: theirs alone.
        key: what identifies the training's inputs: data, settings, seed.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key

    def of(self, stage: str) -> Checkpoint:
        """Return the checkpoint of one stage."""
        return Checkpoint(self.folder / f"{stage}.checkpoint", f"{self.key} {stage}")

    def under(self, name: str) -> "Checkpoints":
        """Return the checkpoints of a part of the training that has the same stages as other parts."""
        return Checkpoints(self.folder / name, f"{self.key} {name}")

    @property
    def vectors(self) -> Path:
        """Where encodings keep the vectors of texts as they come."""
        return self.folder / "vectors"

    def remove(self) -> None:
        """Forget all of them: the training is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


class TrainingState:
    """What every training loop carries from step to step beside its weights, and how a checkpoint keeps it.

    Attributes:
        optimizer: of the weights that are trained.
        schedule: of its learning rate; it takes a step whenever the optimiser does.
        rng: what the loop draws from.
        history: the loop's records, one an epoch or one a round.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        rng: np.random.Generator,
    ) -> None:
        self._checkpoint = checkpoint
        self.optimizer, self.schedule, self.rng = optimizer, schedule, rng
        self.history: list[dict[str, float]] = []

    @property
    def steps(self) -> int:
        """How many steps were taken, those before a restart included."""
        return int(self.schedule.last_epoch)

    def step(self, loss: torch.Tensor, weights: Sequence[torch.Tensor], setting: str) -> float:
        """Take one step down a loss, the gradient of some weights cut to its longest; return the loss.

        Raises:
            DivergedError: it is not finite; the message names the epoch, and the setting to lower.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM)
        check_descent(loss, norm, f"epoch {len(self.history) + 1}", setting)
        self.optimizer.step()
        self.schedule.step()
        note_loss(loss.detach().item)
        return loss.item()

    def restore(self) -> dict[str, Any] | None:
        """Go on, in place, from where the checkpoint stands; return what else was saved there, None where nothing was.

        The random states of torch are set too: draw nothing from them between this and the first step.
        """
        found = self._checkpoint.load() if self._checkpoint else None
        if found is None:
            return None
        self.optimizer.load_state_dict(found["optimizer"])
        self.schedule.load_state_dict(found["schedule"])
        self.rng.bit_generator.state = found["rng"]
        self.history[:] = found["history"]
        own: dict[str, Any] = found["own"]
        return own

    def save(self, own: dict[str, Any]) -> None:
        """Replace the checkpoint, where there is one, by this state and what the loop has of its own: its weights."""
        if self._checkpoint:
            self._checkpoint.save(
                {
                    "optimizer": self.optimizer.state_dict(),
                    "schedule": self.schedule.state_dict(),
                    "rng": generator_state(self.rng),
                    "history": self.history,
                    "own": own,
                }
            )


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return the state of a NumPy generator as a checkpoint can hold it."""
    return dict(rng.bit_generator.state)


def restored_generator(state: dict[str, Any]) -> np.random.Generator:
    """Return a generator that goes on from a state."""
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    return rng


def checkpoint_of(checkpoints: Checkpoints | None, stage: str) -> Checkpoint | None:
    """Return the checkpoint of one stage where there are checkpoints."""
    return checkpoints.of(stage) if checkpoints else None


def vectors_of(checkpoints: Checkpoints | None) -> Path | None:
    """Return where an encoding keeps vectors where there are checkpoints."""
    return checkpoints.vectors if checkpoints else None
