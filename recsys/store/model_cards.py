"""The README of an adapter that leaves the house, from its card: what it is, how it was measured, how to open it."""

import json

from recsys.models.encoder.packaged import PACKAGED_BASES
from recsys.models.encoder.shared import Shared
from recsys.store.manifests import AdapterCard

_PEFT = """from peft import PeftModel
from transformers import AutoModel

model = PeftModel.from_pretrained(AutoModel.from_pretrained({base}), ".")
# a text's vector: {pooling} over the hidden states of its tokens, then unit length"""
_SENTENCE_TRANSFORMERS = """from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer(".").encode(["Toy Story | year: 1995"])"""


def model_card(card: AdapterCard, form: Shared, pooling: str) -> str:
    """Return Markdown with the header that model hubs read.

    Args:
        card: of the adapter; of a base alone, one with nothing but its name and hash.
        form: what the folder is.
        pooling: of the base.
    """
    packaged = PACKAGED_BASES.get(card.base)
    opened = "base" if packaged else json.dumps(card.base)
    code = (_PEFT if form == "peft" else _SENTENCE_TRANSFORMERS).format(base=opened, pooling=pooling)
    facts = {
        "adapter": card.id or None,
        "task": card.task if card.id else None,
        "base": f"the Python package {packaged.requirement}" if packaged else card.base,
        "SHA-256 of the base": card.base_digest,
        "trained on snapshot": card.snapshot,
        "measured by": card.protocol,
        "went on from": card.parent,
        "pooling": pooling,
        "tokens of a text": str(card.max_tokens),
    }
    rows = [f"| {name} | {value} |" for name, value in facts.items() if value]
    figures = [f"| {name} | {value:.4f} |" for name, value in _flat(card.metrics).items()]
    parts = [
        f"---\nlibrary_name: {form}\nbase_model: {json.dumps(card.base)}\npipeline_tag: sentence-similarity\n---",
        f"# {'LoRA adapter' if form == 'peft' else 'Text encoder'} of recsys",
        "| | |\n|---|---|\n" + "\n".join(rows),
        f"```python\n{code}\n```",
        "## Metrics\n\n| | |\n|---|---|\n" + "\n".join(figures) if figures else "",
        "## Settings\n\n```json\n" + json.dumps(card.settings, indent=2, sort_keys=True) + "\n```",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _flat(values: dict[str, object], prefix: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name} ")
        elif isinstance(value, int | float):
            found[f"{prefix}{name}"] = float(value)
    return found
