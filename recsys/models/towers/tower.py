"""The two towers: an item's vector from its text plus a bounded id residual, a user's vector from a history of those.

The score of an item for a history is scale · cosine(user, item) + bias. A new item has no residual and the bias of a
rare one.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from recsys.data.sequences import Sequences
from recsys.models.tensors import read_tensors
from recsys.models.towers.batches import pad_histories, pad_kinds

TOWERS = "towers"  # what the towers over text are called: in files, in a blend and in reports
SCORE_BATCH = 256
EVERYTHING = slice(None)
LONGEST_DROPPED = 64  # positions up to which attention weights are dropped at random


@dataclass(frozen=True)
class TowerShape:
    """What is needed to build the towers again."""

    features: int  # width of the text features; 0: ids alone
    catalogue: int
    dimensions: int
    blocks: int
    heads: int
    max_history: int
    dropout: float
    residual_norm: float
    max_scale: float
    max_bias: float
    kinds: int = 0  # of events that the user tower tells apart; 0: all are the same

    def to_dict(self) -> dict[str, float]:
        """Return everything as JSON values; towers to which all events are the same say nothing of kinds."""
        return {name: value for name, value in vars(self).items() if name != "kinds" or value}


class ItemTower(nn.Module):
    """Text features (catalogue, features) → unit item vectors (catalogue, dimensions).

    Attributes:
        known: (catalogue, 1) float, 1 for items with training events.
        rare: (catalogue,) bool, the quarter of these with the fewest.
    """

    known: torch.Tensor
    rare: torch.Tensor

    def __init__(self, shape: TowerShape, drawn: bool = True) -> None:
        super().__init__()
        self.shape = shape
        if shape.features:
            self.projection = nn.Linear(shape.features, shape.dimensions, bias=False)
        self.residual = nn.Parameter(torch.zeros(shape.catalogue, shape.dimensions))
        self.register_buffer("known", torch.ones(shape.catalogue, 1))
        self.register_buffer("rare", torch.zeros(shape.catalogue, dtype=torch.bool))
        self.bias = nn.Parameter(torch.zeros(shape.catalogue))
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        if not drawn:
            return
        if not shape.features:
            nn.init.normal_(self.residual, std=shape.dimensions**-0.5)
        elif shape.residual_norm:
            nn.init.normal_(self.residual, std=0.02)

    def set_known(self, counts: NDArray[np.int64]) -> None:
        """Tell which items have training events: the others get no residual and the mean bias of the rarest quarter."""
        known = counts > 0
        self.known.copy_(torch.from_numpy(known[:, None].astype(np.float32)))
        self.rare.copy_(torch.from_numpy(known & (counts <= np.quantile(counts[known], 0.25))))

    @property
    def known_items(self) -> torch.Tensor:
        """Indices of the items with training events, (known,) int64."""
        return self.known.squeeze(1).nonzero().squeeze(1)

    @property
    def scale(self) -> torch.Tensor:
        return self.log_scale.exp().clamp(max=self.shape.max_scale)

    def forward(self, features: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Return the vectors of all items, or of some rows, whose features these are.

        Of ids alone, an unknown item's vector is zero.
        """
        own, known = (self.residual, self.known) if rows is None else (self.residual[rows], self.known[rows])
        if not self.shape.features:
            return functional.normalize(own, dim=1) * known
        text = functional.normalize(self.projection(features).float(), dim=1)
        bound = self.shape.residual_norm
        if not bound:
            return text
        norm = own.norm(dim=1, keepdim=True).clamp_min(1e-6)
        residual = own / norm * bound * torch.tanh(norm / bound) * known
        return functional.normalize(text + residual, dim=1)

    def item_bias(self) -> torch.Tensor:
        bias = self.bias.clamp(-self.shape.max_bias, self.shape.max_bias)
        return torch.where(self.known.squeeze(1) > 0, bias, self.new_item_bias())

    def new_item_bias(self) -> torch.Tensor:
        """Return the bias of an item without training events: the mean of the rarest known ones', or 0 without any."""
        bias = self.bias.clamp(-self.shape.max_bias, self.shape.max_bias)
        return bias[self.rare].mean() if bool(self.rare.any()) else bias.new_zeros(())


