"""Texts for BERT: tokenised once, encoded in batches of similar length that a token budget cuts.

Memory follows the budget, not the longest text; a text has the same vector alone as in any batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from recsys.callbacks import Progress
from recsys.errors import SettingError, VectorError
from recsys.models.devices import autocast, computes_bf16, fitting_memory
from recsys.models.encoder.backbone import Backbone
from recsys.models.encoder.families import MIXED
from recsys.models.encoder.pooling import pool

LEAST_TOKENS = 512  # a batch that does not fit into memory is halved down to this: one text as long as BERT reads
AT_ONCE = 8_192  # texts: what a tokenizer says of each takes more memory than its tokens
MOST_NAMED = 5  # bad texts in a message
WIDTH_STEP = 16  # of the fixed shapes
# Tokens from which compiling is earned back on a GPU. On an H200 it costs MiniLM 33 s a shape and saves a quarter of a
# microsecond a token. ``python -m recsys.models.throughput --compile`` measures it on the machine at hand.
COMPILE_FROM = 200_000_000


@dataclass(frozen=True)
class Tokens:
    """Texts as token ids, one array a text.

    Attributes:
        ids: of each text.
        padding: what fills a row up.
        widest: above 0, batches are padded to a few shapes at most this wide, and their last text is repeated: a
            compiled model needs one compilation a shape.
    """

    ids: list[NDArray[np.int64]]
    padding: int
    widest: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def in_fixed_shapes(self) -> "Tokens":
        """Return the same texts, whose batches come in few shapes."""
        return replace(self, widest=max(map(len, self.ids), default=0))

    def batch(self, indices: NDArray[np.integer], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the ids and the mask of some texts, both (texts, longest), padded on the right.

        With a widest shape set they have more rows than there are texts.
        """
        rows = [self.ids[index] for index in indices]
        lengths = np.array([len(row) for row in rows])
        width, height = int(lengths.max()), len(rows)
        if self.widest:
            width = min(-(-width // WIDTH_STEP) * WIDTH_STEP, self.widest)
            height = 1 << (len(rows) - 1).bit_length()
        filled = np.arange(width) < lengths[:, None]
        ids = np.full((height, width), self.padding, dtype=np.int64)
        mask = np.zeros((height, width), dtype=np.int64)
        ids[: len(rows)][filled] = np.concatenate(rows)
        mask[: len(rows)] = filled
        ids[len(rows) :], mask[len(rows) :] = ids[len(rows) - 1], mask[len(rows) - 1]
        return _onto(device, ids), _onto(device, mask)

    def are_even(self, indices: NDArray[np.integer]) -> bool:
        """Tell whether a batch of some texts holds no padding: attention then needs no mask, and runs faster."""
        lengths = {len(self.ids[index]) for index in indices}
        return len(lengths) == 1 and (not self.widest or lengths <= {self.widest})

    def buckets(self, indices: NDArray[np.integer], budget: int) -> Iterator[NDArray[np.integer]]:
        """Cut texts into batches of similar length whose padded size is at most ``budget`` tokens."""
        lengths = np.array([len(self.ids[index]) for index in indices])
        order = indices[np.lexsort((indices, lengths))]
        start = 0
        for end in range(1, len(order) + 1):
            full = end == len(order) or len(self.ids[order[end]]) * (end + 1 - start) > budget
            if full:
                yield order[start:end]
                start = end


def _onto(device: torch.device, array: NDArray[np.int64]) -> torch.Tensor:
    """Return an array on a device; a GPU goes on with what it has while the array travels."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def check_length(name: str, longest: int | None, max_tokens: int) -> None:
    """Check that a base reads texts of so many tokens.

    Raises:
        SettingError: it does not.
    """
    if longest is not None and max_tokens > longest:
        raise SettingError(
            f"{name or 'The encoder'} reads {longest} tokens of a text at most, and max_tokens is {max_tokens}. "
            f"Set it to {longest} or less, or name a base that reads longer texts."
        )


def tokenize(backbone: Backbone, texts: Sequence[str], max_tokens: int) -> Tokens:
    """Tokenise texts, each cut to ``max_tokens`` tokens, the special ones included.

    Raises:
        SettingError: the base reads no text that is as long.
    """
    check_length(backbone.name, backbone.longest, max_tokens)
    if not texts:
        return Tokens([], 0)
    ids: list[NDArray[np.int64]] = []
    for start in range(0, len(texts), AT_ONCE):
        part = list(texts[start : start + AT_ONCE])
        encoded = backbone.tokenizer(part, truncation=True, max_length=max_tokens, padding=False)["input_ids"]
        ids += [np.asarray(row, dtype=np.int64) for row in encoded]
    return Tokens(ids, backbone.tokenizer.pad_token_id or 0)


def embed(
    backbone: Backbone, tokens: Tokens, progress: Progress | None = None, budget: int = 8192
) -> NDArray[np.float32]:
    """Return the pooled vectors of all texts, (texts, hidden) float32, in their own order.

    Raises:
        VectorError: a vector is not finite or is zero.
        OutOfMemoryError: not even a batch of ``LEAST_TOKENS`` fits.
    """
    vectors = np.zeros((len(tokens), backbone.hidden_size), dtype=np.float32)
    backbone.model.eval()

    def run(size: int) -> None:
        done = 0
        with torch.inference_mode(), autocast(backbone.device):
            for indices in tokens.buckets(np.arange(len(tokens)), size):
                vectors[indices] = forward(backbone, tokens, indices).cpu().numpy()
                done += len(indices)
                if progress:
                    progress(done, len(tokens))

    fitting_memory(run, budget, LEAST_TOKENS, "encoding texts")
    check_vectors(vectors)
    return vectors


def check_vectors(vectors: NDArray[np.float32], names: Sequence[str] | None = None) -> None:
    """Check that every row of (texts, width) is finite and not zero.

    Raises:
        VectorError: one is not; the message says how many and names the first ones.
    """
    norms = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), AT_ONCE):
        norms[start : start + AT_ONCE] = np.linalg.norm(vectors[start : start + AT_ONCE], axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if len(bad):
        first = ", ".join(repr(names[row]) if names is not None else str(row) for row in bad[:MOST_NAMED])
        raise VectorError(
            f"{len(bad)} of {len(vectors)} texts got a vector that is zero or not finite: {first}"
            f"{', …' if len(bad) > MOST_NAMED else ''}. The weights are broken; train the adapter again."
        )


def forward(backbone: Backbone, tokens: Tokens, indices: NDArray[np.integer]) -> torch.Tensor:
    """Run BERT over some texts and pool: (texts, hidden) fp32, with gradient where that is enabled."""
    ids, mask = tokens.batch(indices, backbone.device)
    seen = None if tokens.are_even(indices) else mask
    hidden = backbone.model(input_ids=ids, attention_mask=seen).last_hidden_state
    return pool(hidden, mask, backbone.pooling)[: len(indices)]


class _InBf16(nn.Module):
    """A model that computes in bf16 from end to end while its weights stay, and learn, in fp32.

    Autocast would widen the stream between the layers to fp32, which costs a GPU more than the products.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, **inputs: torch.Tensor | None) -> Any:
        narrow = {name: weight.bfloat16() for name, weight in self.model.named_parameters()}
        with torch.autocast("cuda", enabled=False):
            return functional_call(self.model, narrow, (), inputs)


def prepared(backbone: Backbone, tokens: Tokens, texts: int) -> tuple[Backbone, Tokens]:
    """Return both as they train fastest: on a GPU in bf16, and compiled for fixed shapes where the work is long enough.

    Args:
        backbone: shares its weights with the one that is returned.
        tokens: what is drawn from.
        texts: how many of these will be encoded in all, repetitions included.
    """
    kind = backbone.model.config.model_type  # type: ignore[union-attr]
    if backbone.device.type != "cuda" or not computes_bf16(backbone.device) or kind in MIXED:
        return backbone, tokens
    narrow = in_bf16(backbone)
    mean = sum(map(len, tokens.ids)) / max(1, len(tokens))
    if texts * mean < COMPILE_FROM:
        return narrow, tokens
    return compiled(narrow), tokens.in_fixed_shapes()


def in_bf16(backbone: Backbone) -> Backbone:
    """Return a backbone of the same weights that computes in bf16 from end to end."""
    return replace(backbone, model=_InBf16(backbone.model))


def compiled(backbone: Backbone) -> Backbone:
    """Return a backbone of the same weights, compiled anew for each shape that it meets."""
    model: Any = torch.compile(backbone.model, dynamic=False)
    return replace(backbone, model=model)


def embed_catalogue(backbone: Backbone, tokens: Tokens, progress: Progress | None = None) -> NDArray[np.float32]:
    """Return unit vectors of all texts, (items, hidden)."""
    vectors = embed(backbone, tokens, progress)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
