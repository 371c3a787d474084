"""Text classification with the same encoder: LoRA, mean pooling and a softmax head, trained by cross-entropy.

A classifier is stored as an ordinary PEFT folder with its head beside the LoRA weights.
"""

import contextlib
import copy
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from recsys.artifacts import ArtifactError
from recsys.callbacks import Progress
from recsys.config import ClassifierConfig
from recsys.models.checkpoints import Checkpoint, TrainingState
from recsys.models.devices import autocast
from recsys.models.encoder.backbone import (
    Backbone,
    add_lora,
    load_backbone,
    load_lora,
    lora_weights,
    mean_pool,
    save_lora,
    set_lora_weights,
)
from recsys.models.encoder.tokens import Tokens, tokenize
from recsys.models.optimisation import MAX_GRADIENT_NORM, check_descent, warm_linear

HEAD, LABELS = "head.safetensors", "labels.json"
SORTED_BATCHES = 64  # batches that are cut from one shuffled part after sorting it by length
PREDICT_TOKENS = 8192  # padded tokens classified at once
AVERAGING_DELAY = 10  # the mean over the first n steps forgets by n / (n + this)


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with what they are.

    Attributes:
        texts: in the order of the file.
        labels: as many names.
    """

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Scores:
    """How well a classifier does on labelled texts: mean cross-entropy in nats, and the share it names right."""

    loss: float
    accuracy: float


class Classifier:
    """A backbone with a softmax head. Safe to share between threads once trained or loaded.

    Attributes:
        labels: names, in the order of the probabilities.
        backbone: BERT with LoRA weights, or with them merged.
        head: (hidden → labels).
        max_tokens: of a text that are read.
    """

    def __init__(self, backbone: Backbone, head: nn.Linear, labels: Sequence[str], max_tokens: int) -> None:
        self.backbone = backbone
        self.head = head
        self.labels = tuple(labels)
        self.max_tokens = max_tokens

    def logits(self, tokens: Tokens, indices: NDArray[np.integer], dropout: float = 0.0) -> torch.Tensor:
        """Return (texts, labels) fp32, with gradient where that is enabled; dropout is that of the pooled vector."""
        ids, mask = tokens.batch(indices, self.backbone.device)
        with autocast(self.backbone.device):
            hidden = self.backbone.model(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = functional.dropout(mean_pool(hidden, mask), dropout, training=dropout > 0)
        logits: torch.Tensor = self.head(pooled)
        return logits

    def probabilities(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """Return (texts, labels) float32, rows that sum to 1; a text's do not depend on the texts beside it."""
        return _softmax(self._all_logits(tokenize(self.backbone, texts, self.max_tokens), progress))

    def judge(self, tokens: Tokens, targets: NDArray[np.int64]) -> Scores:
        """Return loss and accuracy on tokenised texts whose labels are given by number."""
        logits = torch.from_numpy(self._all_logits(tokens))
        wanted = torch.from_numpy(targets)
        right = (logits.argmax(1) == wanted).double().mean()
        return Scores(float(functional.cross_entropy(logits, wanted)), float(right))

    def save(self, folder: Path) -> None:
        """Write the LoRA weights as a PEFT folder, and the head and the labels beside them."""
        save_lora(self.backbone, folder)
        save_file({name: tensor.contiguous().cpu() for name, tensor in self.head.state_dict().items()}, folder / HEAD)
        settings = {"labels": list(self.labels), "max_tokens": self.max_tokens}
        (folder / LABELS).write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n")

    @classmethod
    def load(
        cls, folder: Path, base: str, device: torch.device | None = None, expected: str | None = None
    ) -> "Classifier":
        """Load a base with a classifier's LoRA weights merged into it, and the head.

        Raises:
            ArtifactError: the folder is no classifier, or its head does not fit the base.
            BaseModelError: the base is not the one of this hash.
        """
        if not (folder / LABELS).is_file():
            raise ArtifactError(f"{folder} is no classifier: it has no {LABELS}. Train one with `recsys classify`.")
        settings = json.loads((folder / LABELS).read_text())
        backbone = load_lora(folder, base, device, expected)
        head = nn.Linear(backbone.hidden_size, len(settings["labels"]))
        try:
            head.load_state_dict(load_file(folder / HEAD))
        except (OSError, RuntimeError) as error:
            raise ArtifactError(f"The head in {folder} does not fit {base} ({error}). Train it again.") from error
        return cls(backbone, head.to(backbone.device).eval(), settings["labels"], settings["max_tokens"])

    def _all_logits(self, tokens: Tokens, progress: Progress | None = None) -> NDArray[np.float32]:
        logits = np.zeros((len(tokens), len(self.labels)), dtype=np.float32)
        self.backbone.model.eval()
        done = 0
        with torch.inference_mode():
            for indices in tokens.buckets(np.arange(len(tokens)), PREDICT_TOKENS):
                logits[indices] = self.logits(tokens, indices).cpu().numpy()
                done += len(indices)
                if progress:
                    progress(done, len(tokens))
        return logits


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
        ValueError: there are fewer than two labels, or ``dev`` has one that ``train`` has not.
        DivergedError: the loss, or its gradient, is not finite.
    """
    labels = sorted(set(train.labels))
    if len(labels) < 2:
        raise ValueError(f"The training texts have one label only ({labels[0]!r}). Give texts of at least two.")
    backbone = add_lora(load_backbone(config.lora.base), config.lora, seed, config.dropout)
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
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM)
            check_descent(loss, norm, f"epoch {len(history) + 1}", "learning_rate")
            optimizer.step()
            schedule.step()
            _average(averaged, weights, min(config.averaging, state.steps / (state.steps + AVERAGING_DELAY)))
            losses += loss.item() * len(batch)
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


def numbered(part: LabelledTexts, labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the labels by their place among ``labels``, (texts,).

    Raises:
        ValueError: a label is not among them.
    """
    places = {name: place for place, name in enumerate(labels)}
    for number, name in enumerate(part.labels, start=1):
        if name not in places:
            known = ", ".join(labels[:20])
            raise ValueError(f"Text {number} has the label {name!r}, which no training text has; they have {known}.")
    return np.array([places[name] for name in part.labels], dtype=np.int64)


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


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)
