"""nginx as `infra/nginx` has it, with TLS, in front of a service with keys: what it passes on and what it refuses."""

import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from processes import PATIENCE_SECONDS, end

from recsys.home import Home
from recsys_client.schemas.problems import PROBLEM_JSON, Problem
from services.edge.connections import KEEP_ALIVE, keep_alive_seconds
from services.edge.keys import create_key
from services.edge.problems import ANSWER_SECONDS, MAX_BODY_BYTES
from services.serve import free_port, running

CONFIGURATION = Path(__file__).parents[2] / "infra" / "nginx" / "recsys.conf"
NAME = "recsys.example.org"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
needs_nginx = pytest.mark.skipif(
    NGINX is None or shutil.which("openssl") is None, reason="nginx and openssl are not installed"
)


def setting(name: str) -> str:
    (found,) = set(re.findall(rf"^\s*{name} ([^;]+);", CONFIGURATION.read_text(), re.MULTILINE))
    return found


def test_its_limits_agree_with_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    assert int(setting("client_max_body_size").removesuffix("m")) * 2**20 == MAX_BODY_BYTES
    assert int(setting("proxy_read_timeout").removesuffix("s")) > ANSWER_SECONDS
    unit = (CONFIGURATION.parents[1] / "systemd" / "recsys.service").read_text()
    (said,) = re.findall(rf"{KEEP_ALIVE}=(\d+)", unit)
    assert f"{KEEP_ALIVE}={said}" in CONFIGURATION.read_text()
    monkeypatch.setenv(KEEP_ALIVE, said)
    upstream = re.search(r"upstream recsys \{.*?keepalive_timeout (\d+)s;", CONFIGURATION.read_text(), re.DOTALL)
    assert upstream
    assert int(upstream[1]) < keep_alive_seconds()


@dataclass(frozen=True)
class Proxy:
    """nginx in front of a service.

    Attributes:
        client: of nginx, over TLS.
        token: of a key with all scopes.
        plain: the port without TLS.
        service: the service's own URL.
    """

    client: httpx.Client
    token: str
    plain: int
    service: str


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         *subject, "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def configured(folder: Path, certificate: Path, service: int, tls: int, plain: int) -> list[str]:
    """Write what Debian has around the file, with other ports and places; return nginx' command line."""
    text = CONFIGURATION.read_text()
    for old, new in (
        ("127.0.0.1:3000", f"127.0.0.1:{service}"),
        ("listen 443", f"listen 127.0.0.1:{tls}"),
        ("listen 80", f"listen 127.0.0.1:{plain}"),
        ("/etc/recsys/tls", str(certificate)),
    ):
        assert old in text
        text = text.replace(old, new)
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # or its processes could not write below a test's folder
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}\n{text}\n}}\n"
    )
    assert NGINX is not None
    return [NGINX, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


@pytest.fixture(scope="module")
def proxy(
    copy_of_home: Callable[[Path], Home], certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    home = copy_of_home(tmp_path_factory.mktemp("behind"))
    _, token = create_key(home, "all", ["recommend", "write", "admin"])
    folder = tmp_path_factory.mktemp("nginx")
    tls, plain = free_port(), free_port()
    with running(home, texts=False) as url:
        command = configured(folder, certificate, int(url.rpartition(":")[2]), tls, plain)
        subprocess.run([*command, "-t"], check=True, capture_output=True)
        server = subprocess.Popen(command)
        trusted = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
        try:
            with httpx.Client(base_url=f"https://127.0.0.1:{tls}", verify=trusted, timeout=30) as client:
                deadline = time.monotonic() + PATIENCE_SECONDS
                while True:
                    try:
                        client.get("/livez")
                        break
                    except httpx.TransportError:
                        assert server.poll() is None, (folder / "error.log").read_text()
                        assert time.monotonic() < deadline
                yield Proxy(client, token, plain, url)
        finally:
            end(server)


def problem_of(response: httpx.Response) -> Problem:
    assert response.headers["content-type"] == PROBLEM_JSON
    return Problem.model_validate_json(response.content)


@needs_nginx
def test_a_key_gets_lists_over_tls_and_nobody_else(proxy: Proxy) -> None:
    asked = {"history": ["i000"], "k": 3}
    bearer = {"Authorization": f"Bearer {proxy.token}", "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    answer = proxy.client.post("/v1/recommend", json=asked, headers=bearer)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["items"]) == 3
    assert "max-age" in answer.headers["strict-transport-security"]
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    spoofed = {name: value for name, value in bearer.items() if name != "Authorization"}
    assert problem_of(proxy.client.post("/v1/recommend", json=asked, headers=spoofed)).code == "missing-key"
    moved = httpx.get(f"http://127.0.0.1:{proxy.plain}/v1/generations", headers={"Host": NAME})
    assert (moved.status_code, moved.headers["location"]) == (301, f"https://{NAME}/v1/generations")


@needs_nginx
def test_what_is_for_this_machine_stays_on_it(proxy: Proxy) -> None:
    for path in ("/metrics", "/readyz"):
        assert proxy.client.get(path).status_code == 404
        assert httpx.get(f"{proxy.service}{path}").status_code == 200


@needs_nginx
def test_a_body_too_large_is_the_same_problem_from_either(proxy: Proxy) -> None:
    bearer = {"Authorization": f"Bearer {proxy.token}", "Content-Type": "application/json"}
    large = b'{"events": [' + b" " * MAX_BODY_BYTES + b"]}"
    ours = problem_of(httpx.post(f"{proxy.service}/v1/events", content=large, headers=bearer, timeout=30))
    theirs = problem_of(proxy.client.post("/v1/events", content=large, headers=bearer))
    assert (theirs.type, theirs.title, theirs.status, theirs.code) == (ours.type, ours.title, 413, ours.code)
    fits = b'{"events": []' + b" " * (MAX_BODY_BYTES - 100) + b"}"
    assert proxy.client.post("/v1/events", content=fits, headers=bearer).status_code == 422  # the service's own


@needs_nginx
def test_a_service_that_is_gone_is_a_problem_as_well(
    certificate: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tls, plain = free_port(), free_port()
    server = subprocess.Popen(configured(tmp_path, certificate, free_port(), tls, plain))
    trusted = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = httpx.get(f"https://127.0.0.1:{tls}/livez", verify=trusted)
                break
            except httpx.TransportError:
                assert server.poll() is None
                assert time.monotonic() < deadline
        found = problem_of(answer)
        assert (found.code, found.status, answer.headers["retry-after"]) == ("unavailable", 503, "5")
        with httpx.Client(base_url=f"https://127.0.0.1:{tls}", verify=trusted) as client:
            codes = [problem_of(client.get("/livez")).code for _ in range(700)]
        assert codes[0] == "unavailable"
        assert "too-many-requests" in codes
    finally:
        end(server)
