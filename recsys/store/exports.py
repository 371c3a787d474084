"""Exported encoders: made once from a base and an adapter, kept by the hash of what they were made from.

They can always be made again, so deleting the folder costs time and nothing else.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import torch

from recsys.artifacts import (
    ArtifactError,
    commit_folder,
    locked,
    make_room,
    read_each,
    refuse_links,
    short_id,
    staged_folder,
)
from recsys.errors import SettingError
from recsys.home import Home
from recsys.models.encoder.backbone import Backbone, load_backbone, load_lora
from recsys.models.encoder.export import CARD, EncoderCard, ExportedEncoder, Form, best_form, export, narrow, write_card
from recsys.models.encoder.narrow import Weights
from recsys.models.encoder.shared import Shared, write_peft, write_sentence_transformers
from recsys.store.adapters import read_card, verify_adapter
from recsys.store.manifests import AdapterCard
from recsys.store.model_cards import model_card

LAYOUT = 1  # of an export's files and graph; another number makes all of them again


def open_encoder(
    home: Home,
    base: str,
    max_tokens: int,
    form: Form | None = None,
    base_digest: str | None = None,
    adapter_id: str | None = None,
) -> ExportedEncoder:
    """Open the exported encoder of a base, with or without an adapter; export it first where nobody has.

    Args:
        home: where state lives.
        base: the base model's name.
        max_tokens: longer texts are cut.
        form: None: the fastest here.
        base_digest: the base that is meant; None: whichever is installed under that name.
        adapter_id: a stored adapter of that base.

    Raises:
        ArtifactError: base or adapter is missing.
        BaseModelError: the installed base is not the one that is meant.
    """
    form = form or best_form()
    digest = base_digest or load_backbone(base, torch.device("cpu")).base_digest
    about = {"base": base, "base_digest": digest, "adapter": adapter_id, "layout": LAYOUT}
    folder = home.encoders / short_id(about, form)
    with _one_exports(home):
        try:
            return _opened(folder, max_tokens, form, about)
        except ArtifactError:
            _remove(folder)  # absent, damaged, or another's
        with staged_folder(home.encoders) as staging:
            export(_merged(home, base, digest, adapter_id), staging, form, about)
            commit_folder(staging, folder)
        return _opened(folder, max_tokens, form, about)


def export_encoder(
    home: Home,
    out: Path,
    form: Form | Shared,
    base: str | None = None,
    adapter_id: str | None = None,
    weights: Weights = "fp32",
    sample: Sequence[str] = (),
) -> EncoderCard:
    """Export an adapter merged into its base, or a base alone, to a folder of one's own; return its card.

    Args:
        home: where state lives.
        out: the folder, which does not exist yet.
        form: see ``recsys/models/encoder/export.py`` and ``shared.py``; ``peft`` is the adapter without its base.
        base: a base model.
        adapter_id: a stored adapter.
        weights: of ONNX: what its matrices are kept in.
        sample: the texts over which the card states what narrower ones move vectors by.

    Raises:
        SettingError: both base and adapter are given, or none; PEFT's form without an adapter; or narrower weights of
            another form than ONNX, or without texts.
        ArtifactError: base or adapter is missing, or the form needs a package that is not installed.
    """
    if (base is None) == (adapter_id is None):
        raise SettingError("Give an adapter, which has its own base, or a base: not both.")
    if form == "peft" and adapter_id is None:
        raise SettingError("PEFT's form is an adapter's, and a base has none. Give --adapter.")
    if weights != "fp32" and (form != "onnx" or not sample):
        raise SettingError(f"Weights in {weights} are of ONNX alone, and need texts that say what they are worth.")
    card = read_card(home, adapter_id) if adapter_id else AdapterCard(base=str(base))
    backbone = _merged(home, card.base, card.base_digest, adapter_id)
    about = {"base": card.base, "base_digest": backbone.base_digest, "adapter": adapter_id, "layout": LAYOUT}
    with staged_folder(out.parent) as staging:
        if form in get_args(Shared):
            if form == "peft":
                write_peft(verify_adapter(home, str(adapter_id)), staging)
            else:
                write_sentence_transformers(backbone, staging, card.max_tokens)
            known = replace(card, base_digest=backbone.base_digest)
            (staging / "README.md").write_text(model_card(known, cast(Shared, form), backbone.pooling))
            write_card(backbone, staging, form, about)
        else:
            export(backbone, staging, cast(Form, form), about)
        if weights != "fp32":
            narrow(staging, weights, card.max_tokens, sample)
        commit_folder(staging, out)
    return EncoderCard.read(out / CARD)


def _merged(home: Home, base: str, digest: str | None, adapter_id: str | None) -> Backbone:
    cpu = torch.device("cpu")
    backbone = load_backbone(base, cpu, digest)
    return backbone if adapter_id is None else load_lora(verify_adapter(home, adapter_id), base, cpu, digest)


def _opened(folder: Path, max_tokens: int, form: Form, about: Mapping[str, Any]) -> ExportedEncoder:
    """Open an export, its files checked against its card, and that against what is asked for.

    Raises:
        ArtifactError: it is damaged, or made from something else: a whole folder of another's was put there.
    """
    encoder = ExportedEncoder.open(folder, max_tokens)
    made_from = {name: getattr(encoder.card, name) for name in about}
    if encoder.card.form != form or made_from != about:
        raise ArtifactError(f"{folder} holds the export of another encoder. Remove the folder; it is made again.")
    return encoder


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _one_exports(home: Home) -> Iterator[None]:
    """Let one process export; the others wait and find what it made."""
    refuse_links(home.encoders)
    with locked(make_room(home.make().encoders) / ".lock"):
        yield


def list_encoders(home: Home) -> dict[str, EncoderCard]:
    """Return the cards of all exported encoders by their ids; a folder that is none of ours is left out."""
    return dict(read_each(home.encoders, CARD, lambda name: (name, EncoderCard.read(home.encoders / name / CARD))))


def delete_encoders(home: Home, adapter_id: str) -> list[str]:
    """Delete all exports of an adapter; return their ids."""
    doomed = [encoder_id for encoder_id, card in list_encoders(home).items() if card.adapter == adapter_id]
    for encoder_id in doomed:
        shutil.rmtree(home.encoders / encoder_id)
    return doomed
