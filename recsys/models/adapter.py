"""The LoRA adapter, trained through the user tower on next-item prediction."""

import copy
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from recsys.callbacks import Progress, note_loss
from recsys.config import AdapterConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.models.checkpoints import Checkpoint, TrainingState, generator_state, restored_generator
from recsys.models.devices import Team, autocast, computes_bf16, fitting_memory
from recsys.models.encoder.backbone import Backbone, lora_weights, set_lora_weights
from recsys.models.encoder.tokens import LEAST_TOKENS, Tokens, forward, prepared
from recsys.models.optimisation import MAX_GRADIENT_NORM, check_descent, warm_cosine
from recsys.models.stored import SampledVectors, StoredVectors, move
from recsys.models.towers.batches import HistoryBatch, history_batches, training_windows
from recsys.models.towers.descent import Descent
from recsys.models.towers.epochs import tower_loss
from recsys.models.towers.tower import TwoTower
from recsys.models.towers.training import batch_tokens, is_long
from recsys.models.towers.whitening import Whitening

ENCODE_TOKENS = {"cpu": 2048, "cuda": 131_072}  # padded tokens encoded with gradient at once
WARM_STEPS = 150  # of the towers that the adapter learns through
ROUNDS, LEAST_ROUNDS = 12, 2  # of the adapter, where two passes over the catalogue are fewer
MANY_TEXTS = 1_024  # from here on a catalogue gets all of these rounds
CHECKPOINT_ROUNDS = 5  # of the adapter's training from one checkpoint to the next, at least
MOST_CHECKPOINTS = 50  # of a training: each holds the catalogue's vectors


