"""Training a text classifier: LoRA weights and a softmax head by cross-entropy, judged by a mean of the weights."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from recsys.callbacks import Progress
from recsys.config import ClassifierConfig
from recsys.errors import DataError
from recsys.models.checkpoints import Checkpoint, TrainingState
from recsys.models.encoder.backbone import add_lora, load_backbone, lora_weights, set_lora_weights
from recsys.models.encoder.classifier import Classifier, LabelledTexts, numbered
from recsys.models.encoder.fitting import check_fit
from recsys.models.encoder.tokens import Tokens, tokenize
from recsys.models.optimisation import warm_linear

SORTED_BATCHES = 64  # batches that are cut from one shuffled part after sorting it by length
AVERAGING_DELAY = 10  # the mean over the first n steps forgets by n / (n + this)


@dataclass(frozen=True)
class ClassifierRun:
    """A trained classifier and how it came about.

    Attributes:
        classifier: with the weights of the best epoch.
        history: one record an epoch: epoch, train_loss, train_accuracy (both while training), dev_loss, dev_accuracy.
        epochs: epochs behind the weights that were kept.
    """

    classifier: Classifier
    history: list[dict[str, float]]
    epochs: int


def train_classifier(
    train: LabelledTexts,
    dev: LabelledTexts,
    config: ClassifierConfig,
    seed: int,
    progress: Progress | None = None,
    each_epoch: Callable[[dict[str, float]], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> ClassifierRun:
    """Train LoRA weights and a softmax head with AdamW; the epoch with the best accuracy on ``dev`` is kept.

    Epochs are judged, and kept, with a running mean of the weights over the last steps (Polyak, Juditsky 1992): it lies
    where the noise of single batches has averaged out.

    Args:
        train: what is learnt from; its labels, sorted, are those of the classifier.
        dev: what the epochs are judged by. Of two epochs with one accuracy the one with the lower loss wins.
        config: settings.
        seed: fixes initialisation, order and dropout.
        progress: called with steps done and steps at most.
        each_epoch: called with an epoch's record.
        checkpoint: where the training stands after each epoch; a killed one goes on from there.

    Raises:
        DataError: there are fewer than two labels, or ``dev`` has one that ``train`` has not.
        DivergedError: the loss, or its gradient, is not finite.
    """
    labels = sorted(set(train.labels))
    if len(labels) < 2:
        raise DataError(f"The training texts have one label only ({labels[0]!r}). Give texts of at least two.")
    base = load_backbone(config.lora.base)
    check_fit(base, config.lora, config.max_tokens, "lora", "max_tokens")
    backbone = add_lora(base, config.lora, seed, config.dropout)
    for module in backbone.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.dropout  # the base's own are meant for pre-training
    head = nn.Linear(backbone.hidden_size, len(labels)).to(backbone.device)
    classifier = Classifier(backbone, head, labels, config.max_tokens)
    targets, wanted = (numbered(part, labels) for part in (train, dev))
    tokens, dev_tokens = (tokenize(backbone, part.texts, config.max_tokens) for part in (train, dev))

    rng = np.random.default_rng(seed)
    steps_per_epoch = math.ceil(len(train) / config.batch_size)
    steps = config.epochs * steps_per_epoch
    weights = [weight for weight in (*backbone.model.parameters(), *head.parameters()) if weight.requires_grad]
    fused = backbone.device.type == "cuda"
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_linear(step, steps))
    averaged = [weight.detach().clone() for weight in weights]
    state = TrainingState(checkpoint, optimizer, schedule, rng)
    history = state.history
    best: dict[str, Any] = {"order": (-math.inf, -math.inf), "epoch": 0, "weights": _weights(classifier)}
    found = state.restore()
    if found is not None:
        _set_weights(classifier, found["weights"])
        _set(averaged, found["averaged"])
        best = found["best"]

    while len(history) < config.epochs and len(history) - best["epoch"] < config.patience:
        losses, right = 0.0, 0
        backbone.model.train()
        for batch in _batches(tokens, config.batch_size, rng):
            logits = classifier.logits(tokens, batch, config.dropout)
            batch_targets = torch.from_numpy(targets[batch]).to(logits.device)
            loss = functional.cross_entropy(logits, batch_targets)
            losses += state.step(loss, weights, "learning_rate") * len(batch)
            _average(averaged, weights, min(config.averaging, state.steps / (state.steps + AVERAGING_DELAY)))
            right += int((logits.argmax(1) == batch_targets).sum())
            if progress:
                progress(state.steps, steps)
        with _swapped(weights, averaged):
            judged = classifier.judge(dev_tokens, wanted)
            kept = _weights(classifier)
        history.append(
            {
                "epoch": float(len(history) + 1),
                "train_loss": losses / len(train),
                "train_accuracy": right / len(train),
                "dev_loss": judged.loss,
                "dev_accuracy": judged.accuracy,
            }
        )
        if (judged.accuracy, -judged.loss) > tuple(best["order"]):
            best = {
                "order": (judged.accuracy, -judged.loss),
                "epoch": len(history),
                "weights": kept,
            }
        if each_epoch:
            each_epoch(history[-1])
        state.save({"weights": _weights(classifier), "averaged": averaged, "best": best})
    _set_weights(classifier, best["weights"])
    backbone.model.eval()
    return ClassifierRun(classifier, history, best["epoch"])


def _batches(tokens: Tokens, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.integer]]:
    """Yield one epoch: random batches of texts of similar length."""
    lengths = np.array([len(row) for row in tokens.ids])
    order = rng.permutation(len(tokens))
    parts = [order[start : start + size * SORTED_BATCHES] for start in range(0, len(order), size * SORTED_BATCHES)]
    batches = []
    for part in parts:
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[start : start + size] for start in range(0, len(part), size)]
    for number in rng.permutation(len(batches)):
        yield batches[number]


def _weights(classifier: Classifier) -> dict[str, dict[str, torch.Tensor]]:
    return copy.deepcopy({"lora": lora_weights(classifier.backbone), "head": classifier.head.state_dict()})


def _set_weights(classifier: Classifier, weights: dict[str, dict[str, torch.Tensor]]) -> None:
    set_lora_weights(classifier.backbone, weights["lora"])
    classifier.head.load_state_dict(weights["head"])


def _average(averaged: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], keep: float) -> None:
    with torch.no_grad():
        for mean, weight in zip(averaged, weights, strict=True):
            mean.lerp_(weight, 1 - keep)


@contextlib.contextmanager
def _swapped(weights: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> Iterator[None]:
    """Give the weights other values within the block."""
    own = [weight.detach().clone() for weight in weights]
    _set(weights, others)
    try:
        yield
    finally:
        _set(weights, own)


def _set(weights: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)
