"""Tiny bases of every kind, of random weights, as folders that ``load_backbone`` loads."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    BertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from recsys.models.encoder.backbone import quiet

SPECIAL = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]  # the padding at 1, as RoBERTa and MPNet have it
WORDS = [f"w{number}" for number in range(59)]
LONGEST = 24  # tokens that each of them reads
SIZE = {"vocab_size": len(SPECIAL) + len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = SIZE | {"intermediate_size": 32, "pad_token_id": 1, "max_position_embeddings": LONGEST}
NARROW = {"position_buckets": 4, "norm_rel_ebd": "layer_norm", "share_att_key": True}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}

CONFIGS = {
    "bert": BertConfig(**WIDE),
    "roberta": RobertaConfig(**WIDE | {"max_position_embeddings": LONGEST + 2}),
    "mpnet": MPNetConfig(**WIDE | {"max_position_embeddings": LONGEST + 2}),
    "distilbert": DistilBertConfig(
        vocab_size=SIZE["vocab_size"], dim=16, n_layers=2, n_heads=2, hidden_dim=32, pad_token_id=1,
        max_position_embeddings=LONGEST,
    ),
    "modernbert": ModernBertConfig(
        **WIDE | {"cls_token_id": 0, "bos_token_id": 0, "sep_token_id": 2, "eos_token_id": 2},
        global_attn_every_n_layers=2, local_attention=8,
    ),
    "electra": ElectraConfig(**WIDE, embedding_size=8),
    "deberta": DebertaConfig(**WIDE, **RELATIVE),
    "deberta-v2": DebertaV2Config(**WIDE, **RELATIVE, **NARROW),
    "albert": AlbertConfig(**WIDE, embedding_size=8),
}  # fmt: skip


def tiny_base(kind: str, folder: Path) -> str:
    """Write a base of a kind with its own head, and a tokenizer of ``WORDS``; return its name."""
    torch.manual_seed(0)
    with quiet():
        model = AutoModelForMaskedLM.from_config(CONFIGS[kind])
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight) * 0.1)  # fresh ones hardly tell one text from another
        model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of ``WORDS``."""
    words = Tokenizer(WordLevel({word: place for place, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, cls_token="[CLS]", pad_token="[PAD]", sep_token="[SEP]", unk_token="[UNK]",
        mask_token="[MASK]",
    )  # fmt: skip
