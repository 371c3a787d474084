"""Merged adapters: what each changes in the base, added by weight, and nothing that does not fit together."""

import numpy as np
import pytest
import torch
from families import LONGEST, WORDS, tiny_base
from test_foreign import foreign

from recsys.config import AdapterConfig, ModelConfig
from recsys.errors import SettingError
from recsys.home import Home
from recsys.models.encoder.backbone import load_backbone, load_lora
from recsys.models.encoder.tokens import embed_catalogue, tokenize
from recsys.store.adapters import verify_adapter
from recsys.store.imports import import_adapter
from recsys.store.merges import merge_adapters
from recsys.training.pretrained import with_adapter

CPU = torch.device("cpu")
TEXTS = [" ".join(WORDS[: 1 + number]) for number in range(0, 20, 3)]
QUERY = "encoder.layer.0.attention.self.query.weight"


@pytest.fixture(scope="module", autouse=True)
def exact():
    """Compute in fp32 on every processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.models.devices.has_cpu_bf16", lambda: False)
        yield


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A base, a home, and three adapters of it: two of one shape, of which one is rsLoRA, and one of fewer layers."""
    folder = tmp_path_factory.mktemp("merging")
    base, home, ids = tiny_base("bert", folder / "base"), Home(folder / "home"), []
    for number, shape in enumerate(({"use_rslora": True}, {"lora_alpha": 2}, {"r": 2, "target_modules": ["query"]})):
        foreign(base, folder / f"{number}", **shape)
        ids.append(import_adapter(home, folder / f"{number}", base, LONGEST).id)
    return base, home, ids


def merged_weights(base, home, adapter):
    return load_lora(verify_adapter(home, adapter), base, CPU).model.state_dict()


@pytest.mark.parametrize(("chosen", "weights"), [((0, 1), [0.5, 0.5]), ((1, 0), [2.0, 0.25]), ((0, 2, 1), [0.2, 1, 3])])
def test_the_sum_is_exact_by_cat(stored, chosen, weights):
    base, home, ids = stored
    adapters = [ids[place] for place in chosen]
    card = merge_adapters(home, adapters, weights)
    plain = load_backbone(base, CPU).model.state_dict()
    parts = [merged_weights(base, home, adapter) for adapter in adapters]
    found = merged_weights(base, home, card.id)
    for name, before in plain.items():
        wanted = before + sum(weight * (part[name] - before) for weight, part in zip(weights, parts, strict=True))
        torch.testing.assert_close(found[name], wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[QUERY], plain[QUERY], atol=1e-3)
    assert card.training["merged"] == {"parents": adapters, "weights": weights, "method": "cat", "rank": None}
    assert merge_adapters(home, adapters, weights).id == card.id


def test_the_other_methods_keep_their_rank(stored):
    _, home, ids = stored
    near = merge_adapters(home, ids[:2], method="svd", rank=8)
    exact = merge_adapters(home, ids[:2])
    base = stored[0]
    vectors = []
    for card in (near, exact):
        encoder = load_lora(verify_adapter(home, card.id), base, CPU)
        vectors.append(embed_catalogue(encoder, tokenize(encoder, TEXTS, LONGEST)))
    np.testing.assert_allclose(*vectors, atol=1e-4)  # two of rank 4 are of rank 8 at most
    for method, rank in (("linear", 4), ("svd", 4)):
        card = merge_adapters(home, ids[:2], method=method)
        config = ModelConfig(adapter=AdapterConfig(pretrained=card.id))
        assert with_adapter(home, config).adapter.lora.rank == rank  # a training takes its shape


def test_what_does_not_fit_together_is_refused(stored, tmp_path):
    _, home, ids = stored
    other = tiny_base("bert", tmp_path / "other")
    weights = load_backbone(other, CPU)
    with torch.no_grad():
        next(weights.model.parameters()).add_(1)
    weights.model.save_pretrained(other)
    foreign(other, tmp_path / "theirs")
    strange = import_adapter(home, tmp_path / "theirs", other, LONGEST).id
    for adapters, given, told in (
        (ids[:1], {}, "Name two different adapters"),
        ([ids[0], ids[0]], {}, "Name two different adapters"),
        (ids[:2], {"weights": [1]}, "2 adapters take 2 weights, not 1"),
        (ids[:2], {"weights": [1, -1]}, "A weight is a number above 0"),
        (ids[:2], {"weights": [1, float("nan")]}, "A weight is a number above 0"),
        ([ids[0], ids[2]], {"method": "linear"}, "adds factors of one rank"),
        (ids[:2], {"method": "cat", "rank": 3}, "A rank, at least 1, is for the method svd"),
        ([ids[0], strange], {}, "is for another base"),
    ):
        before = sorted(home.adapters.iterdir())
        with pytest.raises(SettingError, match=told):
            merge_adapters(home, adapters, **given)
        assert sorted(home.adapters.iterdir()) == before
