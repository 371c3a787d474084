"""Starting, following the pointer, failing and stopping: the service as a process."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from processes import PATIENCE_SECONDS
from workers import workers_of

from recsys.artifacts import write_json
from recsys.home import Home
from recsys.store.generations import current_id
from recsys.store.pointer import POINTER
from services.serve import ServeError, free_port, log_file, running, serve, start, stop

Eventually = Callable[[Callable[[], bool]], None]
Copy = Callable[[Path], Home]


def answers(url: str, status: int) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code == status
    except httpx.TransportError:
        return False


def test_events_survive_a_restart_and_reach_all_workers(
    copy_of_home: Copy, tmp_path: Path, eventually: Eventually
) -> None:
    home, port = copy_of_home(tmp_path), free_port()
    url = f"http://127.0.0.1:{port}"
    code = "import sys; from pathlib import Path; from recsys.home import Home; from services.serve import serve"
    foreground = subprocess.Popen(
        [sys.executable, "-c", f"{code}; serve(Home(Path(sys.argv[1])), port=int(sys.argv[2]))", home.root, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: answers(f"{url}/readyz", 200))
        popular = httpx.post(f"{url}/v1/recommend", json={"user_id": "u"}).json()["items"]
        event = {"user_id": "u", "item_id": popular[0]["item_id"], "event_id": "once"}
        assert httpx.post(f"{url}/v1/events", json={"events": [event]}).json()["accepted"] == 1
        expected = httpx.post(f"{url}/v1/recommend", json={"user_id": "u"}).json()
    finally:
        foreground.send_signal(signal.SIGTERM)
        assert foreground.wait(PATIENCE_SECONDS) == 0

    def both_answer() -> bool:
        lines = httpx.get(f"{url}/metrics", timeout=60).text.splitlines()
        return [line[-4:] for line in lines if line.startswith("recsys_generation_workers{")] == [" 2.0"]

    with running(home, workers=2) as url:
        eventually(both_answer)
        for _ in range(20):  # each connection goes to whichever worker takes it
            answer = httpx.post(f"{url}/v1/recommend", json={"user_id": "u"}, timeout=60).json()
            assert answer["items"] == expected["items"]
            assert answer["fallback"] is None
        repeated = httpx.post(f"{url}/v1/events", json={"events": [event]}).json()
        assert repeated == {"accepted": 0, "duplicates": 1, "rejected": []}


def test_the_pointer_is_followed_and_a_broken_generation_is_not(
    home: Home, copy_of_home: Copy, tmp_path: Path, eventually: Eventually
) -> None:
    empty, port = Home(tmp_path), free_port()
    url = f"http://127.0.0.1:{port}"
    server = start(empty, port)
    try:
        eventually(lambda: answers(f"{url}/livez", 200))
        for response in (
            httpx.get(f"{url}/readyz"),
            httpx.post(f"{url}/v1/recommend", json={"user_id": "u"}),
            httpx.post(f"{url}/v1/events", json={"events": [{"user_id": "u", "item_id": "i"}]}),
        ):
            assert response.status_code == response.json()["status"] == 503
            assert "recsys publish" in response.json()["detail"]

        copy_of_home(tmp_path)
        eventually(lambda: answers(f"{url}/readyz", 200))
        good = current_id(home)
        assert httpx.post(f"{url}/v1/recommend", json={"user_id": "u"}).json()["generation"] == good

        broken = "0" * 16
        shutil.copytree(empty.generations / str(good), empty.generations / broken)
        write_json(empty.generations / POINTER, {"generation": broken, "trail": [good, broken]})
        eventually(lambda: httpx.get(f"{url}/v1/generations").json()["problem"] is not None)
        state = httpx.get(f"{url}/v1/generations").json()
        assert (state["serving"], state["current"]) == (good, broken)
        assert "has changed since it was written" in state["problem"]
        assert answers(f"{url}/readyz", 200)
        assert httpx.post(f"{url}/v1/recommend", json={"user_id": "u"}).json()["generation"] == good
        failed = 'recsys_generation_loads_total{outcome="failed"}'
        assert f"{failed} 0.0" not in httpx.get(f"{url}/metrics").text

        write_json(empty.generations / POINTER, {"generation": good, "trail": [good]})
        eventually(lambda: httpx.get(f"{url}/v1/generations").json()["problem"] is None)
    finally:
        assert stop(server, PATIENCE_SECONDS), "SIGTERM did not end the server"
    assert server.returncode == 0
    assert broken in log_file(empty, port).read_text()
    assert not answers(f"{url}/livez", 200)


def ended(process: psutil.Process) -> bool:
    """Tell whether a process runs no more, be it that nobody has asked yet how it ended."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_workers_end_when_their_server_is_killed(copy_of_home: Copy, tmp_path: Path, eventually: Eventually) -> None:
    home, port = copy_of_home(tmp_path), free_port()
    server = start(home, port)
    try:
        eventually(lambda: answers(f"http://127.0.0.1:{port}/readyz", 200))
        (worker,) = map(psutil.Process, workers_of(home))
        server.kill()
        server.wait()
    finally:
        stop(server)
    eventually(lambda: ended(worker))
    assert ended(worker)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_without_keys_only_loopback_is_served(tmp_path: Path, host: str) -> None:
    with pytest.raises(ServeError, match="not a loopback address"):
        serve(Home(tmp_path), host=host)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=f"127.0.0.1:{port}"):
            start(Home(tmp_path), port)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    missing = running(Home(tmp_path), service="services.missing:Service")
    with pytest.raises(ServeError, match=r"(?s)ended with exit code 1.*services\.missing"), missing:
        pytest.fail("it cannot be ready")
