"""Towers that go on learning: carried over to a newer catalogue, then trained on what is new and a replay of the rest.

Replay (rehearsal: Robins, 1995) keeps the towers from forgetting: every epoch goes through all windows that hold a new
event, and through older ones drawn anew.
"""

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.callbacks import Progress
from recsys.config import ResumeConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.models.checkpoints import Checkpoint
from recsys.models.devices import default_device
from recsys.models.towers.batches import newer_windows
from recsys.models.towers.epochs import Course, TowerRun, Validate, run_epochs
from recsys.models.towers.tower import TwoTower
from recsys.models.towers.training import batch_tokens, is_long, tower_rate


def carried_over(
    towers: TwoTower, rows: NDArray[np.int64], features: NDArray[np.float32] | None, seed: int
) -> TwoTower:
    """Return a copy of trained towers over another catalogue.

    Args:
        towers: trained, or loaded.
        rows: (catalogue,) each item's row in the catalogue of ``towers``, -1 where it has none.
        features: (catalogue, width) whitened text vectors, by the whitening of ``towers``; None for ids alone.
        seed: of the vectors of new items where there are ids alone.

    A new item, and one that ``towers`` had no events of, begins with its text alone and the bias of a rare item.
    """
    torch.manual_seed(seed)
    copied = TwoTower(replace(towers.shape, catalogue=len(rows)), features)
    state = {name: weight.detach().cpu().clone() for name, weight in towers.state_dict().items()}
    known = state["items.known"].squeeze(1) > 0
    places = torch.from_numpy(np.maximum(rows, 0))
    kept = torch.from_numpy(rows >= 0) & known[places]
    residual = copied.items.residual.detach().clone()
    if towers.shape.features:
        residual.zero_()
    residual[kept] = state["items.residual"][places[kept]]
    bias = torch.full((len(rows),), towers.items.new_item_bias().item())
    bias[kept] = state["items.bias"][places[kept]]
    rare = torch.zeros(len(rows), dtype=torch.bool)
    rare[kept] = state["items.rare"][places[kept]]
    state |= {
        "items.residual": residual,
        "items.bias": bias,
        "items.known": kept[:, None].float(),
        "items.rare": rare,
    }
    copied.load_state_dict(state)
    return copied.to(default_device()).freeze()


def continue_towers(
    start: TwoTower,
    features: NDArray[np.float32] | None,
    train: Sequences,
    learnt: NDArray[np.int64],
    config: TowerConfig,
    resume: ResumeConfig,
    seed: int,
    validate: Validate | None = None,
    epochs: int | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> TowerRun:
    """Train a copy of some towers on the newer events of every history, and on a replay of older ones.

    Args:
        start: over the same catalogue as ``features``; its shape stays.
        features: (catalogue, width) whitened text vectors, by the whitening of ``start``; None for ids alone.
        train: the training histories, older events included.
        learnt: (rows,) how many events from the beginning of each history ``start`` has learnt from.
        config: settings of the loss and of the optimiser.
        resume: how long, how fast and how much replay.
        seed: fixes order and dropout.
        validate: returns a figure to maximise; the best epoch is kept, or ``start`` if none is better.
        epochs: train exactly this long, without validation.
        progress: called with steps done and steps at most.
        checkpoint: where the training stands after each epoch; a killed one goes on from there.

    Raises:
        DivergedError: the loss is not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    towers = copy.deepcopy(start).to(default_device())
    if features is not None:
        towers.features = torch.from_numpy(features).to(default_device())
    train, learnt = train.taught(), train.taught_before(learnt)
    towers.items.set_known(np.bincount(train.counting(), minlength=start.shape.catalogue))
    newer, older = newer_windows(train, learnt, start.shape.max_history)
    positions = _positions(newer)
    # As large as when all of it was learnt from: what is new is often little, and noise undoes what is known.
    size = config.batch_tokens or batch_tokens(_positions(newer) + _positions(older), is_long(train))
    steps = math.ceil((positions + min(resume.replay * positions, _positions(older))) / size)
    course = Course(
        epochs=resume.epochs if epochs is None else epochs,
        steps=steps,
        size=size,
        rate=resume.rate * tower_rate(start.shape, config),
        validate=validate if epochs is None else None,
        floor=-math.inf if validate is None or epochs is not None else validate(towers.freeze()),
    )
    return run_epochs(
        towers, lambda draws: with_replay(newer, older, resume.replay, draws), config, course, rng, progress, checkpoint
    )


def with_replay(newer: Sequences, older: Sequences, replay: float, rng: np.random.Generator) -> Sequences:
    """Return the newer windows, and so many older ones that they hold ``replay`` times as many positions."""
    order = rng.permutation(len(older))
    enough = np.cumsum(older.lengths[order] - 1) <= replay * _positions(newer)
    chosen = np.sort(order[enough])
    drawn = older.take(chosen)
    return Sequences.joined([newer, drawn])


def _positions(windows: Sequences) -> int:
    return int((windows.lengths - 1).sum())
