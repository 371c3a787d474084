"""The catalogue's texts as vectors of the frozen base, and of the base with a fine-tuned adapter beside it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.callbacks import StageProgress, stage
from recsys.config import ModelConfig, TowerConfig
from recsys.data.sequences import Sequences
from recsys.models.adapter import WARM_STEPS, train_adapter
from recsys.models.checkpoints import Checkpoints, checkpoint_of, vectors_of
from recsys.models.encoder.backbone import Backbone, add_lora, continue_lora, load_backbone
from recsys.models.encoder.export import encode_texts
from recsys.models.encoder.fitting import check_fit
from recsys.models.encoder.kept import roomy
from recsys.models.encoder.tokens import tokenize
from recsys.models.towers.training import batch_tokens, is_long, train_towers
from recsys.models.towers.whitening import Whitening

MOST_WARMING = 4  # times as many positions as warming up wants; from more of them it draws


@dataclass(frozen=True)
class TextEncoding:
    """The catalogue's text as vectors, and how to make the same of a new text.

    Attributes:
        vectors: (catalogue, width) float32: unit vectors of the frozen base, then of the adapted one, side by side.
        features: (catalogue, width) float32, the vectors whitened.
        whitening: the map from vectors to features.
    """

    vectors: NDArray[np.float32]
    features: NDArray[np.float32]
    whitening: Whitening


def frozen_encoding(
    texts: list[str],
    config: ModelConfig,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
) -> TextEncoding:
    """Encode the catalogue with the base model alone; with checkpoints, one that was killed goes on."""
    backbone = load_backbone(config.adapter.lora.base)
    check_fit(backbone, config.adapter.lora, config.text.max_tokens, "adapter.lora", "text.max_tokens")
    report = stage(progress, "Encode texts")
    vectors = encode_texts(backbone, texts, config.text.max_tokens, report, vectors_of(checkpoints))
    return _encoding([vectors], checkpoints)


def adapted_encoding(
    texts: list[str],
    frozen: TextEncoding,
    train: Sequences,
    config: ModelConfig,
    progress: StageProgress | None = None,
    checkpoints: Checkpoints | None = None,
    pretrained: Path | None = None,
) -> tuple[TextEncoding, Backbone, list[dict[str, float]]]:
    """Fine-tune a LoRA adapter on training behaviour and encode the catalogue with base and adapter side by side.

    It begins with the weights of a PEFT folder where one is given, else anew; with 0 rounds it stays as it is.

    Returns:
        The encoding, the backbone that carries the adapter, and the training records.
    """
    start = frozen
    if pretrained is None:
        backbone = add_lora(load_backbone(config.adapter.lora.base), config.adapter.lora, config.seed)
    else:
        backbone = continue_lora(pretrained, config.adapter.lora.base)
        report = stage(progress, "Encode texts")
        vectors = encode_texts(backbone, texts, config.text.max_tokens, report, vectors_of(checkpoints))
        start = _encoding([vectors], checkpoints)
    if pretrained is not None and config.adapter.rounds == 0:
        return _encoding([frozen.vectors, start.vectors], checkpoints), backbone, []
    tokens = tokenize(backbone, texts, config.text.max_tokens)
    # The adapter learns through towers that already know how to read the vectors.
    warm = train_towers(
        start.features,
        _warming(train, config.tower, config.seed),
        len(texts),
        replace(config.tower, residual_norm=0.0),
        config.seed,
        steps=WARM_STEPS,
        progress=stage(progress, "Warm up towers"),
        checkpoint=checkpoint_of(checkpoints, "warm-up"),
    ).towers
    warm.items.set_known(np.bincount(train.counting(), minlength=len(texts)))  # whatever few histories hold
    records = train_adapter(
        backbone, tokens, train, config.adapter, config.tower, config.seed, warm, start.vectors,
        stage(progress, "Fine-tune BERT"), checkpoint_of(checkpoints, "adapter"),
    )  # fmt: skip
    report = stage(progress, "Encode texts")
    adapted = encode_texts(backbone, texts, config.text.max_tokens, report, vectors_of(checkpoints))
    return _encoding([frozen.vectors, adapted], checkpoints), backbone, records


def _encoding(vectors: list[NDArray[np.float32]], checkpoints: Checkpoints | None) -> TextEncoding:
    """Whiten some vectors side by side; what is large lies in files beside the checkpoints."""
    joined, folder = vectors[0], vectors_of(checkpoints)
    if len(vectors) > 1:
        joined = roomy((len(joined), sum(one.shape[1] for one in vectors)), folder)
        np.concatenate(vectors, axis=1, out=joined)
    whitening = Whitening.fit(joined)
    return TextEncoding(joined, whitening.apply(joined, roomy(joined.shape, folder)), whitening)


def _warming(train: Sequences, config: TowerConfig, seed: int) -> Sequences:
    """Return the histories that towers warm up on: of very many a sample, as they need few steps and get an epoch."""
    positions = int(np.maximum(train.lengths - 1, 0).sum())
    wanted = WARM_STEPS * (config.batch_tokens or batch_tokens(positions, is_long(train)))
    if positions <= MOST_WARMING * wanted:
        return train
    rows = np.random.default_rng(seed).choice(len(train), len(train) * wanted // positions, replace=False)
    return train.take(np.sort(rows))
