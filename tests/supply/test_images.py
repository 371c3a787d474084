"""The images: made from the locks alone, for a user without rights, with nothing left that builds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.images.dockerfile import DOCKERFILE, IGNORE, Stage, environment, last, lineage, read_stages, sent
from infra.supply.locks import LOCKS, REQUIREMENTS, read
from services.requirements import LEFT_OUT, requirements

CLONE = Path(__file__).parents[2]
STAGES = read_stages(DOCKERFILE.read_text())
TARGETS = ("service", "worker", "worker-cuda")
HASHED = ("--require-hashes", "--no-deps", "--only-binary :all:")


def listed() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=CLONE, check=True, capture_output=True, text=True).stdout.split()


def test_hadolint_finds_nothing_and_is_asked_in_earnest(tmp_path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    checked = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN pip install six\nCMD python\n")
    found = subprocess.run([hadolint, bad], capture_output=True, text=True).stdout
    assert {"DL3006", "DL3013", "DL3025"} <= set(re.findall(r"DL\d+", found))


def pips() -> list[tuple[str, str]]:
    """Return each command of pip by its stage."""
    commands = [
        (stage.name, command.strip())
        for stage in STAGES.values()
        for run in stage.all("RUN")
        for command in run.value.split("&&")
    ]
    return [(name, command) for name, command in commands if re.match(r"(/\S+/)?pip3? ", command)]


@pytest.mark.parametrize(("stage", "command"), pips())
def test_pip_installs_what_is_locked_by_hash_and_builds_nothing_of_others(stage: str, command: str) -> None:
    if "--no-index" in command:  # the project itself
        assert "--no-deps" in command
    elif " install " in command:
        assert "--require-hashes" in command
        assert "--only-binary :all:" in command
        named = re.findall(r"--requirement \S*/(\S+)", command)
        assert named
        assert all(name.removesuffix(".txt") in LOCKS for name in named)
    else:
        assert " uninstall " in command


def test_the_service_has_its_own_lock_and_a_worker_with_a_card_torchs() -> None:
    locks = {
        name: set(re.findall(r"lock[\w-]*", " ".join(one.value for one in STAGES[f"{name}-packages"].all("RUN"))))
        for name in TARGETS
    }
    assert {name: {one for one in found if one != "locks"} for name, found in locks.items()} == {
        "service": {"lock-service", "lock-cpu"},
        "worker": {"lock", "lock-cpu"},
        "worker-cuda": {"lock", "lock-cuda"},
    }


def test_the_locks_of_images_are_parts_of_the_lock() -> None:
    pins = {name: {pin.name: pin for pin in read(path.read_text())} for name, path in LOCKS.items()}
    for part in ("lock-service", "lock-build"):
        assert all(pins["lock"][name] == pin for name, pin in pins[part].items())
    service = pins["lock-service"]
    assert not LEFT_OUT & service.keys()
    assert pins["lock"].keys() > LEFT_OUT
    installed = {line.partition("==")[0]: line.partition("==")[2] for line in requirements()}
    version = installed.pop("torch")
    assert installed.keys() <= service.keys()
    assert "hatchling" in pins["lock-build"]
    assert not {"hatchling", "editables"} & service.keys()
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert sorted(lines) == sorted([*(pin.constraint for pin in service.values()), f"torch=={version}"])


def test_what_is_copied_exists_and_is_sent() -> None:
    there = sent(listed(), IGNORE.read_text())
    for stage in STAGES.values():
        for one in stage.all("COPY"):
            named, sources, _ = one.copied()
            assert named is None or named in STAGES
            for source in sources if named is None else []:
                assert any(path == source or path.startswith(f"{source}/") for path in there), source


def test_docker_is_sent_code_and_locks_alone() -> None:
    ignore = IGNORE.read_text()
    state = [".git/config", ".recsys/keys.json", "infra/secrets/events.env", "recsys/.recsys/events.db", ".venv/x"]
    assert sent([*state, "tests/conftest.py", "services/__pycache__/api.pyc"], ignore) == []
    rooms = {path.split("/")[0] for path in sent(listed(), ignore)}
    assert rooms == {"recsys", "flows", "services", "infra", "pyproject.toml", "README.md", "LICENSE", "prefect.yaml"}
    below = {path for path in sent(listed(), ignore) if path.startswith("infra/")}
    assert below == {f"infra/supply/{path.name}" for path in LOCKS.values()}


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ("*", []),
        ("*\n!a", ["a/b", "a/c/d"]),
        ("a/*\n!a/c", ["a/c/d", "e"]),
        ("**/d", ["a/b", "e"]),
        ("# a\n\ne", ["a/b", "a/c/d"]),
    ],
)
def test_what_is_ignored_is_as_docker_ignores_it(patterns: str, left: list[str]) -> None:
    assert sent(["a/b", "a/c/d", "e"], patterns) == left


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_fixed_user_by_a_command_that_gets_the_signals(target: str) -> None:
    assert last(STAGES, target, "USER").value == "10001:10001"
    stages = lineage(STAGES, target)
    names = [one.name for stage in stages for one in stage.instructions]
    assert "RUN" not in names[names.index("USER") :]
    assert last(STAGES, target, "CMD").words()[0] in ("recsys", "prefect")
    assert "ENTRYPOINT" not in names  # which would stand before the command
    assert last(STAGES, target, "HEALTHCHECK").words()[0] == "python"
    variables = environment(STAGES, target, {"PATH": "/usr/bin"})
    assert variables["PATH"] == "/opt/recsys/bin:/usr/bin"
    assert variables["RECSYS_HOME"] == "/var/lib/recsys"
    assert not [name for name in variables if name.startswith("PIP_")]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_builds_is_left(target: str) -> None:
    (runtime,) = [stage for stage in lineage(STAGES, target) if stage.name == "runtime"]
    assert re.search(r"rm -rf \S+/pip\* ", runtime.all("RUN")[0].value)
    packages = " ".join(one.value for one in STAGES[f"{target}-packages"].all("RUN"))
    assert "venv --without-pip" in packages
    assert target == "service" or "uninstall --yes hatchling" in packages
    assert [one.value for one in STAGES[target].all("COPY")] == [f"--from={target}-packages /opt/recsys /opt/recsys"]


def test_one_image_of_others_is_pinned_and_everything_stands_on_it() -> None:
    bases = {stage.name: stage.base for stage in STAGES.values() if stage.base not in STAGES}
    assert list(bases) == ["python"]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", bases["python"])


@pytest.mark.parametrize("text", ["pip install six", "FROM x AS y\npip install six"])
def test_what_is_no_instruction_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no instruction"):
        read_stages(text)


def test_a_command_of_the_shells_form_is_refused() -> None:
    stage: Stage = read_stages("FROM x AS y\nCMD recsys serve")["y"]
    with pytest.raises(ValueError):  # noqa: PT011 - the JSON reader's own
        stage.all("CMD")[0].words()
