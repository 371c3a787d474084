"""The units are understood by systemd and closed as far as it can tell, their commands exist, and nothing reports."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from flows import server
from flows.cli import app
from flows.deployment import POOL
from services.serve import STOP_SECONDS

SYSTEMD = Path(__file__).parents[2] / "infra" / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))
EXPOSED = 1.5  # of 10, as it says; 1.4 where no other machine may be reached
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd is not installed")


def settings(path: Path) -> dict[str, list[str]]:
    """Return what a unit's service section says, every value of each setting."""
    found: dict[str, list[str]] = {}
    (section,) = re.findall(r"^\[Service\]\n(.*?)(?=^\[|\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def environment(path: Path) -> dict[str, str]:
    words = " ".join(settings(path).get("Environment", [])).split()
    return dict(word.split("=", 1) for word in words)


@needs_systemd
def test_systemd_understands_every_unit(tmp_path: Path) -> None:
    for path in [*UNITS, *SYSTEMD.glob("*.timer")]:
        text = re.sub(r"/opt/recsys/\.venv/bin/\S+", "/bin/true", path.read_text())
        (tmp_path / path.name).write_text(text.replace("file:/opt/recsys", "file:/"))
    for dropped, units in {"postgres": ("recsys", "recsys-worker", "recsys-backup"), "gpu": ("recsys-worker",)}.items():
        for unit in units:
            folder = tmp_path / f"{unit}.service.d"
            folder.mkdir(exist_ok=True)
            shutil.copy(SYSTEMD / f"{dropped}.conf", folder)
    for path in sorted(tmp_path.glob("recsys*.*er*")):
        if path.is_file():
            done = verified(path)
            assert (done.returncode, done.stderr) == (0, ""), path.name
    broken = tmp_path / "broken.service"
    broken.write_text((tmp_path / "recsys.service").read_text().replace("ProtectSystem=strict", "ProtectSystem=mostly"))
    assert "Failed to parse" in verified(broken).stderr


def verified(path: Path) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "SYSTEMD_UNIT_PATH": f"{path.parent}:"}
    return subprocess.run([str(ANALYZE), "verify", path], capture_output=True, text=True, env=known, check=False)


@needs_systemd
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_closed_to_what_it_has_no_use_for(path: Path) -> None:
    command = [str(ANALYZE), "security", "--offline=true", "--no-pager", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (exposed,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(exposed) <= EXPOSED


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_bounded_and_no_root(path: Path) -> None:
    said = settings(path)
    assert said["User"][0].startswith("recsys")
    assert said["NoNewPrivileges"] == said["ProtectHome"] == said["PrivateTmp"] == ["yes"]
    assert said["ProtectSystem"] == ["strict"]
    assert said["CapabilityBoundingSet"] == [""]
    assert said["UMask"] == ["0077"]
    assert said["StateDirectoryMode"] == ["0700"]
    assert {"MemoryMax", "TasksMax"} <= said.keys()
    assert environment(path)["DO_NOT_TRACK"] == "1"
    # what is secret comes from files of root's
    assert not [name for name in environment(path) if re.search("AUTH|PASSWORD|SECRET|DATABASE_URL", name)]
    assert all(file.lstrip("-").startswith("/etc/recsys/") for file in said["EnvironmentFile"])


def test_the_commands_are_there() -> None:
    commands = typer.main.get_command(app)
    assert isinstance(commands, TyperGroup)
    seen = []
    for path in UNITS:
        program, *words = settings(path)["ExecStart"][0].split()
        assert program.startswith("/opt/recsys/.venv/bin/")
        if program.endswith("/recsys"):
            known = {option for each in commands.commands[words[0]].params for option in each.opts}
            assert {word for word in words if word.startswith("--")} <= known
            seen.append(words[0])
        elif "--pool" in words:
            assert words[words.index("--pool") + 1] == POOL
    assert sorted(seen) == ["backup", "serve"]
    assert int(settings(SYSTEMD / "recsys.service")["TimeoutStopSec"][0]) > STOP_SECONDS


def test_prefects_server_is_closed_as_recsys_ui_closes_it() -> None:
    there = environment(SYSTEMD / "recsys-prefect.service")
    ours = server.closed("user:password", server.PORT) | server.LEASES
    del ours[server.SERVER_SECRET]
    assert ours.keys() <= there.keys()
    for name, value in ours.items():
        assert there[name] in value if name.endswith("ORIGINS") else there[name] == value


def test_installing_makes_a_login_once_and_what_is_secret_its_owners_alone(tmp_path: Path) -> None:
    kept = []
    for _ in range(2):
        done = subprocess.run([SYSTEMD / "install", tmp_path], capture_output=True, text=True, check=True)
        assert "systemctl" in done.stdout
        files = {
            name: (tmp_path / "etc/recsys" / f"prefect-{name}.env").read_text().strip() for name in ("server", "client")
        }
        secrets = {value.partition("=")[2] for value in files.values()}
        assert files["server"].startswith(f"{server.SERVER_SECRET}=")
        assert files["client"].startswith(f"{server.CLIENT_SECRET}=")
        assert len(secrets) == 1
        assert re.fullmatch(r"recsys:[A-Za-z0-9]{30,}", secrets.pop())
        kept.append(files)
    assert kept[0] == kept[1]
    for place in ("etc/recsys", "var/backups/recsys"):
        assert stat.S_IMODE((tmp_path / place).stat().st_mode) == 0o700
    for path in (tmp_path / "etc/recsys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    installed = {path.name for path in (tmp_path / "etc/systemd/system").iterdir()}
    assert installed == {path.name for kind in ("service", "timer") for path in SYSTEMD.glob(f"*.{kind}")}
