"""Pre-training on a domain's texts: masked-language modelling (Devlin et al., 2019) with LoRA, and its perplexity.

The head is that of the base where the base carries one; else its transform starts at random and its output is tied to
the token embeddings. It is learnt in both runs that are compared: alone over the frozen base, and together with LoRA,
for the same steps over the same masks, so that the difference is what the adapted encoder gives and no head's doing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from recsys.artifacts import ArtifactError
from recsys.callbacks import Progress
from recsys.config import PretrainConfig
from recsys.errors import DataError
from recsys.models.checkpoints import Checkpoint, TrainingState
from recsys.models.devices import attention_for, autocast
from recsys.models.encoder.backbone import (
    Backbone,
    add_lora,
    base_folder,
    load_backbone,
    lora_weights,
    quiet,
    set_lora_weights,
)
from recsys.models.encoder.families import read_kind
from recsys.models.encoder.fitting import check_fit
from recsys.models.encoder.tokens import Tokens, tokenize
from recsys.models.optimisation import WARMUP_SHARE, warm_cosine

MASKED, REPLACED = 0.8, 0.1  # of the chosen tokens; the rest stay as they are
IGNORED = -100
JUDGED_TOKENS = 8192  # padded tokens judged at once


@dataclass(frozen=True)
class Pretraining:
    """A pre-trained encoder and how it came about.

    Attributes:
        backbone: the base with the LoRA weights.
        before: perplexity of the held-out texts with the head alone fitted.
        after: the same with LoRA and head fitted.
        history: one record an epoch: epoch, loss, perplexity (held-out), for LoRA and head.
        texts: how many were learnt from and how many held out.
        own_head: whether the base carried a head.
    """

    backbone: Backbone
    before: float
    after: float
    history: list[dict[str, float]]
    texts: tuple[int, int]
    own_head: bool


def pretrain(
    texts: Sequence[str],
    config: PretrainConfig,
    seed: int,
    progress: Progress | None = None,
    alone: Checkpoint | None = None,
    together: Checkpoint | None = None,
) -> Pretraining:
    """Train LoRA weights to foretell masked tokens, and measure what that is worth on held-out texts.

    Args:
        texts: of the domain; equal ones count once, so that none is both learnt from and held out.
        config: settings.
        seed: fixes what is held out, the masks, initialisation and order.
        progress: called with steps done and steps in all, of both runs.
        alone: where the run of the head alone stands after each epoch; a killed one goes on from there.
        together: likewise for LoRA and head.

    Raises:
        DataError: there are fewer than two different texts.
        ArtifactError: the base has no mask token, or its head does not end in its token embeddings.
        DivergedError: the loss is not finite.
    """
    distinct = sorted(set(texts))
    if len(distinct) < 2:
        raise DataError("Pre-training needs two different texts at least. Ingest items with titles.")
    order = np.random.default_rng(seed).permutation(len(distinct))
    count = min(len(distinct) - 1, max(1, round(config.held_out_share * len(distinct))))
    held_out, learnt = ([distinct[place] for place in part] for part in (order[:count], order[count:]))
    results = []
    for number, (checkpoint, adapted) in enumerate(((alone, False), (together, True))):

        def report(done: int, total: int, number: int = number) -> None:
            if progress:
                progress(number * total + done, 2 * total)

        results.append(_run(learnt, held_out, config, seed, adapted, report, checkpoint))
    (_, before, _), (model, after, history) = results
    return Pretraining(model.backbone, before, after, history, (len(learnt), count), model.own_head)


class MaskedLanguageModel:
    """A backbone and the head that foretells tokens from its hidden states.

    Attributes:
        backbone: BERT, with or without LoRA weights.
        head: (hidden → vocabulary); its output matrix is the backbone's token embeddings and does not train.
        own_head: whether the base carried it.
    """

    def __init__(self, backbone: Backbone, seed: int) -> None:
        from transformers import AutoModelForMaskedLM  # here: as in backbone.py

        torch.manual_seed(seed)
        device = backbone.device
        source = base_folder(backbone.name)
        _, kind = read_kind(source)
        with quiet():
            model, report = AutoModelForMaskedLM.from_pretrained(
                source,
                dtype=torch.float32,
                attn_implementation=attention_for(device) if kind._supports_sdpa else "eager",
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        parts = [name for name, _ in model.named_children() if name != model.base_model_prefix]
        tied = model.get_output_embeddings()
        embeddings = backbone.model.get_input_embeddings().weight  # type: ignore[operator]
        if tied is None or tied.weight.shape != embeddings.shape:
            raise ArtifactError(
                f"The head of {backbone.name} does not foretell words by its token embeddings. Pre-train another base."
            )
        tied.weight = embeddings
        tied.weight.requires_grad_(False)
        self.head = getattr(model, parts[0]) if len(parts) == 1 else _Head(model)
        self.head.to(device)
        self.backbone = backbone
        self.own_head = not any(key.partition(".")[0] in parts for key in report["missing_keys"])

    def loss(self, ids: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy in nats over the tokens to foretell.

        Args:
            ids: (texts, tokens), some of them masked.
            mask: (texts, tokens), 0 on padding.
            targets: (texts, tokens), what stood there, ``IGNORED`` where nothing is asked.
        """
        asked = targets != IGNORED
        with autocast(ids.device):
            hidden = self.backbone.model(input_ids=ids, attention_mask=mask).last_hidden_state
            logits = self.head(hidden[asked])  # of the masked tokens alone: a seventh of the work
        return functional.cross_entropy(logits.float(), targets[asked])

    def weights(self) -> list[torch.Tensor]:
        """Return what trains: the head's own weights, and LoRA's where there are any."""
        parts = (*self.backbone.model.parameters(), *self.head.parameters())
        return list({id(weight): weight for weight in parts if weight.requires_grad}.values())

    def state(self) -> dict[str, Any]:
        """Return what trains, as a checkpoint can hold it."""
        head = {name: weight for name, weight in self.head.named_parameters() if weight.requires_grad}
        return {"head": head, "lora": lora_weights(self.backbone)}

    def restore(self, state: dict[str, Any]) -> None:
        """Set what ``state`` returned."""
        self.head.load_state_dict(state["head"], strict=False)
        set_lora_weights(self.backbone, state["lora"])


