"""What the page tells who runs it names units, manifests, secrets and commands that there are."""

import re
import shlex
from pathlib import Path

import typer
import yaml
from manifests import KUBERNETES, documents, written
from typer.core import TyperGroup

from flows.cli import app

CLONE = KUBERNETES.parents[1]
PAGE = (CLONE / "infra" / "README.md").read_text()
COMMANDS = typer.main.get_command(app)


def lines(heading: str) -> list[list[str]]:
    """Return the words of every command below a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


def check_command(words: list[str]) -> None:
    command = COMMANDS
    names = iter(words)
    while isinstance(command, TyperGroup):
        command = command.commands[next(names)]
    known = {option for each in command.params for option in each.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_units_and_commands_of_one_machine_are_there() -> None:
    seen = set()
    for words in lines("One machine with systemd"):
        if words[0].startswith("/opt/recsys/infra"):
            assert (CLONE / Path(words[0]).relative_to("/opt/recsys")).stat().st_mode & 0o111
        for unit in (word for word in words if word.endswith((".service", ".timer"))):
            assert (CLONE / "infra" / "systemd" / unit).is_file()
            seen.add(unit)
        if words[0] == "systemd-run":
            check_command(words[words.index("/opt/recsys/.venv/bin/recsys") + 1 :])
    assert seen == {
        path.name for kind in ("service", "timer") for path in (KUBERNETES.parent / "systemd").glob(f"*.{kind}")
    }


def test_what_is_typed_for_a_cluster_names_what_is_in_its_manifests() -> None:
    manifests = [one for _, one, _ in written()]
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    text = yaml.safe_dump_all(manifests)
    made = set()
    for words in lines("Kubernetes"):
        assert words[0] == "kubectl"
        assert "--namespace" not in words or words[words.index("--namespace") + 1] == "recsys"
        for word in words:
            kind, _, name = word.partition("/")
            if name and kind in ("deploy", "service"):
                assert ({"deploy": "Deployment", "service": "Service"}[kind], name) in there
            if word.startswith("--from=cronjob/"):
                assert ("CronJob", word.rpartition("/")[2]) in there
            if word.startswith("infra/kubernetes/"):
                path = CLONE / word
                assert path.is_file() or (path / "kustomization.yaml").is_file()
        if "generic" in words:
            secret = words[words.index("generic") + 1]
            (key,) = [word.split("=")[1] for word in words if word.startswith("--from-")]
            assert f"name: {secret}" in text or f"secretName: {secret}" in text
            assert f"key: {key}" in text or key in text
            made.add(secret)
        if "--" in words and words[words.index("--") + 1] == "recsys":
            check_command(words[words.index("--") + 2 :])
    needed = set(re.findall(r"secretKeyRef:\n\s+key: \w+\n\s+name: ([\w-]+)", text)) | set(
        re.findall("secretName: (.+)", text)
    )
    assert made == needed


def test_every_folder_is_told_of() -> None:
    assert {path.name for path in KUBERNETES.iterdir()} == {"base", "small", "production", "restore", "monitoring"}
    row = next(line for line in PAGE.splitlines() if line.startswith("| `kubernetes/` |"))
    assert {"small", "production", "restore", "monitoring"} <= set(re.findall(r"`(\w+)`", row))
    labels = re.findall(r"kubectl label namespace \S+ (\S+)=true", PAGE)
    policy = documents(KUBERNETES / "base" / "network.yaml")
    assert [f"{label}: 'true'" in yaml.safe_dump_all(policy) for label in labels] == [True]
