"""The formulas of a BERT's work against what torch counts, the fixed shapes of a compiled one, and a packed base."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from recsys.artifacts import ArtifactError
from recsys.config import LoraConfig
from recsys.models.adapter import carry_back
from recsys.models.devices import Team
from recsys.models.encoder.backbone import Backbone, add_lora, load_backbone, pack_base, unpack_base
from recsys.models.encoder.tokens import Tokens, compiled, embed, in_bf16, prepared, tokenize
from recsys.models.throughput import SHAPES, Shape, encoding_flops, lora_flops, random_base

SHAPE = Shape(hidden=48, layers=2, heads=4)
TOKENS = 20
LINES = [" ".join(f"w{(row * 7 + step) % 1000}" for step in range(3 + row)) for row in range(13)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return random_base(SHAPE, tmp_path_factory.mktemp("base"), TOKENS)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.models.devices.has_cpu_bf16", lambda: False)


def carrying_lora(base: str) -> tuple[Backbone, list[torch.nn.Parameter], Tokens]:
    """Return a base whose LoRA weights are not zero, these weights, and the lines as its tokens."""
    carrier = add_lora(load_backbone(base, torch.device("cpu")), LoraConfig(rank=2), seed=0)
    lora = [weight for name, weight in carrier.model.named_parameters() if "lora" in name]
    with torch.no_grad():
        for weight in lora:
            weight.normal_(std=0.1)
    return carrier, lora, tokenize(carrier, LINES, TOKENS)


@pytest.mark.parametrize("tokens", [20, 200])  # weights outweigh attention, and the other way round
def test_the_formulas_count_what_torch_counts(tokens: int, tmp_path: Path) -> None:
    backbone = load_backbone(random_base(SHAPE, tmp_path, tokens), torch.device("cpu"))
    ids = torch.randint(4, 1000, (3, tokens))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert counter.get_total_flops() == 3 * encoding_flops(SHAPE, tokens)

    carrier = add_lora(backbone, LoraConfig(rank=1), seed=0)
    with FlopCounterMode(display=False) as counter:
        carrier.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.sum().backward()
    found, wanted = counter.get_total_flops(), 3 * lora_flops(SHAPE, tokens)
    # The LoRA matrices come on top; nothing is carried back below the first layer's own.
    assert wanted * 0.93 < found < wanted * 1.07


def test_the_bounds_are_those_of_the_field() -> None:
    """At 790 TFLOP/s and 64 tokens BERT-base is bound to 72k and MiniLM to 566k texts a second."""
    assert 790e12 / encoding_flops(SHAPES["bert-base"], 64) == pytest.approx(72e3, rel=0.01)
    assert 790e12 / encoding_flops(SHAPES["minilm"], 64) == pytest.approx(566e3, rel=0.01)


@pytest.mark.usefixtures("exact")
def test_fixed_shapes_and_compiling_leave_vectors_and_gradients(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **how: real(model, backend="eager", **how))  # needs no compiler
    carrier, lora, tokens = carrying_lora(base)
    fixed = tokens.in_fixed_shapes()
    shapes = {tuple(fixed.batch(part, torch.device("cpu"))[0].shape) for part in fixed.buckets(np.arange(13), 100)}
    assert {width for _, width in shapes} <= {16, max(map(len, tokens.ids))}
    assert all(rows & (rows - 1) == 0 for rows, _ in shapes)

    gradient = torch.randn(13, SHAPE.hidden, generator=torch.Generator().manual_seed(0))
    found = []
    for runner, some in ((carrier, tokens), (compiled(carrier), fixed)):
        stored = torch.zeros(13, SHAPE.hidden)
        carry_back(runner, some, np.arange(13), gradient, stored, lora, Team(), 100)
        found.append((stored, [weight.grad.clone() for weight in lora]))
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(embed(carrier, fixed), embed(carrier, tokens), atol=1e-5)


@pytest.mark.usefixtures("exact")
def test_bf16_from_end_to_end_leaves_weights_and_nearly_their_gradients(base: str) -> None:
    carrier, lora, tokens = carrying_lora(base)
    gradient = torch.randn(13, SHAPE.hidden, generator=torch.Generator().manual_seed(0))
    found = []
    for runner in (carrier, in_bf16(carrier)):
        stored = torch.zeros(13, SHAPE.hidden)
        carry_back(runner, tokens, np.arange(13), gradient, stored, lora, Team(), 100)
        found.append((stored, torch.cat([weight.grad.flatten() for weight in lora])))
    assert all(weight.dtype == weight.grad.dtype == torch.float32 for weight in lora)
    assert not torch.equal(found[0][0], found[1][0])
    assert functional.cosine_similarity(found[0][0], found[1][0]).min() > 0.999
    assert functional.cosine_similarity(found[0][1], found[1][1], dim=0) > 0.99


def test_a_processor_trains_as_it_is_however_long_the_work(base: str) -> None:
    backbone = load_backbone(base, torch.device("cpu"))
    tokens = tokenize(backbone, LINES, TOKENS)
    assert prepared(backbone, tokens, 10**12) == (backbone, tokens)


@pytest.mark.usefixtures("exact")
def test_a_packed_base_encodes_as_the_base_does(tmp_path: Path) -> None:
    name = LoraConfig().base
    backbone = load_backbone(name, torch.device("cpu"))
    pack_base(backbone, tmp_path / "base.zip")
    assert (tmp_path / "base.zip").stat().st_size < 45_000_000
    other = load_backbone(unpack_base(tmp_path / "base.zip", tmp_path / "base"), torch.device("cpu"))
    assert next(other.model.parameters()).dtype == torch.float32
    one, two = (embed(each, tokenize(each, ["a quiet film", "é"], 16)) for each in (backbone, other))
    cosines = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert (1 - cosines).max() < 1e-5

    content = bytearray((tmp_path / "base.zip").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "base.zip").write_bytes(content)
    with pytest.raises(ArtifactError, match="no packed base"):
        unpack_base(tmp_path / "base.zip", tmp_path / "damaged")