class _Head(nn.Module):
    """A head of several parts, hidden states → vocabulary: the whole model, whose base returns what it is given."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        setattr(model, model.base_model_prefix, _Given())
        self.model = model

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(inputs_embeds=hidden[None]).logits[0]
        return logits


class _Given(nn.Module):
    """Stands for an encoder, and returns its input as the hidden states."""

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=inputs_embeds)


def mask_tokens(
    ids: NDArray[np.int64],
    special: NDArray[np.int64],
    vocabulary: int,
    mask_id: int,
    share: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose tokens to foretell; of these 80 % are masked, 10 % replaced at random, and the rest left.

    Args:
        ids: (tokens,) of one text.
        special: ids that are never chosen.
        vocabulary: number of ids.
        mask_id: of the mask token.
        share: of the tokens that are chosen; at least one is, where there is any.
        rng: draws.

    Returns:
        The changed ids and the targets, ``IGNORED`` where nothing is asked.
    """
    candidates = np.flatnonzero(~np.isin(ids, special))
    count = min(len(candidates), max(1, round(share * len(candidates))))
    chosen = rng.permutation(candidates)[:count]
    fate = rng.random(count)
    changed, targets = ids.copy(), np.full_like(ids, IGNORED)
    targets[chosen] = ids[chosen]
    changed[chosen[fate < MASKED]] = mask_id
    random = chosen[(fate >= MASKED) & (fate < MASKED + REPLACED)]
    changed[random] = rng.integers(vocabulary, size=len(random))
    return changed, targets


