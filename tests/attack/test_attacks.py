"""The suite of attacks itself: it sees what is weak, ends what does not end, and sends nothing to other machines."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import PATIENCE_SECONDS

from infra.attack import browser, files, messages, orchestration, report, run, supply, tests
from infra.attack.attacks import HELD, HURT, NOT_TRIED, attacks_of, judged
from infra.attack.bounds import TooLargeError, TooLongError, beside, bounded
from infra.attack.target import NotOursError, Target, check_ours

ROOT = Path(run.__file__).parents[2]
EVERY = [(module, one) for module in run.KINDS for one in attacks_of(module)]


class Weak(BaseHTTPRequestHandler):
    """Answers whatever it is asked, whoever asks, and believes every header."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = json.dumps({"generation": "0" * 16, "items": [{"item_id": "a"}], "paths": {}}).encode()
        redirected = self.path.endswith("/") and self.path != "/"
        self.send_response(307 if redirected else 200)
        if redirected:
            self.send_header("Location", f"http://{self.headers['Host']}{self.path[:-1]}")
        self.send_header("X-Request-ID", self.headers.get("X-Request-ID", "none"))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass


class Strict(Weak):
    """Refuses everything in the same words."""

    def answer(self) -> None:
        self.send_response(400)
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True


def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[Target]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        target = Target(f"http://127.0.0.1:{server.server_address[1]}", items=["a"])
        yield target
        target.client.close()
        server.shutdown()
        thread.join()


@pytest.fixture
def weak() -> Iterator[Target]:
    yield from served(Weak)


@pytest.fixture
def strict() -> Iterator[Target]:
    yield from served(Strict)


SEEN = [
    messages.a_redirect_elsewhere,
    messages.who_is_meant,
    messages.paths_that_climb,
    messages.a_header_in_an_answer,
    browser.a_form_of_another_page,
    browser.a_name_that_leads_here,
    browser.a_page_that_reads,
    browser.a_proxy_in_front,
    browser.a_frame_around_the_page,
]


def test_every_promise_has_a_test_of_the_project() -> None:
    every = [one for module, _ in EVERY for one in attacks_of(module)] + attacks_of(orchestration)
    assert {one.name for one in every} == set(tests.HELD_BY)
    assert set(tests.HELD_BY.values()) == set(tests.places())


@pytest.mark.parametrize("one", SEEN, ids=lambda one: one.name)
def test_what_is_weak_is_reported_as_hurt(weak: Target, one: Any) -> None:
    assert one.run(weak).state == HURT


@pytest.mark.parametrize("one", SEEN[:4], ids=lambda one: one.name)
def test_what_refuses_holds(strict: Target, one: Any) -> None:
    assert one.run(strict).state == HELD


def test_every_attack_says_what_must_hold() -> None:
    names = [(run.kind_of(module), one.name) for module, one in EVERY]
    assert len(set(names)) == len(names) > 60
    for _, one in EVERY:
        assert one.promise.endswith("."), one.name
        assert one.field in run.FIELDS
        assert 0 < one.seconds <= run.MOST_SECONDS
    modules = {path.stem for path in (ROOT / "infra" / "attack").glob("*.py")}
    kinds = {run.kind_of(module) for module in run.KINDS}
    assert modules - kinds == {"attacks", "bounds", "homes", "load", "report", "run", "target", "tests"}


def test_what_needs_files_is_not_tried_without_them() -> None:
    for one in (files.files_of_the_home, files.a_home_that_was_changed, files.a_file_cut_short):
        assert one.run(Target("")).state == NOT_TRIED


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "http://10.0.0.1:3000", "https://127.0.0.1", "file:///etc/passwd", "http://0.0.0.0:1", ""],
)
def test_other_machines_are_refused(url: str) -> None:
    with pytest.raises(NotOursError, match="nothing is sent"):
        check_ours(url)


def test_names_of_this_machine_are_taken() -> None:
    assert check_ours("http://localhost:3000/v1") == "http://127.0.0.1:3000"
    assert check_ours("http://[::1]:3000") == "http://[::1]:3000"
    assert check_ours("http://127.8.0.1") == "http://127.8.0.1:80"


def test_work_comes_back_or_says_why_it_failed() -> None:
    assert bounded(lambda: judged(True, "7 of 7"), PATIENCE_SECONDS).evidence == "7 of 7"
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        bounded(lambda: 1 / 0, PATIENCE_SECONDS)
    with pytest.raises(RuntimeError, match="exit code 3"):
        bounded(lambda: os._exit(3), PATIENCE_SECONDS)


