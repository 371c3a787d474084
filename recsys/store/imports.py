"""Adapters from elsewhere: a plain PEFT folder becomes a stored adapter with a card, for a training to begin with."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from recsys.artifacts import ArtifactError, digest_file
from recsys.errors import SettingError
from recsys.home import Home
from recsys.models.encoder.backbone import BaseModelError, load_backbone, save_lora
from recsys.models.encoder.export import CARD, EncoderCard
from recsys.models.encoder.foreign import read_settings, with_foreign
from recsys.models.encoder.packaged import PACKAGED_BASES
from recsys.models.encoder.safety import WEIGHTS
from recsys.models.encoder.tokens import check_length
from recsys.store.adapters import read_card, save_adapter
from recsys.store.manifests import IMPORTED, AdapterCard


def import_adapter(home: Home, folder: Path, base: str | None = None, max_tokens: int = 64) -> AdapterCard:
    """Store a PEFT folder from elsewhere as an adapter, and return its card. Nothing of it is executed.

    Args:
        home: where state lives.
        folder: what PEFT's ``save_pretrained`` wrote; LoRA weights in safetensors.
        base: what it was trained on; None: what the folder names, where that is a packaged base.
        max_tokens: of a text that it was trained to read.

    Raises:
        ArtifactError: it is no LoRA adapter of the base, or does more than LoRA; the message says what.
        BaseModelError: the folder says by hash on which base it was trained, and this is another.
        SettingError: no base is named, or it reads no text of so many tokens.
    """
    named = read_settings(folder).get("base_model_name_or_path")
    if base is None:
        if not isinstance(named, str) or named not in PACKAGED_BASES:
            raise SettingError(f"Give the base that the adapter was trained on; the folder says {named!r:.120}.")
        base = named
    backbone = load_backbone(base, torch.device("cpu"))
    check_length(backbone.name, backbone.longest, max_tokens)
    _check_base(folder, backbone.name, backbone.base_digest)
    carrier, origin = with_foreign(backbone, folder)
    card = AdapterCard(
        task=IMPORTED,
        base=backbone.name,
        base_digest=backbone.base_digest,
        pooling=backbone.recorded_pooling,
        settings={"max_tokens": max_tokens},
        training={"origin": asdict(origin) | {"sha256": digest_file(folder / WEIGHTS)}},
    )
    return read_card(home, save_adapter(home, partial(save_lora, carrier), card))


def _check_base(folder: Path, name: str, found: str) -> None:
    """Compare a base with the hash in the card of an export of ours, where the folder has one."""
    if not (folder / CARD).is_file() or (folder / CARD).is_symlink():
        return
    try:
        wanted = EncoderCard.read(folder / CARD).base_digest
    except ArtifactError:
        return  # somebody else's file of that name
    if wanted and wanted != found:
        raise BaseModelError(
            f"The adapter in {folder} was trained on another base ({wanted[:12]}) than {name} ({found[:12]}). "
            "Name that one."
        )