def _run(
    learnt: list[str],
    held_out: list[str],
    config: PretrainConfig,
    seed: int,
    adapted: bool,
    progress: Progress,
    checkpoint: Checkpoint | None,
) -> tuple[MaskedLanguageModel, float, list[dict[str, float]]]:
    """Fit the head, together with LoRA weights if ``adapted``; return the model, its perplexity and its records."""
    backbone = load_backbone(config.lora.base)
    check_fit(backbone, config.lora, config.text.max_tokens, "lora", "text.max_tokens")
    for weight in backbone.model.parameters():
        weight.requires_grad_(False)
    backbone = add_lora(backbone, config.lora, seed) if adapted else backbone
    model = MaskedLanguageModel(backbone, seed)
    masks = _Masks(backbone, config.mask_share)
    tokens, judged = (tokenize(backbone, part, config.text.max_tokens) for part in (learnt, held_out))
    rng = np.random.default_rng(seed)
    steps_per_epoch = math.ceil(len(tokens) / config.batch_size)
    steps = config.epochs * steps_per_epoch
    weights = model.weights()
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=config.weight_decay)
    warmup = max(1, round(WARMUP_SHARE * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, warmup, steps))
    state = TrainingState(checkpoint, optimizer, schedule, rng)
    history = state.history
    found = state.restore()
    if found is not None:
        model.restore(found)
    while len(history) < config.epochs:
        backbone.model.eval()  # its own dropout was meant for longer pre-training; PEFT's is set to none
        model.head.train()
        losses = []
        order = rng.permutation(len(tokens))
        for number in range(steps_per_epoch):
            rows = order[number * config.batch_size : (number + 1) * config.batch_size]
            loss = model.loss(*masks.batch(tokens, rows, rng))
            losses.append(state.step(loss, weights, "the learning rate"))
            progress(state.steps, steps)
        perplexity = _perplexity(model, masks, judged, seed)
        history.append({"epoch": float(len(history) + 1), "loss": float(np.mean(losses)), "perplexity": perplexity})
        state.save(model.state())
    return model, history[-1]["perplexity"], history


class _Masks:
    """Batches with masks."""

    def __init__(self, backbone: Backbone, share: float) -> None:
        tokenizer = backbone.tokenizer
        if tokenizer.mask_token_id is None:
            raise ArtifactError(f"{backbone.name} has no mask token, so it cannot be pre-trained. Name another base.")
        self._device = backbone.device
        self._special = np.array(tokenizer.all_special_ids, dtype=np.int64)
        self._vocabulary, self._mask_id, self._share = len(tokenizer), int(tokenizer.mask_token_id), share

    def batch(
        self, tokens: Tokens, rows: NDArray[np.integer], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return ids, mask and targets of some texts, each (texts, longest)."""
        masked = [
            mask_tokens(tokens.ids[row], self._special, self._vocabulary, self._mask_id, self._share, rng)
            for row in rows
        ]
        every = np.arange(len(rows))
        ids, mask = Tokens([changed for changed, _ in masked], tokens.padding).batch(every, self._device)
        targets, _ = Tokens([asked for _, asked in masked], IGNORED).batch(every, self._device)
        return ids, mask, targets


def _perplexity(model: MaskedLanguageModel, masks: _Masks, tokens: Tokens, seed: int) -> float:
    """Return exp of the mean cross-entropy over the masked tokens of texts; the same seed gives the same masks."""
    model.backbone.model.eval()
    model.head.eval()
    total, count = 0.0, 0
    rng = np.random.default_rng(seed)
    with torch.inference_mode():
        for rows in tokens.buckets(np.arange(len(tokens)), JUDGED_TOKENS):
            ids, mask, targets = masks.batch(tokens, rows, rng)
            asked = int((targets != IGNORED).sum())
            total += float(model.loss(ids, mask, targets)) * asked
            count += asked
    return math.exp(total / max(count, 1))