def test_what_does_not_end_is_ended_with_all_that_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.attack import bounds

    monkeypatch.setattr(bounds, "MOST_MIB", 1 << 30)  # it holds what this process does, whatever ran before
    ours, theirs = socket.socketpair()

    def endless() -> None:
        with beside([lambda: time.sleep(PATIENCE_SECONDS)]):
            theirs.sendall(str(psutil.Process().children()[0].pid).encode())
            time.sleep(PATIENCE_SECONDS)

    with ours, theirs:
        with pytest.raises(TooLongError, match="no end after 3 s"):
            bounded(endless, 3)
        inner = int(ours.recv(20))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while psutil.pid_exists(inner) and psutil.Process(inner).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.05)


def test_what_grows_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.attack import bounds

    monkeypatch.setattr(bounds, "MOST_MIB", 1)  # less than any Python takes
    with pytest.raises(TooLargeError, match=r"ended at .* MiB"):
        bounded(lambda: time.sleep(PATIENCE_SECONDS), PATIENCE_SECONDS)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = [str(ROOT), str(ROOT / "services" / "python-client")]
    return subprocess.run(
        [sys.executable, str(run.__file__), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    )


def test_the_command_writes_what_came_of_it(weak: Target, tmp_path: Path) -> None:
    out = tmp_path / "attack.json"
    done = command("--url", weak.url, "--only", "browser", "--out", str(out))
    assert done.returncode == 1, done.stderr
    document = json.loads(out.read_text())
    rows = {row["name"]: row for row in document["attacks"]}
    assert document["task"] == "attacks"
    assert set(rows) == {one.name for one in attacks_of(browser) if one.traceless}
    assert {row["outcome"] for row in rows.values()} == {HURT}
    assert all(f"✗ {name}: {row['evidence']}" in done.stdout for name, row in rows.items())


def test_the_command_sends_nothing_elsewhere() -> None:
    done = command("--url", "http://192.0.2.1:3000")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing is sent" in done.stderr


def test_the_table_shows_both_states(tmp_path: Path) -> None:
    machine = {"processor": "one", "cores": 2, "day": "2026-11-27", "packages": {"bentoml": "1"}}
    row = {"kind": "sockets", "name": "open sockets", "promise": "It is shut.", "seconds": 1.0}
    for stem, outcome in ((report.BEFORE, HURT), ("attack", HELD)):
        rows = [row | {"outcome": outcome, "evidence": f"{outcome} | 1 MiB"}]
        document = {"task": "attacks", "machine": machine, "seconds": 9, "attacks": rows}
        (tmp_path / f"{stem}.json").write_text(json.dumps(document))
    text = report.tables(sorted(tmp_path.glob("*.json")))
    assert "| promise | attack | before | now | test |" in text
    assert "| It is shut. | sockets: open sockets | **hurt**: hurt \\| 1 MiB | held: held \\| 1 MiB | [`test_no" in text
    assert "0 held, 1 hurt, 0 not tried, of 1 attacks in 9 s" in text
    assert report.tables([]) == ""


def test_a_lock_without_hashes_and_an_image_by_its_tag_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supply, "INFRA", tmp_path)
    (tmp_path / "constraints.txt").write_text("numpy==2\nPolars_x==1\n")
    (tmp_path / "compose.yaml").write_text('image: grafana/grafana:12\nGF_AUTH_ANONYMOUS_ENABLED: "true"\n')
    assert {one.run(Target("")).state for one in attacks_of(supply)} == {HURT}
    (tmp_path / "lock.txt").write_text("numpy==2 \\\n    --hash=sha256:1\npolars-x==1 \\\n    --hash=sha256:2\n")
    (tmp_path / "compose.yaml").write_text("image: grafana@sha256:1\nGF_SECURITY_ADMIN_PASSWORD: ${PASSWORD:?}\n")
    assert {one.run(Target("")).state for one in attacks_of(supply)} == {HELD}


def test_a_part_that_is_tried_again_replaces_its_rows(weak: Target, tmp_path: Path) -> None:
    out = tmp_path / "attack.json"
    kept = {"kind": "sockets", "name": "open sockets", "outcome": HELD}
    old = {"kind": "browser", "name": browser.a_proxy_in_front.name, "outcome": HELD}
    out.write_text(json.dumps({"task": "attacks", "seconds": 9, "attacks": [old, kept]}))
    assert command("--url", weak.url, "--only", "browser: a proxy", "--out", str(out)).returncode == 1
    again, same = json.loads(out.read_text())["attacks"]
    assert (again["name"], again["outcome"], same) == (old["name"], HURT, kept)
