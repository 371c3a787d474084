"""The service as a Bento: its code, what it needs at the versions installed here, and a generation if one is named.

``bentoml build`` makes it from a folder of the same files that a wheel of this project has, so that it works from a
clone and from an installation alike. A Bento of the same code, versions and generation is found and not built again.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from recsys import telemetry
from recsys.errors import RecsysError
from recsys.home import Home
from recsys.store.bundles import bundle_generation
from services.edge.keys import REQUIRE_KEYS
from services.requirements import requirements
from services.serve import SERVICE
from services.worker.bundled import BUNDLED, MODEL

NAME = "recommender_service"  # no name of a package: BentoML would import that first
BARE = "bare"  # the version, in the place of an id, of a Bento without a generation
PACKAGES = ("recsys", "services", "recsys_client")
DIGITS = 8
PORT = 3000


class BentoError(RecsysError):
    """BentoML did not build it. The message has its last words."""


@dataclass(frozen=True)
class BuiltBento:
    """A Bento in BentoML's store.

    Attributes:
        tag: its name and version.
        generation: the id of what it carries; None: nothing.
        found: whether it was there already.
    """

    tag: str
    generation: str | None
    found: bool


def build_bento(home: Home, generation_id: str | None) -> BuiltBento:
    """Build a Bento with BentoML, in its own store.

    Args:
        home: where the generation is.
        generation_id: what the Bento carries, and an empty home is filled with; None: nothing.

    Raises:
        ArtifactError: something of the generation is missing or broken.
        BentoError: BentoML refuses.
    """
    import bentoml  # and much with it

    model = None if generation_id is None else _stored_model(home, generation_id)
    with tempfile.TemporaryDirectory(prefix="recsys-bento-") as place:
        context = Path(place)
        for package in PACKAGES:
            _copy_package(package, context / package)
        if model is not None:
            (context / "services" / BUNDLED).write_text(f"{model}\n")
        settings = _settings(model)
        (context / "bentofile.yaml").write_text(yaml.safe_dump(settings))
        version = f"{generation_id or BARE}-{_digest(context)}"
        tag = f"{NAME}:{version}"
        try:
            bentoml.bentos.get(tag)
            return BuiltBento(tag, generation_id, found=True)
        except bentoml.exceptions.NotFound:
            pass
        command = [sys.executable, "-m", "bentoml", "build", "--version", version, str(context)]
        environment = telemetry.switched_off(os.environ)
        done = subprocess.run(command, env=environment, cwd=context, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise BentoError("\n".join([f"BentoML could not build {tag}:", *last]))
    return BuiltBento(tag, generation_id, found=False)


def _stored_model(home: Home, generation_id: str) -> str:
    """Put a generation into BentoML's store of models, unless it is there; return its tag."""
    import bentoml

    tag = f"{MODEL}:{generation_id}"
    try:
        return str(bentoml.models.get(tag).tag)
    except bentoml.exceptions.NotFound:
        with bentoml.models.create(tag, labels={"generation": generation_id}) as model:
            bundle_generation(home, generation_id, Path(model.path))
        return tag


def _settings(model: str | None) -> dict[str, object]:
    """Return what BentoML builds from."""
    settings: dict[str, object] = {
        "service": SERVICE,
        "name": NAME,
        "description": f"Recommendations over HTTP, {'with' if model else 'without'} a generation.",
        "labels": {"project": "recsys"},
        "include": [f"{package}/**" for package in PACKAGES],
        "python": {"packages": requirements(), "lock_packages": False},
        # In a container every interface, and only with keys; the home is a volume.
        "envs": [
            {"name": "BENTOML_HOST", "value": "0.0.0.0"},
            {"name": "BENTOML_PORT", "value": str(PORT)},
            {"name": REQUIRE_KEYS, "value": "1"},
            {"name": "RECSYS_HOME", "value": "~/recsys"},
        ],
    }
    return settings | ({"models": [model]} if model else {})


def _copy_package(name: str, target: Path) -> None:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.submodule_search_locations is not None
    ignored = shutil.ignore_patterns("__pycache__", "python-client", "*.pyc")
    shutil.copytree(next(iter(found.submodule_search_locations)), target, ignore=ignored)


def _digest(folder: Path) -> str:
    """Return digits of a SHA-256 over all files, by name and content."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    content = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]
