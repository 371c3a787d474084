"""How fast a BERT encodes and trains here, as a share of what the machine multiplies matrices with.

    python -m recsys.models.throughput --shapes minilm bert-base --tokens 64 128 --out throughput.json

Weights are random, of the shapes named, so nothing but torch, transformers, peft and numpy is needed. Everything timed
is the product's own: the exported encoder, and the LoRA step of ``training``. The bound of a piece of work is its
floating-point operations over the matrix rate, a large product timed in the same run; MFU (model FLOPs utilisation) is
the share of that rate which the work attains.
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from recsys.artifacts import write_json
from recsys.config import LoraConfig
from recsys.models.adapter import ENCODE_TOKENS, carry_back
from recsys.models.devices import Team, computes_bf16, default_device, device_name
from recsys.models.encoder.backbone import Backbone, add_lora, load_backbone, quiet
from recsys.models.encoder.export import ExportedEncoder, best_form, export
from recsys.models.encoder.tokens import compiled, prepared, tokenize
from recsys.models.optimisation import MAX_GRADIENT_NORM

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
MATRIX_SIZE = {"cpu": 1536, "cuda": 8192}  # of the square product that is timed
TEXTS = {"cpu": 64, "cuda": 8192}
STEP_TEXTS = {"cpu": 32, "cuda": 2048}
REFERENCE = "sentence_transformers"


@dataclass(frozen=True)
class Shape:
    """A BERT's size."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int = 30_522

    @property
    def matrix_weights(self) -> int:
        """Weights that every token is multiplied with, N: 12·hidden² a layer; looking up an embedding costs nothing."""
        return 12 * self.layers * self.hidden**2


SHAPES = {"minilm": Shape(384, 6, 12), "bert-base": Shape(768, 12, 12)}


def encoding_flops(shape: Shape, tokens: int) -> int:
    """Return the floating-point operations to encode one text of so many tokens.

    ``tokens · (2N + 4 · layers · tokens · hidden)``: a multiplication and an addition for each of the N weights, and as
    much for each of the two products of attention, scores and mixture, over all tokens (Kaplan et al. 2020,
    arXiv:2001.08361, §2.1; both directions are seen, so nothing is halved). Softmax, norms and GELU are left out.
    """
    return tokens * (2 * shape.matrix_weights + 4 * shape.layers * tokens * shape.hidden)


def lora_flops(shape: Shape, tokens: int) -> int:
    """Return the floating-point operations of a LoRA step for one text of so many tokens.

    ``tokens · (4N + 12 · layers · tokens · hidden)``. The backward pass of a full training costs twice the forward one
    (Chowdhery et al. 2022, arXiv:2204.02311, appendix B: 6N + 12 · layers · tokens · hidden), half of it for gradients
    of the weights; the base's are frozen, which leaves 2N forward and 2N for gradients of the activations. Attention
    has no weights, so its backward pass stays whole. The LoRA matrices themselves, below 5 % at rank 8, are left out.
    """
    return tokens * (4 * shape.matrix_weights + 12 * shape.layers * tokens * shape.hidden)


@dataclass(frozen=True)
class Speed:
    """How fast something went.

    Attributes:
        texts_per_second: median of the repeats.
        tokens_per_second: none of them is padding.
        flops_per_second: by the formulas above.
        mfu: ``flops_per_second`` over the measured matrix rate.
    """

    texts_per_second: float
    tokens_per_second: float
    flops_per_second: float
    mfu: float

    @classmethod
    def of(cls, seconds: float, texts: int, tokens: int, flops: int, rate: float) -> "Speed":
        """Return the speed of encoding ``texts`` of so many tokens and FLOPs each in some seconds."""
        return cls(texts / seconds, texts * tokens / seconds, texts * flops / seconds, texts * flops / seconds / rate)


def matrix_rate(device: torch.device, repeats: int = 10) -> float:
    """Return the FLOP/s of a large square product, the best of the repeats: in bf16 where the device computes in it."""
    size = MATRIX_SIZE[device.type]
    dtype = torch.bfloat16 if computes_bf16(device) else torch.float32
    layer = nn.Linear(size, size, bias=False, device=device, dtype=dtype)
    left = torch.randn(size, size, device=device, dtype=dtype)
    with torch.inference_mode():
        return 2 * size**3 / min(_seconds(lambda: layer(left), device, repeats))


