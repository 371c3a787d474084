"""Which kinds of model are text encoders, and in what they differ: attention, a pooling head, the longest text.

Nothing here is a list of names that could be complete: a kind qualifies by what transformers trains it for, and one
that no test goes all the way with is tried on two texts before it is used.
"""

from typing import Any

import torch
from torch import nn

from recsys.artifacts import ArtifactError

# Kinds that tests load, train, pre-train, export and classify with.
TESTED = frozenset(
    ("albert", "bert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta")
)
# Kinds whose own code mixes fp32 into what it computes: bf16 from end to end fails, and autocast does not mind.
MIXED = frozenset(("deberta",))
WANTED = "Name an encoder of the kind of BERT, RoBERTa, MPNet, DistilBERT, ModernBERT, ELECTRA, DeBERTa or ALBERT."


def read_kind(source: str) -> tuple[Any, Any]:
    """Return configuration and class of the text encoder in a folder or under a hub name; no weights are read.

    Raises:
        ArtifactError: it is no text encoder, or its weights are quantised.
        OSError, ValueError: there is no model, or one of a kind that transformers does not know.
    """
    from transformers import AutoConfig  # here: as in backbone.py
    from transformers.models.auto import modeling_auto as auto

    config: Any = AutoConfig.from_pretrained(source, trust_remote_code=False)
    kind = config.model_type
    reason = ""
    if getattr(config, "is_encoder_decoder", False):
        reason = "reads with an encoder and writes with a decoder"
    elif type(config) in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING or hasattr(config, "vision_config"):
        reason = "reads images"
    elif getattr(config, "is_decoder", False) or (
        type(config) in auto.MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in auto.MODEL_FOR_MASKED_LM_MAPPING
    ):
        reason = "is a decoder: it reads from left to right"
    elif type(config) not in auto.MODEL_FOR_MASKED_LM_MAPPING or type(config) not in auto.MODEL_MAPPING:
        reason = "is of no kind that is trained to foretell masked words"
    if reason:
        raise ArtifactError(f"{source} is no text encoder: {kind} {reason}. {WANTED}")
    if getattr(config, "quantization_config", None) is not None:
        raise ArtifactError(f"{source} has quantised weights. Name the base as it was before, in full precision.")
    return config, auto.MODEL_MAPPING[type(config)]


def longest_text(model: nn.Module, config: Any) -> int | None:
    """Return how many tokens of a text a model reads at most, the special ones included; None where nothing says so."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count from behind the padding's place.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    found = getattr(config, "max_position_embeddings", None)  # of relative or rotated positions: what it was trained on
    return int(found) if found else None


@torch.inference_mode()
def check_kind(model: Any, source: str) -> None:
    """Check of a kind that is not tested that it gives a vector a token, and that padding changes none.

    Raises:
        ArtifactError: it does not.
    """
    kind = model.config.model_type
    if kind in TESTED:
        return
    ids = torch.full((1, 6), min(10, model.config.vocab_size - 1), device=next(model.parameters()).device)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    model.eval()
    try:
        padded = model(input_ids=ids, attention_mask=mask).last_hidden_state
        alone = model(input_ids=ids[:, :4], attention_mask=None).last_hidden_state
        same = padded.shape == (1, 6, model.config.hidden_size) and torch.allclose(padded[:, :4], alone, atol=1e-3)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ArtifactError(f"{source}: {kind} cannot be run on ids and mask alone ({error}). {WANTED}") from error
    if not same:
        raise ArtifactError(f"{source}: with {kind} a text's vector depends on the padding behind it. {WANTED}")
