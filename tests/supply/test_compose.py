"""What stands beside a service is what was tried, wants a password, reports to nobody, and listens on loopback only."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from infra.supply import images

TEXT = images.COMPOSE.read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
DIGEST = r"@sha256:[0-9a-f]{64}$"


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_by_digest_beside_its_tag(name: str) -> None:
    assert re.search(r":[\w.-]+" + DIGEST, SERVICES[name]["image"])


def test_grafana_wants_a_password_and_nobody_looks_without_one() -> None:
    settings = SERVICES["grafana"]["environment"]
    assert re.fullmatch(r"\$\{GRAFANA_PASSWORD:\?[^}]+\}", settings["GF_SECURITY_ADMIN_PASSWORD"])
    assert settings["GF_AUTH_ANONYMOUS_ENABLED"] == settings["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert not {"GF_AUTH_DISABLE_LOGIN_FORM", "GF_AUTH_PROXY_ENABLED", "GF_AUTH_BASIC_ENABLED"} & settings.keys()


def test_nothing_listens_beyond_this_machine() -> None:
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert "--web.listen-address=127.0.0.1:9090" in SERVICES["prometheus"]["command"]
    for service in SERVICES.values():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
        assert not {"privileged", "pid", "cap_add"} & service.keys()
        assert all(volume.endswith(":ro") for volume in service["volumes"])


def test_grafana_asks_its_makers_nothing() -> None:
    settings = SERVICES["grafana"]["environment"]
    off = ("GF_ANALYTICS_REPORTING_ENABLED", "GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_NEWS_NEWS_FEED_ENABLED")
    assert {settings[name] for name in (*off, "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES")} == {"false"}
    assert {settings[name] for name in ("GF_SECURITY_DISABLE_GRAVATAR", "GF_PLUGINS_PREINSTALL_DISABLED")} == {"true"}


def test_digests_are_renewed_in_their_places(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    now = {
        service["image"].partition("@")[0]: f"sha256:{number:064x}" for number, service in enumerate(SERVICES.values())
    }
    monkeypatch.setattr(images, "digest", now.get)
    bare = re.sub(r"@sha256:[0-9a-f]{64}", "", TEXT)
    assert images.renewed(bare) == images.renewed(TEXT)
    assert {service["image"] for service in yaml.safe_load(images.renewed(bare))["services"].values()} == {
        f"{tag}@{digest}" for tag, digest in now.items()
    }
    assert "is now sha256:" in capsys.readouterr().out
    monkeypatch.setattr(images, "digest", lambda tag: "")
    with pytest.raises(ValueError, match="is no digest of prom/prometheus"):
        images.renewed(TEXT)


def test_a_registry_that_does_not_answer_changes_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(subprocess.CalledProcessError):
        images.renewed(TEXT)