class Dropout(nn.Module):
    """Dropout whose mask, on a CPU, takes one random byte a number: torch's own draws a float for each, one by one.

    The rate is rounded to a whole number of 256ths and the scale made for that, so the mean stays.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return the numbers, while training some of them 0 and the others larger by as much."""
        if not self.training or self.rate == 0:
            return numbers
        if numbers.device.type != "cpu":
            return functional.dropout(numbers, self.rate)
        dropped, count = min(round(256 * self.rate), 255), numbers.numel()
        draws = torch.empty(count // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[:count].view(numbers.shape) >= dropped
        return numbers * kept.to(numbers.dtype).mul_(256 / (256 - dropped))


class UserTower(nn.Module):
    """A causal pre-norm Transformer over item vectors: (rows, length, d) → unit vectors (rows, length, d)."""

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        width = shape.dimensions
        self.heads = shape.heads
        self.input_scale = width**0.5
        # Position counts from the newest item, so that a history may grow without moving its recent end.
        self.position = nn.Parameter(torch.randn(shape.max_history, width) * 0.02)
        self.dropout = Dropout(shape.dropout)
        self.blocks = nn.ModuleList(
            _Block(width, shape.heads, shape.dropout, shape.max_history) for _ in range(shape.blocks)
        )
        self.norm = nn.LayerNorm(width)
        if shape.kinds:
            self.kind = nn.Parameter(torch.zeros(shape.kinds, width))

    def forward(self, vectors: torch.Tensor, real: torch.Tensor, kinds: torch.Tensor | None = None) -> torch.Tensor:
        """Encode histories aligned right; ``real`` (rows, length) is False on padding, whose outputs mean nothing.

        ``kinds`` (rows, length) says what each event is, where the towers tell events apart.
        """
        length = vectors.shape[1]
        position = self.position[:length].flip(0)
        inputs = vectors * self.input_scale + position
        hidden = self.dropout(inputs if kinds is None else inputs + functional.embedding(kinds, self.kind))
        causal = torch.ones(length, length, dtype=torch.bool, device=vectors.device).tril()
        # A padded position may look at itself, or its softmax would be empty and give NaN.
        visible = (causal & real[:, None, :]) | torch.eye(length, dtype=torch.bool, device=vectors.device)
        for block in self.blocks:
            hidden = block(hidden, visible[:, None])
        return functional.normalize(self.norm(hidden).float(), dim=-1)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = Dropout(dropout)
        # Masks of long attention matrices would cost a fifth of a step, and long histories need them least.
        self.attention_dropout = Dropout(dropout if length <= LONGEST_DROPPED else 0.0)

    def forward(self, hidden: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        rows, length, width = hidden.shape
        parts = self.query_key_value(self.attention_norm(hidden)).view(rows, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (rows, heads, length, width / heads)
        scores = (query @ key.transpose(-1, -2)).float() * (width // self.heads) ** -0.5
        attention = self.attention_dropout(scores.masked_fill(~visible, -1e9).softmax(-1)).to(value.dtype)
        mixed = (attention @ value).transpose(1, 2).reshape(rows, length, width)
        hidden = hidden + self.dropout(self.output(mixed))
        inner = functional.gelu(self.expand(self.feed_forward_norm(hidden)))
        return hidden + self.dropout(self.contract(inner))


class TwoTower(nn.Module):
    """Both towers over fixed text features.

    After training, ``freeze`` computes the item vectors once; ``score`` and ``queries`` read those.
    """

    features: torch.Tensor
    vectors: torch.Tensor

    def __init__(self, shape: TowerShape, features: NDArray[np.float32] | None, drawn: bool = True) -> None:
        """Build towers to be trained; not ``drawn``, what is as long as the catalogue stays 0, for weights to come."""
        super().__init__()
        self.shape = shape
        self.items = ItemTower(shape, drawn)
        self.users = UserTower(shape)
        self.register_buffer(
            "features", torch.empty(0) if features is None else torch.from_numpy(features), persistent=False
        )
        self.register_buffer("vectors", torch.empty(0), persistent=False)

    def item_vectors(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Return the unit vectors of all items, or of some rows, (items, dimensions), with gradient."""
        chosen = rows is not None and self.shape.features > 0
        vectors: torch.Tensor = self.items(self.features[rows] if chosen else self.features, rows)
        return vectors

    def encode(
        self, histories: torch.Tensor, vectors: torch.Tensor, kinds: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode (rows, length) item indices padded with -1; return (rows, length, d) and where the rows are real."""
        real = histories >= 0
        gathered = functional.embedding(histories.clamp_min(0), vectors) * real[..., None]
        return self.users(gathered, real, kinds if self.shape.kinds else None), real

    def freeze(self) -> "TwoTower":
        """Compute the item vectors and stop training."""
        self.eval()
        with torch.inference_mode():
            self.vectors = self.item_vectors().float().clone()
        return self

    def queries(self, histories: Sequences) -> NDArray[np.float32]:
        """Return a unit user vector for each history, (rows, dimensions); zero for an empty history."""
        histories = histories.taught()
        result = np.zeros((len(histories), self.shape.dimensions), dtype=np.float32)
        order = np.argsort(histories.lengths, kind="stable")
        order = order[histories.lengths[order] > 0]
        with torch.inference_mode():
            for start in range(0, len(order), SCORE_BATCH):
                rows = order[start : start + SCORE_BATCH]
                some, device = histories.take(rows), self.vectors.device
                padded = torch.from_numpy(pad_histories(some, self.shape.max_history)).to(device)
                kinds = pad_kinds(some, self.shape.max_history)
                hidden, _ = self.encode(
                    padded, self.vectors, None if kinds is None else torch.from_numpy(kinds).to(device)
                )
                result[rows] = hidden[:, -1].cpu().numpy()
        return result

    def score(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, catalogue) scores; an empty history gets the item bias alone."""
        with torch.inference_mode():
            scale = self.items.scale.item()
            queries = torch.from_numpy(self.queries(histories)).to(self.vectors.device)
            scores: NDArray[np.float32] = (scale * queries @ self.vectors.T + self.items.item_bias()).cpu().numpy()
        return scores

    def search_matrix(self, rows: slice = EVERYTHING) -> NDArray[np.float32]:
        """Return (rows, dimensions + 1) vectors whose dot product with ``search_queries`` is the score."""
        with torch.inference_mode():
            scaled = self.vectors[rows] * self.items.scale
            return torch.cat([scaled, self.items.item_bias()[rows, None]], dim=1).cpu().numpy()

    def new_search_rows(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows of the search matrix for items that were not trained on, (items, dimensions + 1).

        Args:
            features: (items, features) whitened text vectors; towers over ids alone read their number only.
        """
        with torch.inference_mode():
            if not self.shape.features:
                scaled = self.vectors.new_zeros((len(features), self.shape.dimensions))
            else:
                text = self.items.projection(torch.from_numpy(features).to(self.vectors.device))
                scaled = functional.normalize(text.float(), dim=1) * self.items.scale
            bias = self.items.new_item_bias().expand(len(features), 1)
            return torch.cat([scaled, bias], dim=1).cpu().numpy()

    def made_again(self, rows: NDArray[np.int64], features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the unit vectors that some items get from their whitened text vectors, (items, dimensions)."""
        with torch.inference_mode():
            device = self.vectors.device
            made = self.items(torch.from_numpy(features).to(device), torch.from_numpy(rows).to(device))
            return np.asarray(made.float().cpu().numpy())

    def search_queries(self, histories: Sequences) -> NDArray[np.float32]:
        """Return (rows, dimensions + 1) queries for ``search_matrix``."""
        queries = self.queries(histories)
        return np.concatenate([queries, np.ones((len(queries), 1), np.float32)], axis=1)

    def save(self, folder: Path, name: str = TOWERS) -> None:
        """Write the weights, the item vectors and the shape."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous().cpu() for name, tensor in self.state_dict().items()}
        save_file({**state, "vectors": self.vectors.contiguous().cpu()}, folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(json.dumps(self.shape.to_dict(), indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path, name: str = TOWERS) -> "TwoTower":
        """Read towers for scoring; the text features are not kept, so they cannot be trained further.

        What is as long as the catalogue stays in a large file, which the processes of a machine map together.
        """
        shape = TowerShape(**json.loads((folder / f"{name}.json").read_text()))
        # Not on the device "meta": drawing there imports torch's compiler, a second before the first answer.
        with torch.random.fork_rng(devices=[]):
            towers = cls(shape, None, drawn=False)
        state = read_tensors(folder / f"{name}.safetensors")
        towers.features, towers.vectors = torch.empty(0), state.pop("vectors")
        towers.load_state_dict(state, assign=True)
        return towers.eval()
