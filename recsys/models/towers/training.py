"""Training the two towers over fixed text vectors, or over ids alone; what settings leave open is chosen from the data.

They minimise the cross-entropy over the whole catalogue. Same inputs, settings and seed give the same weights.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.callbacks import Progress
from recsys.config import TowerConfig
from recsys.data.sequences import Sequences
from recsys.errors import DataError
from recsys.models.checkpoints import Checkpoint
from recsys.models.devices import default_device
from recsys.models.towers.batches import training_windows
from recsys.models.towers.epochs import Course, TowerRun, Validate, run_epochs
from recsys.models.towers.tower import TowerShape, TwoTower

LONG_HISTORY = 50  # median events a user above which two blocks pay
MANY_EVENTS = 400_000  # from here on a longer window pays as well; fewer events are learnt from better in short ones


def is_long(train: Sequences) -> bool:
    """Tell whether the median training history is long."""
    lengths = train.lengths[train.lengths > 0]
    return bool(len(lengths)) and float(np.median(lengths)) > LONG_HISTORY


def learns_ids(train: Sequences) -> bool:
    """Tell whether events are many enough for towers over ids alone to see what towers over texts do not."""
    return is_long(train) and len(train.items) >= MANY_EVENTS


def tower_shape(train: Sequences, features: int, catalogue: int, config: TowerConfig) -> TowerShape:
    """Choose what the configuration leaves open from the number and the length of the training histories."""
    long = is_long(train)
    window = 200 if long and len(train.items) >= MANY_EVENTS else 50
    return TowerShape(
        features=features,
        catalogue=catalogue,
        dimensions=config.dimensions,
        blocks=config.blocks if config.blocks is not None else (2 if long else 1),
        heads=config.heads,
        max_history=config.max_history if config.max_history is not None else window,
        dropout=config.dropout if config.dropout is not None else (0.2 if long else 0.5),
        residual_norm=config.residual_norm,
        max_scale=config.max_scale,
        max_bias=config.max_bias,
        kinds=0 if train.signals is None else len(train.signals.roles),
    )


def train_towers(
    features: NDArray[np.float32] | None,
    train: Sequences,
    catalogue: int,
    config: TowerConfig,
    seed: int,
    validate: Validate | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> TowerRun:
    """Train both towers by next-item prediction at every position of every history.

    Args:
        features: (catalogue, width) whitened text vectors; None trains on ids alone.
        train: the training histories.
        catalogue: number of items.
        config: settings; what is None is chosen from the data.
        seed: fixes initialisation, order and dropout.
        validate: returns a figure to maximise; with it the best epoch is kept and training stops early.
        epochs: train exactly this long, without validation (a refit with a known number of epochs).
        steps: likewise for as many epochs as hold this many steps.
        progress: called with steps done and steps at most.
        checkpoint: where the training stands after each epoch; a killed one goes on from there.

    Raises:
        DataError: no history has two events.
        DivergedError: the loss is not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    device = default_device()
    train = train.taught()
    shape = tower_shape(train, 0 if features is None else features.shape[1], catalogue, config)
    towers = TwoTower(shape, features).to(device)
    towers.items.set_known(np.bincount(train.counting(), minlength=catalogue))
    windows = training_windows(train, shape.max_history)
    positions = int((windows.lengths - 1).sum())
    if positions == 0:
        raise DataError("No user has two training events, so there is nothing to learn from. Ingest more behaviour.")
    size = config.batch_tokens or batch_tokens(positions, is_long(train))
    steps_per_epoch = math.ceil(positions / size)
    if steps is not None:
        epochs = math.ceil(steps / steps_per_epoch)
    limit = epochs or config.epochs or _epochs(positions, is_long(train))
    course = Course(limit, steps_per_epoch, size, tower_rate(shape, config), validate if epochs is None else None)
    return run_epochs(towers, lambda _: windows, config, course, rng, progress, checkpoint)


def tower_rate(shape: TowerShape, config: TowerConfig) -> float:
    """Return the learning rate of towers of some shape."""
    return config.learning_rate * (1 if shape.features else 2)  # ids alone start from nothing


def batch_tokens(positions: int, long: bool) -> int:
    """Return how many positions share a step: small batches learn more from few events, long rows need larger ones."""
    if positions < 100_000:
        return 1024 if long else 512
    return 1024 if positions < MANY_EVENTS else 2048


def _epochs(positions: int, long: bool) -> int:
    if long:
        return 14  # every user gives many positions, so fewer epochs show the towers enough
    return 10 if positions >= MANY_EVENTS else 20
