"""Text classification with the same encoder: LoRA, pooling and a softmax head.

It is trained in ``classifier_training``, and stored as an ordinary PEFT folder with its head beside the LoRA weights.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from recsys.artifacts import ArtifactError
from recsys.callbacks import Progress
from recsys.errors import DataError
from recsys.models.devices import autocast
from recsys.models.encoder.backbone import Backbone, load_lora, save_lora
from recsys.models.encoder.pooling import pool
from recsys.models.encoder.tokens import Tokens, tokenize

HEAD, LABELS = "head.safetensors", "labels.json"
PREDICT_TOKENS = 8192  # padded tokens classified at once


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
        pooled = functional.dropout(pool(hidden, mask, self.backbone.pooling), dropout, training=dropout > 0)
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


def numbered(part: LabelledTexts, labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the labels by their place among ``labels``, (texts,).

    Raises:
        DataError: a label is not among them.
    """
    places = {name: place for place, name in enumerate(labels)}
    for number, name in enumerate(part.labels, start=1):
        if name not in places:
            known = ", ".join(labels[:20])
            raise DataError(f"Text {number} has the label {name!r}, which no training text has; they have {known}.")
    return np.array([places[name] for name in part.labels], dtype=np.int64)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)
