"""Adapters merged into one: a weighted sum of what each changes in the same base, by PEFT's own ways of adding LoRA."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

from recsys.artifacts import read_json
from recsys.errors import SettingError
from recsys.home import Home
from recsys.models.encoder.backbone import Backbone, load_backbone, lora_weights, save_lora
from recsys.models.encoder.safety import CONFIGURATION, check_lora
from recsys.store.adapters import read_card, save_adapter, verify_adapter
from recsys.store.manifests import CLASSIFICATION, MERGED, AdapterCard

Method = Literal["cat", "linear", "svd"]
METHODS = get_args(Method)


def merge_adapters(
    home: Home,
    adapters: Sequence[str],
    weights: Sequence[float] | None = None,
    method: Method = "cat",
    rank: int | None = None,
) -> AdapterCard:
    """Store the weighted sum of some adapters as one, and return its card; the same again is found.

    ``cat`` puts the factors side by side: exactly Σ wᵢ·ΔWᵢ, whose rank is the sum of theirs. ``svd`` is the nearest of
    a given rank to that (Eckart, Young 1936). ``linear`` adds the factors themselves, √wᵢ·Aᵢ and √wᵢ·Bᵢ, at the rank
    that all have: cheap, with cross terms between adapters that were not trained from one another.

    Args:
        home: where state lives.
        adapters: ids, two at least.
        weights: one each, above 0; None: equal ones that sum to 1.
        method: ``cat``, ``linear`` or ``svd``.
        rank: of ``svd``; None: the largest of theirs.

    Raises:
        SettingError: they have no base in common, are classifiers, or weights, rank or shapes do not fit the method.
        ArtifactError: one of them is missing or has changed.
        BaseModelError: another base is installed than they were trained on.
    """
    given = [1 / max(1, len(adapters))] * len(adapters) if weights is None else list(weights)
    _check_call(adapters, given, method, rank)
    cards = [read_card(home, adapter) for adapter in adapters]
    _check_cards(cards)
    folders = [verify_adapter(home, adapter) for adapter in adapters]
    shapes = [read_json(folder / CONFIGURATION) for folder in folders]
    _check_shapes(adapters, shapes, method)
    chosen = (rank or max(int(shape["r"]) for shape in shapes)) if method == "svd" else None
    from peft import PeftModel

    for folder in folders:
        check_lora(folder)
    backbone = load_backbone(cards[0].base, expected=cards[0].base_digest)
    first, *others = folders
    model: Any = PeftModel.from_pretrained(backbone.model, str(first), adapter_name="0")
    for place, folder in enumerate(others, start=1):
        model.load_adapter(str(folder), adapter_name=str(place))
    names = [str(place) for place in range(len(folders))]
    # The sum is scaled by 1, and PEFT takes the first one's way of scaling; what that has is scaled already.
    model.peft_config["0"].use_rslora = False
    model.add_weighted_adapter(names, given, "default", combination_type=method, svd_rank=chosen)
    model.set_adapter("default")
    for name in names:
        model.delete_adapter(name)
    merged: Backbone = replace(backbone, model=model)
    for weight in lora_weights(merged).values():
        weight.add_(0.0)  # zeros of random signs stand where an adapter has no such layer, and the id hangs on bytes
    card = AdapterCard(
        task=MERGED,
        base=cards[0].base,
        base_digest=cards[0].base_digest,
        pooling=cards[0].pooling,
        settings={"max_tokens": max(card.max_tokens for card in cards)},
        training={"merged": {"parents": list(adapters), "weights": given, "method": method, "rank": chosen}},
    )
    return read_card(home, save_adapter(home, partial(save_lora, merged), card))


def _check_call(adapters: Sequence[str], weights: Sequence[float], method: str, rank: int | None) -> None:
    if len(adapters) < 2 or len(set(adapters)) < len(adapters):
        raise SettingError("Name two different adapters at least: one alone is what it is.")
    if len(weights) != len(adapters):
        raise SettingError(f"{len(adapters)} adapters take {len(adapters)} weights, not {len(weights)}.")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise SettingError("A weight is a number above 0. Leave an adapter out rather than giving it none.")
    if method not in METHODS:
        raise SettingError(f"There is no method {method!r}; there are {', '.join(METHODS)}.")
    if rank is not None and (method != "svd" or rank < 1):
        raise SettingError("A rank, at least 1, is for the method svd; the others have that of what they add.")


def _check_cards(cards: Sequence[AdapterCard]) -> None:
    first = cards[0]
    for card in cards:
        if card.task == CLASSIFICATION:
            raise SettingError(f"Adapter {card.id} is a classifier, whose labels hang on its own head. It stays alone.")
        if (card.base_digest, card.pooling) != (first.base_digest, first.pooling) or card.base_digest is None:
            raise SettingError(
                f"Adapter {card.id} is for another base ({card.base}, {(card.base_digest or 'unknown')[:12]}) than "
                f"{first.id} ({first.base}, {(first.base_digest or 'unknown')[:12]}): what they change cannot be added."
            )


def _check_shapes(adapters: Sequence[str], shapes: Sequence[dict[str, Any]], method: str) -> None:
    ranks = {adapter: int(shape["r"]) for adapter, shape in zip(adapters, shapes, strict=True)}
    single = [one for one, shape in zip(adapters, shapes, strict=True) if shape.get("rank_pattern")]
    if single and method != "svd":
        raise SettingError(f"Adapter {single[0]} has ranks of single layers. Merge it by the method svd.")
    if method == "linear" and len(set(ranks.values())) > 1:
        told = ", ".join(f"{adapter}: {rank}" for adapter, rank in ranks.items())
        raise SettingError(
            f"The method linear adds factors of one rank, and they have several ({told}). Use cat or svd."
        )