def train_adapter(
    backbone: Backbone,
    tokens: Tokens,
    train: Sequences,
    config: AdapterConfig,
    tower_config: TowerConfig,
    seed: int,
    warm: TwoTower,
    vectors: NDArray[np.float32],
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    fixed: NDArray[np.float32] | None = None,
    whitening: Whitening | None = None,
) -> list[dict[str, float]]:
    """Fine-tune the backbone's LoRA weights so that the towers over its text vectors predict the next item better.

    Each round takes the user tower's loss over the stored vectors of the whole catalogue, encodes a part of the
    catalogue in small batches, carries the gradient at the stored vectors back into BERT through them, and stores the
    new ones. A stored vector is at most one pass over the catalogue old, but for what all of them move by in common;
    memory follows the small batch, not the catalogue. Where the softmax is taken over a sample, that holds the texts
    of the round, no other row is read, and texts of items without events are not encoded: time follows the passes.

    Args:
        backbone: a base with LoRA weights; trained in place.
        tokens: the catalogue's texts.
        train: the training histories.
        config: the adapter's settings.
        tower_config: settings of the loss.
        seed: fixes order and dropout.
        warm: towers that can read the vectors; they go on learning here and are thrown away.
        vectors: (catalogue, hidden) vectors of the backbone as it is.
        progress: called with rounds done and rounds in all.
        checkpoint: where the training stands every few rounds; a killed one goes on from there.
        fixed: (catalogue, width) vectors that the towers read to the left of these, and that stay; None: no others.
        whitening: the map from all of these side by side to the towers' features; None: fitted on them.

    Returns:
        One record a round: round, loss.

    Raises:
        DivergedError: the loss is not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    device = backbone.device
    whitening = whitening or Whitening.fit(vectors if fixed is None else np.concatenate([fixed, vectors], axis=1))
    # What no step writes to is shared. The features are replaced in every round.
    towers = copy.deepcopy(warm, {id(one): one for one in (warm.features, warm.vectors)}).to(device).train()
    known = towers.items.known_items
    sampled = len(known) > tower_config.max_softmax_items
    if sampled:
        del towers.features  # a buffer, and what stands for it is none
    kind = SampledVectors if sampled else StoredVectors
    store = kind(vectors, vectors[:, :0] if fixed is None else fixed, whitening, device)
    learning = known.cpu().numpy() if sampled else np.arange(len(tokens))  # a gradient reaches no others
    rounds = config.rounds if config.rounds is not None else adapter_rounds(learning)
    lora = [weight for weight in backbone.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": lora, "lr": config.learning_rate},
            {"params": list(towers.parameters()), "lr": tower_config.learning_rate / 10},
        ],
        betas=(0.9, 0.98),
        weight_decay=0.0,
        fused=device.type == "cuda",
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warm_cosine(step, min(10, rounds // 5), rounds)
    )
    low = computes_bf16(device)
    train = train.taught()
    batches = _Batches(training_windows(train, warm.shape.max_history), is_long(train), tower_config, device)
    runner, shaped = prepared(backbone, tokens, rounds * config.items_per_round)
    order = np.empty(0, dtype=np.int64)
    state = TrainingState(checkpoint, optimizer, schedule, rng)
    records, found = state.history, state.restore()
    if found is not None:
        set_lora_weights(backbone, found["lora"])
        towers.load_state_dict(found["towers"])
        store.restore(found["stored"])
        order = found["order"].numpy()
        batches.restore(found["batches"])
    descent, encode_tokens = Descent(steps=state.steps), ENCODE_TOKENS[device.type]

    backbone.model.eval()  # without dropout: the gradient must belong to the vectors that were stored
    for number in range(len(records) + 1, rounds + 1):
        if len(order) == 0:
            order = rng.permutation(learning)
        chosen, order = order[: config.items_per_round], order[config.items_per_round :]
        rows = torch.from_numpy(chosen).to(device)
        leaf = store.leaf(rows)

        def loss_of(
            part: HistoryBatch, draws: np.random.Generator, leaf: torch.Tensor = leaf, rows: torch.Tensor = rows
        ) -> torch.Tensor:
            towers.features = store.features(leaf, rows)
            return tower_loss(towers, part, tower_config, low, draws, rows if sampled else None)

        loss = descent.gradient([*towers.parameters(), leaf], batches.next(rng), loss_of, rng)
        assert leaf.grad is not None
        fresh, encode_tokens = encode_back(
            runner, shaped, chosen, store.at(leaf.grad, rows), lora, descent.team, encode_tokens
        )
        store.renew(rows, fresh)
        norm = nn.utils.clip_grad_norm_(lora, MAX_GRADIENT_NORM)
        check_descent(loss, norm, f"round {number}", "adapter.learning_rate")
        optimizer.step()
        schedule.step()
        records.append({"round": float(number), "loss": loss.item()})
        note_loss(loss.item)
        if progress:
            progress(number, rounds)
        if number % max(CHECKPOINT_ROUNDS, rounds // MOST_CHECKPOINTS) == 0 or number == rounds:
            state.save(
                {
                    "lora": lora_weights(backbone),
                    "towers": towers.state_dict(),
                    "stored": store.state(),
                    "order": torch.from_numpy(order),
                    "batches": batches.state(),
                }
            )
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
    rows = torch.from_numpy(chosen).to(stored.device)
    fresh, size = encode_back(backbone, tokens, chosen, gradient[rows], lora, team, size)
    move(stored, rows, fresh)
    return size


def encode_back(
    backbone: Backbone,
    tokens: Tokens,
    chosen: NDArray[np.integer],
    gradient: torch.Tensor,
    lora: Sequence[torch.Tensor],
    team: Team,
    size: int,
) -> tuple[torch.Tensor, int]:
    """Encode some texts and carry the gradient at their vectors back into the LoRA weights.

    Args:
        backbone: carries the LoRA weights.
        tokens: the catalogue's texts.
        chosen: the texts to encode; the processes of the team share them.
        gradient: (chosen, hidden), at their vectors.
        lora: weights whose gradient is set.
        team: who trains together.
        size: padded tokens encoded at once.

    Returns:
        The new vectors, (chosen, hidden), and the size that fitted into memory.
    """
    found = torch.zeros_like(gradient)
    order = np.argsort(chosen)

    def attempt(budget: int) -> None:
        found.zero_()
        for weight in lora:
            weight.grad = None
        for part in team.share(tokens.buckets(chosen, budget)):
            with autocast(found.device):
                vectors = functional.normalize(forward(backbone, tokens, part), dim=1)
            rows = torch.from_numpy(order[np.searchsorted(chosen[order], part)]).to(found.device)
            vectors.backward(gradient[rows])
            found[rows] = vectors.detach()

    size = fitting_memory(attempt, size, LEAST_TOKENS, "fine-tuning BERT", team)
    team.sum_gradients(lora)
    return team.sum(found), size


class _Batches:
    """Batches for the adapter's rounds, epoch after epoch, from a place that a checkpoint can hold."""

    def __init__(self, windows: Sequences, long: bool, config: TowerConfig, device: torch.device) -> None:
        self._windows = windows
        self._size = 4 * batch_tokens(len(windows.items), long)  # a gradient for BERT, which few users make noisy
        self._config = config
        self._device = device
        self._epoch: Iterator[HistoryBatch] = iter(())
        self._began: dict[str, Any] | None = None  # the generator's state before the epoch
        self._taken = 0

    def next(self, rng: np.random.Generator) -> HistoryBatch:
        """Return the next batch; an epoch draws its whole order from ``rng`` as it begins."""
        batch = next(self._epoch, None)
        if batch is None:
            self._began, self._taken = generator_state(rng), 0
            self._epoch = self._new_epoch(rng)
            batch = next(self._epoch)
        self._taken += 1
        return batch

    def state(self) -> dict[str, Any]:
        """Return the place as a checkpoint can hold it."""
        return {"began": self._began, "taken": self._taken}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a place that ``state`` returned."""
        self._began, self._taken = state["began"], state["taken"]
        self._epoch = self._new_epoch(restored_generator(state["began"]))
        for _ in range(self._taken):
            next(self._epoch)

    def _new_epoch(self, rng: np.random.Generator) -> Iterator[HistoryBatch]:
        config = self._config
        return history_batches(self._windows, self._size, config.future_items, config.future_decay, rng, self._device)


def adapter_rounds(encoded: Sized) -> int:
    """Return how many rounds fine-tune a catalogue's texts where the settings leave it open."""
    # Two passes over the catalogue: this is the dearest stage, and six passes did not beat frozen text.
    texts = len(encoded)
    return max(min(ROUNDS, max(LEAST_ROUNDS, ROUNDS * texts // MANY_TEXTS)), 2 * texts // 512)
