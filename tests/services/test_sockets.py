"""What a service can be reached by: its HTTP port and nothing else; least of all its supervisor, who runs commands."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from processes import end
from workers import listening, processes_of

from recsys.errors import SettingError
from recsys.home import Home
from services.edge.supervisor import _hear_nobody
from services.serve import SERVICE, free_port

OPENS_ONE_OF_EACH = """
import socket, sys, time
def open(family, kind, address):
    made = socket.socket(family, kind)
    made.bind(address)
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made
kinds = [
    open(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
    open(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
    open(socket.AF_UNIX, socket.SOCK_STREAM, sys.argv[1] + "/stream"),
    open(socket.AF_UNIX, socket.SOCK_DGRAM, sys.argv[1] + "/datagram"),
    open(socket.AF_UNIX, socket.SOCK_STREAM, "\\0" + sys.argv[1]),
]
out = socket.create_connection(kinds[0].getsockname())
print(kinds[0].getsockname()[1], kinds[1].getsockname()[1], flush=True)
time.sleep(600)
"""
CONNECTS = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for port in map(int, sys.argv[1:]):
    with socket.socket() as connection:
        if connection.connect_ex(("127.0.0.1", port)) == 0:
            print(port)
"""


def of_another_user(ports: set[int]) -> set[int]:
    """Return the ports to which somebody without rights on this machine can connect."""
    command = [sys.executable, "-c", CONNECTS, *map(str, ports)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(map(int, done.stdout.split()))


def test_whatever_listens_is_seen(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", OPENS_ONE_OF_EACH, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        stream, datagram = map(int, child.stdout.readline().split())
        assert listening({child.pid}) == {
            ("tcp", "127.0.0.1", stream),
            ("udp", "127.0.0.1", datagram),
            ("unix", f"{tmp_path}/stream", 0),
            ("unix", f"{tmp_path}/datagram", 0),
            ("unix", f"@{tmp_path}", 0),
        }
    finally:
        end(child)
        child.stdout.close()


def test_nothing_listens_but_the_port_of_http(classifying_home: Home, service: httpx.Client) -> None:
    port = service.base_url.port
    found = listening(processes_of(classifying_home))
    assert found == {("tcp", "127.0.0.1", port)}


def test_nor_where_bentoml_starts_it_by_hand(tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]) -> None:
    port = free_port()
    variables = {"RECSYS_HOME": str(tmp_path), "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", SERVICE, "--port", str(port)],
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parents[2],
        )

    def lives() -> bool:
        assert server.poll() is None, (tmp_path / "log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(lives)
        family = {server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))}
        assert len(family) >= 2
        found = listening(family)
        reached = of_another_user({number for _, _, number in found}) if os.geteuid() == 0 else None
    finally:
        end(server)
    assert found == {("tcp", "127.0.0.1", port)}
    assert reached in (None, {port})


def test_what_watches_for_changes_would_need_such_a_port() -> None:
    with pytest.raises(SettingError, match="--reload needs a port"):
        _hear_nobody(pytest.fail)(None, [], plugins=[{"use": "reloader"}])
