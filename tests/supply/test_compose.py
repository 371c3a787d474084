"""The house in one file: Docker Compose takes it, no secret is in it, what it names exists, and little is allowed."""

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import passwords
from infra.images.dockerfile import DOCKERFILE, read_stages
from infra.supply import images
from infra.topology import composed

CLONE = Path(__file__).parents[2]
TEXT = images.COMPOSE.read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = FILE["services"]
OURS = {"recsys-service", "recsys-worker", "recsys-worker-cuda"}
DIGEST = r":[\w.-]+@sha256:[0-9a-f]{64}"
PROFILES = ("watch", "small", "command", "full", "cuda")
# Of others' images; ours have the check of their Dockerfile, and what runs once has none.
UNCHECKED = {"prometheus-here", "grafana-here", "command", "deploy", "bucket"}


def resolved(folder: Path, *profiles: str) -> dict[str, Any]:
    """Return the services of profiles as Docker Compose resolves them, with secrets of a folder's own."""
    (folder / "infra").mkdir(exist_ok=True)
    file = folder / "infra" / "compose.yaml"
    file.write_text(TEXT)
    passwords.make(folder / "infra" / "secrets")
    return composed.read(file, *profiles)["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_by_digest_beside_its_tag(name: str) -> None:
    image = SERVICES[name]["image"]
    if image in OURS:
        assert SERVICES[name]["build"]["target"] in read_stages(DOCKERFILE.read_text())
        assert (images.COMPOSE.parent / SERVICES[name]["build"]["context"]).resolve() == CLONE
        assert (CLONE / SERVICES[name]["build"]["dockerfile"]) == DOCKERFILE
    else:
        assert re.search(f"{DIGEST}$", image)


def test_docker_compose_takes_every_profile(tmp_path: Path) -> None:
    assert set(resolved(tmp_path, "small")) == {"small"}
    assert set(resolved(tmp_path, "watch")) == {"prometheus-here", "grafana-here"}
    full = resolved(tmp_path, "full", "cuda")
    assert {"postgres", "prefect", "deploy", "worker-train", "worker-light", "worker-cuda", "service"} < set(full)
    assert {profile for service in SERVICES.values() for profile in service["profiles"]} == set(PROFILES)


def test_docker_compose_is_asked_in_earnest(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {one: {image: x, depends_on: [two]}}")
    with pytest.raises(ValueError, match="undefined service"):
        composed.read(file)


def test_without_its_secrets_no_service_that_has_one_starts(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(TEXT)
    assert set(composed.read(tmp_path / "compose.yaml", "small")["services"]) == {"small"}
    with pytest.raises(ValueError, match=r"env file .*secrets/grafana.env not found"):
        composed.read(tmp_path / "compose.yaml", "watch")


def test_secrets_are_made_once_for_their_owner_and_agree(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert passwords.make(folder, "http://hook") == list(passwords.texts(""))
    before = {path.name: path.read_text() for path in folder.iterdir()}
    assert passwords.make(folder) == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert before["alert-webhook"] == "http://hook\n"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {name for name, mode in modes.items() if mode != 0o600} == {"alert-webhook"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    settings = dict(line.split("=", 1) for text in before.values() for line in text.splitlines() if "=" in line)
    assert f":{settings['PREFECT_DATABASE_PASSWORD']}@postgres" in settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert f":{settings['EVENTS_DATABASE_PASSWORD']}@postgres" in settings["RECSYS_DATABASE_URL"]
    assert settings["PREFECT_SERVER_API_AUTH_STRING"] == settings["PREFECT_API_AUTH_STRING"]
    (folder / "events.env").unlink()
    with pytest.raises(FileExistsError, match=r"lacks events\.env"):
        passwords.make(folder)


def test_no_secret_stands_in_the_file_and_git_ignores_where_they_lie() -> None:
    values = [str(value) for service in SERVICES.values() for value in (service.get("environment") or {}).values()]
    assert not [value for value in values if re.search(r"://[^/@\s]+:[^/@\s]+@", value)]
    named = {name for service in SERVICES.values() for name in service.get("environment") or {}}
    assert not [name for name in named if re.search("PASSWORD|AUTH_STRING|SECRET_ACCESS|TOKEN", name)]
    ignored = ["git", "check-ignore", "--quiet", "infra/secrets/events.env"]
    assert subprocess.run(ignored, cwd=CLONE, check=False).returncode == 0


def test_nothing_listens_beyond_this_machine() -> None:
    here = SERVICES["grafana-here"]
    assert here["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert "--web.listen-address=127.0.0.1:9090" in SERVICES["prometheus-here"]["command"]
    assert here["environment"]["PROMETHEUS_URL"] == "http://127.0.0.1:9090"
    for name, service in SERVICES.items():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert ("network_mode" in service) == name.endswith("-here")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_write_its_volumes_and_gain_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["restart"] in ("unless-stopped", "on-failure:3", "no")
    assert not {"privileged", "pid", "ipc", "devices"} & service.keys()
    assert service.get("cap_add", []) == (["CHOWN", "SETGID", "SETUID"] if name == "store" else [])
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            assert mode == ["ro"], target
            assert (images.COMPOSE.parent / source).is_dir()
        else:
            assert source in FILE["volumes"]


def test_each_waits_until_those_that_it_needs_are_healthy() -> None:
    stages = read_stages(DOCKERFILE.read_text())
    for name, service in SERVICES.items():
        checked = service.get("healthcheck", {}).get("test") or (
            service["image"] in OURS and stages["service"].all("HEALTHCHECK") and "disable" not in str(service)
        )
        assert bool(checked) != (name in UNCHECKED), name
        for other, waits in service.get("depends_on", {}).items():
            once = SERVICES[other]["restart"].startswith("on-failure")
            assert waits["condition"] == ("service_completed_successfully" if once else "service_healthy")


def test_what_is_set_is_read_by_the_code() -> None:
    code = "\n".join(
        path.read_text() for room in ("recsys", "services", "flows") for path in (CLONE / room).rglob("*.py")
    )
    secrets = "\n".join(passwords.texts("").values())
    named = set(re.findall(r"\b(RECSYS_[A-Z_]+)\b(?==|:)", TEXT + secrets))
    assert named == {"RECSYS_HOME", "RECSYS_CACHE", "RECSYS_DATABASE_URL"}
    assert all(f'"{name}"' in code for name in named)
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_settings_fields

    known = set(_get_settings_fields(Settings))
    assert set(re.findall(r"\b(PREFECT_(?!DATABASE_PASSWORD)[A-Z_]+)\b(?==|:)", TEXT + secrets)) <= known


def test_where_services_listen_is_where_they_are_looked_for(tmp_path: Path) -> None:
    house = composed.House(tmp_path / "house")
    named = set(re.findall(r"\b([a-z]+):(\d{4})\b", TEXT + "\n".join(passwords.texts("").values()) + PROMETHEUS))
    assert {name for name, _ in named if name in SERVICES} == set(composed.PORTS)
    assert all(composed.PORTS[name] == int(port) for name, port in named if name in SERVICES)
    assert house.order().index("prefect") < house.order().index("deploy") < house.order().index("worker-light")
    for name in house.ports:
        assert any(str(house.ports[name]) in word for word in house.health(name) or []), name
    for name in house.services:
        for value in (*house.environment(name).values(), *house.command(name)):
            assert not re.search(r"\b(postgres|prefect|store|service|alertmanager):\d", value), (name, value)
            assert name == "prefect" or not value.startswith("/var/lib/"), (name, value)  # it has no home


PROMETHEUS = (images.INFRA / "prometheus" / "house.yaml").read_text()


def test_the_page_names_services_and_profiles_that_there_are() -> None:
    page = (images.INFRA / "README.md").read_text()
    house = [line for line in page.splitlines() if re.match(r"(PIP_\S+ )?(house|docker compose) ", line)]
    assert len(house) > 8
    for line in house:
        assert set(re.findall(r"--profile (\S+)", line)) <= set(PROFILES), line
        for name in re.findall(r"(?:run --rm(?: --volume \S+)?|exec) (\S+) ", line):
            assert name in SERVICES, line
    built = re.findall(r"^docker build .*--target (\S+)", page, re.MULTILINE)
    assert {f"recsys-{target}" for target in built} == OURS


def test_grafana_wants_a_password_and_nobody_looks_without_one() -> None:
    for name in ("grafana", "grafana-here"):
        settings = SERVICES[name]["environment"]
        assert settings["GF_AUTH_ANONYMOUS_ENABLED"] == settings["GF_USERS_ALLOW_SIGN_UP"] == "false"
        off = ("GF_ANALYTICS_REPORTING_ENABLED", "GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_NEWS_NEWS_FEED_ENABLED")
        assert {settings[one] for one in (*off, "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES")} == {"false"}
        assert {settings[one] for one in ("GF_SECURITY_DISABLE_GRAVATAR", "GF_PLUGINS_PREINSTALL_DISABLED")} == {"true"}
        assert not {"GF_AUTH_DISABLE_LOGIN_FORM", "GF_AUTH_PROXY_ENABLED", "GF_AUTH_BASIC_ENABLED"} & settings.keys()
        assert SERVICES[name]["env_file"] == ["secrets/grafana.env"]


@pytest.mark.parametrize("file", images.FILES, ids=lambda file: file.name)
def test_digests_are_renewed_in_their_places(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    text = file.read_text()
    tags = re.findall(r"(\S+:[\w.-]+)@sha256:[0-9a-f]{64}", text)
    assert tags
    now = {tag: f"sha256:{number:064x}" for number, tag in enumerate(tags)}
    monkeypatch.setattr(images, "digest", now.get)
    bare = re.sub(r"@sha256:[0-9a-f]{64}", "", text)
    assert images.renewed(bare) == images.renewed(text)
    assert re.findall(rf"\S+{DIGEST}", images.renewed(bare)) == [f"{tag}@{now[tag]}" for tag in tags]
    assert re.sub(r"@sha256:[0-9a-f]{64}", "", images.renewed(text)) == bare
    assert "is now sha256:" in capsys.readouterr().out
    monkeypatch.setattr(images, "digest", lambda tag: "")
    with pytest.raises(ValueError, match="is no digest of "):
        images.renewed(text)


def test_a_registry_that_does_not_answer_changes_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(subprocess.CalledProcessError):
        images.renewed(TEXT)
