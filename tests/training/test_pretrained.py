"""A training that begins with a pre-trained adapter: of its own shape, from the base that is installed."""

from functools import partial

import pytest
import torch

from recsys.artifacts import ArtifactError
from recsys.config import AdapterConfig, LoraConfig, PretrainConfig, to_dict
from recsys.home import Home
from recsys.models.encoder.backbone import BaseModelError, add_lora, load_backbone, save_lora
from recsys.store.adapters import save_adapter
from recsys.store.manifests import PRETRAINING, AdapterCard
from recsys.training.pretrained import pretrained_folder

LORA = LoraConfig(rank=4, alpha=8.0)
NOW = to_dict(PretrainConfig(LORA)) | {"seed": 3}
# As cards of before LoRA had a place of its own have it.
BEFORE = {name: value for name, value in NOW.items() if name != "lora"} | to_dict(LORA) | {"dropout": 0.0}


@pytest.fixture(scope="module")
def backbone():
    return add_lora(load_backbone(LORA.base, torch.device("cpu")), LORA, seed=0)


@pytest.mark.parametrize("settings", [NOW, BEFORE])
def test_the_adapter_must_have_the_shape_that_the_settings_ask_for(backbone, tmp_path, settings):
    home = Home(tmp_path)
    card = AdapterCard(task=PRETRAINING, base=LORA.base, base_digest=backbone.base_digest, settings=settings)
    adapter_id = save_adapter(home, partial(save_lora, backbone), card)
    assert pretrained_folder(home, AdapterConfig(LORA, pretrained=adapter_id)) == home.adapters / adapter_id
    with pytest.raises(ArtifactError, match=r"pre-trained with alpha 8\.0, and adapter\.lora\.alpha is 2\.0"):
        pretrained_folder(home, AdapterConfig(LoraConfig(rank=4, alpha=2.0), pretrained=adapter_id))


def test_the_base_must_be_the_one_that_was_pretrained(backbone, tmp_path):
    home = Home(tmp_path)
    card = AdapterCard(task=PRETRAINING, base=LORA.base, base_digest="0" * 64, settings=NOW)
    adapter_id = save_adapter(home, partial(save_lora, backbone), card)
    with pytest.raises(BaseModelError):
        pretrained_folder(home, AdapterConfig(LORA, pretrained=adapter_id))
