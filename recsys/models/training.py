"""Training: the two towers over fixed text vectors, and the LoRA adapter through the user tower.

Both minimise the same cross-entropy over the whole catalogue. Same inputs, settings and seed give the same weights.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from recsys.config import AdapterConfig, TowerConfig
from recsys.models.backbone import Backbone
from recsys.models.descent import Descent, check_descent
from recsys.models.devices import Team, autocast, computes_bf16, default_device, fitting_memory
from recsys.models.histories import HistoryBatch, history_batches, training_windows
from recsys.models.losses import catalogue_cross_entropy
from recsys.models.sampling import softmax_items
from recsys.models.texts import LEAST_TOKENS, Progress, Tokens, embed, forward
from recsys.models.tower import TowerShape, TwoTower, Whitening
from recsys.sequences import Sequences

WARMUP_STEPS = 200
ENCODE_TOKENS = 2048  # padded tokens encoded with gradient at once
LONG_HISTORY = 50  # median events a user above which two blocks pay
MANY_EVENTS = 400_000  # from here on a longer window pays as well; fewer events are learnt from better in short ones
Validate = Callable[[TwoTower], float]


@dataclass(frozen=True)
class TowerRun:
    """Trained towers and how they came about.

    Attributes:
        towers: frozen, ready to score.
        history: one record an epoch: epoch, loss, validation.
        epochs: epochs behind the weights that were kept.
    """

    towers: TwoTower
    history: list[dict[str, float]]
    epochs: int


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

    Raises:
        ValueError: no history has two events.
        DivergedError: the loss is not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    device = default_device()
    shape = tower_shape(train, 0 if features is None else features.shape[1], catalogue, config)
    towers = TwoTower(shape, features).to(device)
    towers.items.set_known(np.bincount(train.items, minlength=catalogue))
    windows = training_windows(train, shape.max_history)
    positions = int((windows.lengths - 1).sum())
    if positions == 0:
        raise ValueError("No user has two training events, so there is nothing to learn from. Ingest more behaviour.")
    size = config.batch_tokens or batch_tokens(positions, is_long(train))
    steps_per_epoch = math.ceil(positions / size)
    if steps is not None:
        epochs = math.ceil(steps / steps_per_epoch)
    limit = epochs or config.epochs or _epochs(positions, is_long(train))
    optimizer = _optimizer(towers, config)
    schedule = _schedule(optimizer, limit * steps_per_epoch)
    low = computes_bf16(device)
    descent = Descent()

    history: list[dict[str, float]] = []
    best_figure, best_epoch, best_state = -math.inf, 0, copy.deepcopy(towers.state_dict())
    step = 0
    for epoch in range(1, limit + 1):
        towers.train()
        losses = []
        for batch in history_batches(windows, size, config.future_items, config.future_decay, rng, device):
            loss = descent.gradient(
                list(towers.parameters()), batch, lambda part, draws: _step(towers, part, config, low, draws), rng
            )
            norm = nn.utils.clip_grad_norm_(towers.parameters(), 5.0)
            check_descent(loss, norm, f"epoch {epoch}", "tower.learning_rate")
            optimizer.step()
            schedule.step()
            losses.append(loss)
            step += 1
            if progress:
                progress(min(step, limit * steps_per_epoch), limit * steps_per_epoch)
        record = {"epoch": float(epoch), "loss": float(torch.stack(losses).mean())}
        if validate is not None and epochs is None:
            record["validation"] = figure = validate(towers.freeze())
            if figure > best_figure:
                best_figure, best_epoch, best_state = figure, epoch, copy.deepcopy(towers.state_dict())
        else:
            best_epoch, best_state = epoch, towers.state_dict()
        history.append(record)
        if validate is not None and epochs is None and epoch - best_epoch >= config.patience:
            break
    towers.load_state_dict(best_state)
    return TowerRun(towers.freeze(), history, best_epoch)


def train_adapter(
    backbone: Backbone,
    tokens: Tokens,
    train: Sequences,
    config: AdapterConfig,
    tower_config: TowerConfig,
    seed: int,
    warm: TwoTower,
    frozen: NDArray[np.float32],
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Fine-tune the backbone's LoRA weights so that the towers over its text vectors predict the next item better.

    Each round takes the user tower's loss over the stored vectors of the whole catalogue, encodes a part of the
    catalogue in small batches, carries the gradient at the stored vectors back into BERT through them, and stores the
    new ones. A stored vector is at most one pass over the catalogue old; memory follows the small batch, not the
    catalogue.

    Args:
        backbone: a base with LoRA weights; trained in place.
        tokens: the catalogue's texts.
        train: the training histories.
        config: the adapter's settings.
        tower_config: settings of the loss.
        seed: fixes order and dropout.
        warm: towers trained on the frozen vectors; they go on learning here and are thrown away.
        frozen: (catalogue, hidden) vectors of the base without the adapter.

    Returns:
        One record a round: round, loss.

    Raises:
        DivergedError: the loss is not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    device = backbone.device
    whitening = Whitening.fit(frozen)
    mean, matrix = (torch.from_numpy(array).to(device) for array in (whitening.mean, whitening.matrix))
    stored = torch.tensor(frozen, device=device)  # a copy: the caller's vectors stay those of the base
    towers = copy.deepcopy(warm).to(device).train()
    windows = training_windows(train, warm.shape.max_history)
    rounds = config.rounds if config.rounds is not None else _rounds(tokens)
    lora = [weight for weight in backbone.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": lora, "lr": config.learning_rate},
            {"params": list(towers.parameters()), "lr": tower_config.learning_rate / 10},
        ],
        betas=(0.9, 0.98),
        weight_decay=0.0,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _warm_cosine(step, min(10, rounds // 5), rounds)
    )
    low = computes_bf16(device)
    size = 4 * batch_tokens(len(windows.items), is_long(train))  # a gradient for BERT, which few users would make noisy
    batches = _endless(windows, size, tower_config, rng, device)
    descent, encode_tokens = Descent(), ENCODE_TOKENS
    order = np.empty(0, dtype=np.int64)
    records = []
    backbone.model.eval()  # without dropout: the gradient must belong to the vectors that were stored
    for number in range(1, rounds + 1):
        if len(order) == 0:
            order = rng.permutation(len(tokens))
        chosen, order = order[: config.items_per_round], order[config.items_per_round :]
        leaf = stored.clone().requires_grad_(True)

        def loss_of(part: HistoryBatch, draws: np.random.Generator, leaf: torch.Tensor = leaf) -> torch.Tensor:
            towers.features = (leaf - mean) @ matrix
            return _step(towers, part, tower_config, low, draws)

        loss = descent.gradient([*towers.parameters(), leaf], next(batches), loss_of, rng)
        assert leaf.grad is not None
        encode_tokens = carry_back(backbone, tokens, chosen, leaf.grad, stored, lora, descent.team, encode_tokens)
        norm = nn.utils.clip_grad_norm_(lora, 1.0)
        check_descent(loss, norm, f"round {number}", "adapter.learning_rate")
        optimizer.step()
        schedule.step()
        records.append({"round": float(number), "loss": loss.item()})
        if progress:
            progress(number, rounds)
    return records


def carry_back(
    backbone: Backbone,
    tokens: Tokens,
    chosen: NDArray[np.integer],
    gradient: torch.Tensor,
    stored: torch.Tensor,
    lora: Sequence[torch.Tensor],
    team: Team,
    size: int,
) -> int:
    """Encode some texts, carry the gradient at their vectors back into the LoRA weights, and store the new vectors.

    Args:
        backbone: carries the LoRA weights.
        tokens: the catalogue's texts.
        chosen: the texts to encode; the processes of the team share them.
        gradient: (catalogue, hidden), at the stored vectors.
        stored: (catalogue, hidden), changed in place.
        lora: weights whose gradient is set.
        team: who trains together.
        size: padded tokens encoded at once.

    Returns:
        The size that fitted into memory.
    """
    found = torch.zeros_like(stored[: len(chosen)])
    places = torch.full((len(stored),), -1, device=stored.device)
    places[torch.from_numpy(chosen).to(stored.device)] = torch.arange(len(chosen), device=stored.device)

    def attempt(budget: int) -> None:
        found.zero_()
        for weight in lora:
            weight.grad = None
        for part in team.share(tokens.buckets(chosen, budget)):
            with autocast(stored.device):
                vectors = functional.normalize(forward(backbone, tokens, part), dim=1)
            rows = torch.from_numpy(part).to(stored.device)
            vectors.backward(gradient[rows])
            found[places[rows]] = vectors.detach()

    size = fitting_memory(attempt, size, LEAST_TOKENS, "fine-tuning BERT", team)
    team.sum_gradients(lora)
    stored[torch.from_numpy(chosen).to(stored.device)] = team.sum(found)
    return size


def text_features(vectors: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], Whitening]:
    """Return whitened features of the vectors side by side, and the map that made them from (items, total width)."""
    joined = np.concatenate(vectors, axis=1)
    whitening = Whitening.fit(joined)
    return whitening.apply(joined), whitening


def embed_catalogue(backbone: Backbone, tokens: Tokens, progress: Progress | None = None) -> NDArray[np.float32]:
    """Return unit vectors of all texts, (items, hidden)."""
    vectors = embed(backbone, tokens, progress)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _step(
    towers: TwoTower, batch: HistoryBatch, config: TowerConfig, low: bool, rng: np.random.Generator
) -> torch.Tensor:
    """Return the loss of one batch over the known items; nothing is known against the others."""
    items = towers.items
    among = softmax_items(items.known_items, batch, config.max_softmax_items, rng)
    histories, rows, softmax_rows = batch.items, None, among.items
    if among.sampled:  # vectors of what this step needs, no others
        rows = torch.unique(torch.cat([batch.items[batch.items >= 0], among.items]))
        histories = torch.where(batch.items >= 0, torch.searchsorted(rows, batch.items.contiguous()), -1)
        softmax_rows = torch.searchsorted(rows, among.items)
    with torch.autocast(batch.items.device.type, dtype=torch.bfloat16, enabled=low):
        vectors = towers.item_vectors(rows)
        hidden, real = towers.encode(histories, vectors)
    bias = items.item_bias()[among.items] + among.corrections
    # A padded target weighs nothing but is looked up all the same.
    targets = among.places(batch.targets)
    return catalogue_cross_entropy(
        hidden[real].float(), vectors[softmax_rows], bias, items.scale, targets, batch.weights, low
    )


def _endless(
    windows: Sequences, size: int, config: TowerConfig, rng: np.random.Generator, device: torch.device
) -> Iterator[HistoryBatch]:
    while True:
        yield from history_batches(windows, size, config.future_items, config.future_decay, rng, device)


def _optimizer(towers: TwoTower, config: TowerConfig) -> torch.optim.AdamW:
    decayed = [weight for weight in towers.parameters() if weight.ndim >= 2]
    plain = [weight for weight in towers.parameters() if weight.ndim < 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    rate = config.learning_rate * (1 if towers.shape.features else 2)  # ids alone start from nothing
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def _schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _warm_cosine(step, min(WARMUP_STEPS, steps // 5), steps)
    )


def _warm_cosine(step: int, warmup: int, steps: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def batch_tokens(positions: int, long: bool) -> int:
    """Return how many positions share a step: small batches learn more from few events, long rows need larger ones."""
    if positions < 100_000:
        return 1024 if long else 512
    return 1024 if positions < MANY_EVENTS else 2048


def _epochs(positions: int, long: bool) -> int:
    if long:
        return 14  # every user gives many positions, so fewer epochs show the towers enough
    return 10 if positions >= MANY_EVENTS else 20


def _rounds(tokens: Tokens) -> int:
    # Two passes over the catalogue: this is the dearest stage, and six passes did not beat frozen text.
    return max(12, 2 * len(tokens) // 512)