def random_base(shape: Shape, folder: Path, longest: int) -> str:
    """Write a BERT of random weights that reads the words ``w0`` to ``w999`` as a folder; return its name."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *(f"w{number}" for number in range(1000))])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    words.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=longest,
    )  # fmt: skip
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        max_position_embeddings=longest,
    )
    torch.manual_seed(0)
    with quiet():
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def measure(
    shape: Shape, tokens: int, texts: int, step_texts: int, rate: float, repeats: int, compile_too: bool = False
) -> dict[str, Any]:
    """Time the encoding of texts and LoRA steps, all texts of the same length.

    Args:
        shape: of the BERT.
        tokens: of every text, the special ones included; at least 3.
        texts: encoded in one go.
        step_texts: in one LoRA step.
        rate: FLOP/s of the matrix product.
        repeats: of which the median counts.
        compile_too: whether the LoRA step is also timed compiled, and what compiling cost.

    Returns:
        ``embed`` from token ids, ``embed_texts`` with tokenising, ``lora_step``, and where asked for or installed
        ``lora_step_compiled`` and ``sentence_transformers``; ``bound`` is texts/s at the matrix rate.
    """
    rng = np.random.default_rng(0)
    lines = [
        " ".join(f"w{word}" for word in rng.integers(1000, size=tokens - 2)) for _ in range(max(texts, step_texts))
    ]
    device = default_device()
    result: dict[str, Any] = {"tokens": tokens, "texts": texts, "step_texts": step_texts}
    with tempfile.TemporaryDirectory() as place:
        base = random_base(shape, Path(place), tokens)
        backbone = load_backbone(base)
        some, flops = lines[:texts], encoding_flops(shape, tokens)

        def speed(action: Callable[[], object], count: int, cost: int) -> dict[str, float]:
            action()  # warms up
            seconds = statistics.median(_seconds(action, device, repeats))
            return asdict(Speed.of(seconds, count, tokens, cost, rate))

        (Path(place) / "export").mkdir()
        export(backbone, Path(place) / "export", best_form(), {})
        encoder = ExportedEncoder.open(Path(place) / "export", tokens)
        ids = tokenize(backbone, lines, tokens)
        result["form"] = best_form()
        result["embed"] = speed(lambda: encoder.encode_tokens(replace(ids, ids=ids.ids[:texts])), texts, flops)
        result["embed_texts"] = speed(lambda: encoder.encode(some), texts, flops)
        if importlib.util.find_spec(REFERENCE) is not None:
            reference = _reference(base, device)
            result[REFERENCE] = speed(lambda: reference(some), texts, flops)
        carrier, _ = prepared(add_lora(backbone, LoraConfig(), seed=0), ids, texts=0)
        cost = lora_flops(shape, tokens)
        result["lora_step"] = speed(_lora_step(carrier, lines[:step_texts], tokens), step_texts, cost)
        if compile_too:
            step = _lora_step(compiled(carrier), lines[:step_texts], tokens)
            started = time.perf_counter()
            step()
            result["compile_seconds"] = time.perf_counter() - started
            result["lora_step_compiled"] = speed(step, step_texts, cost)
    result["bound"] = {"embed": rate / flops, "lora_step": rate / cost}
    return result


def _lora_step(carrier: Backbone, lines: Sequence[str], tokens: int) -> Callable[[], None]:
    """Return one step of ``train_adapter`` after the towers': encode, carry a gradient back, change the weights."""
    ids = tokenize(carrier, lines, tokens)
    lora = [weight for weight in carrier.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(lora, lr=1e-5, fused=carrier.device.type == "cuda")
    stored = torch.zeros(len(lines), carrier.hidden_size, device=carrier.device)
    gradient = torch.randn_like(stored)
    chosen, size = np.arange(len(lines)), ENCODE_TOKENS[carrier.device.type]

    def step() -> None:
        carry_back(carrier, ids, chosen, gradient, stored, lora, Team.current(), size)
        nn.utils.clip_grad_norm_(lora, MAX_GRADIENT_NORM)
        optimizer.step()

    return step


def _reference(base: str, device: torch.device) -> Callable[[list[str]], object]:
    from sentence_transformers import SentenceTransformer  # for comparing only: not required by anything

    with quiet():
        model = SentenceTransformer(base, device=str(device))
    return lambda texts: model.encode(texts, normalize_embeddings=True, show_progress_bar=False)


def _seconds(action: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Return how long each of some calls took, the work that they left to a GPU included."""
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - started)
    return found


def machine() -> dict[str, Any]:
    """Return what a figure depends on: device, threads, packages."""
    return {
        "device": device_name(),
        "threads": torch.get_num_threads(),
        "precision": "bf16" if computes_bf16(default_device()) else "fp32",
        "torch": str(torch.__version__),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line names, print it, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES), default=sorted(SHAPES, reverse=True))
    parser.add_argument("--tokens", nargs="+", type=int, default=[64], help="of a text")
    parser.add_argument("--texts", type=int, help="encoded in one go")
    parser.add_argument("--step-texts", type=int, help="in a LoRA step")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="time the compiled LoRA step, too")
    parser.add_argument("--out", type=Path, help="a JSON file")
    options = parser.parse_args(arguments)

    device = default_device()
    rate = matrix_rate(device)
    document: dict[str, Any] = {"task": "throughput", "machine": machine(), "matrix_flops_per_second": rate, "runs": []}
    print(f"{document['machine']}\nmatrix product {rate / 1e9:,.0f} GFLOP/s", flush=True)
    for name in options.shapes:
        for tokens in options.tokens:
            texts, step_texts = options.texts or TEXTS[device.type], options.step_texts or STEP_TEXTS[device.type]
            found = measure(SHAPES[name], tokens, texts, step_texts, rate, options.repeats, options.compile)
            document["runs"].append({"shape": name, **found})
            for work, row in found.items():
                if isinstance(row, dict) and "mfu" in row:
                    print(
                        f"{name:10} {tokens:4} tokens  {work:22} {row['texts_per_second']:10,.0f} items/s "
                        f"{row['tokens_per_second']:12,.0f} tokens/s  MFU {row['mfu']:.3f}",
                        flush=True,
                    )
            if options.compile:
                print(f"{name:10} {tokens:4} tokens  compiled in {found['compile_seconds']:.0f} s", flush=True)
    if importlib.util.find_spec(REFERENCE) is None:
        print("sentence-transformers is not installed, so nothing is compared with it")
    if options.out:
        write_json(options.out, document)


if __name__ == "__main__":
    main()
