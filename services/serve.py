"""Starting and stopping the service: in the foreground for people, as a child process for the demo and the tests.

Everything the server writes goes below the home, into ``runs/service-PORT``.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import httpx

import services
from recsys import telemetry
from recsys.errors import RecsysError
from recsys.home import ALONE, Home
from services.edge.connections import keep_alive_seconds
from services.edge.keyless import is_loopback
from services.edge.keys import REQUIRE_KEYS, read_keys
from services.edge.logs import LogSettings
from services.edge.tracing import TracingError, check_tracing
from services.worker.impression_writer import Retention
from services.worker.live_items import room_from_environment
from services.worker.loading import OFF, ON, TEXTS, loads_ahead
from services.worker.promotions import GATE, limits_from_environment
from services.worker.tenants import ASKED, memory_from_environment, tenants_asked_for
from services.worker.wording import REASONS, Wording

SERVICE = "services.recommender:RecommenderService"
LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)  # from which a free one is taken
DRAIN_SECONDS = 5  # what requests under way get after SIGTERM
STOP_SECONDS = DRAIN_SECONDS + 10  # after which a server that does not end is killed
START_SECONDS = 300  # a cold import of torch on a busy machine is slow
POLL_SECONDS = 0.1
LOG_TAIL_LINES = 30


class ServeError(RecsysError):
    """The service cannot be started as asked, or did not come up. The message says why and what to do."""


def serve(home: Home, host: str = LOOPBACK, port: int = 3000, workers: int = 1, tenants: bool = False) -> NoReturn:
    """Become the server: this process is replaced by it and ends with it, on Ctrl+C or SIGTERM.

    Args:
        tenants: answer the tenants of the home, each from its own; also where the environment says so.

    Raises:
        ServeError: the host is not loopback and there are no keys, or the port is taken.
        SettingError: the home is on an object store, and no database is named that its machines share.
    """
    command, environment = _prepare(home, host, port, workers, tenants=tenants)
    sys.stdout.flush()
    os.execve(command[0], command, environment)


def start(
    home: Home, port: int, workers: int = 1, service: str = SERVICE, texts: bool = True, tenants: bool = False
) -> subprocess.Popen[bytes]:
    """Start the server on loopback as a child process, without waiting for it; its output goes to ``log_file``.

    Args:
        service: what is served; load tests have the same service with more routes.
        texts: whether encoders are loaded ahead; without, it is ready earlier, and the first text waits.
        tenants: as for ``serve``.

    Raises:
        ServeError: the port is taken.
    """
    command, environment = _prepare(home, LOOPBACK, port, workers, service, tenants)
    if not texts:
        environment[TEXTS] = OFF
    with log_file(home, port).open("wb") as log:
        # its own session: the Ctrl-C of who started it is not for the server
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def stop(server: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> bool:
    """End a started server; return whether it ended by itself when asked to, before it had to be killed."""
    server.terminate()
    try:
        server.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        return False
    return True


@contextmanager
def running(
    home: Home, port: int = 0, workers: int = 1, service: str = SERVICE, texts: bool = True, tenants: bool = False
) -> Iterator[str]:
    """Run the server for the length of a ``with`` block and yield its URL once it is ready to answer.

    Args:
        port: 0 takes a free one.
        workers: processes that answer.
        service: as for ``start``.
        texts: as for ``start``, likewise ``tenants``.

    Raises:
        ServeError: it ended, or was not ready in time; the message has its reason and the end of its log.
    """
    port = port or free_port()
    server = start(home, port, workers, service, texts, tenants)
    try:
        url = f"http://{LOOPBACK}:{port}"
        _wait_until_ready(server, url, log_file(home, port))
        yield url
    finally:
        stop(server)


def free_port() -> int:
    """Return a TCP port that nothing listens on at the moment.

    It lies below the range from which systems give ports to outgoing connections (32,768 and up on Linux): a port of
    that range can be taken again before the server that it was meant for binds it.

    Raises:
        ServeError: none of the ports tried is free.
    """
    for port in random.SystemRandom().sample(PORTS, k=200):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServeError(f"No free port was found on {LOOPBACK} between {PORTS.start} and {PORTS.stop - 1}.")


def log_file(home: Home, port: int) -> Path:
    """Return where a server that was started on a port writes its log: elsewhere, if the home is there to be read."""
    writable = not home.root.exists() or os.access(home.root, os.W_OK)
    room = home.runs if writable else Path(tempfile.gettempdir()) / f"recsys-{os.getuid()}"
    return room / f"service-{port}" / "server.log"


def _prepare(
    home: Home, host: str, port: int, workers: int, service: str = SERVICE, tenants: bool = False
) -> tuple[list[str], dict[str, str]]:
    """Check the address, make an empty working folder; return the command line and the environment of the server."""
    from recsys.database.engine import check_shared

    check_shared(home)
    host = LOOPBACK if host == "localhost" else host
    loopback = is_loopback(host)
    tenants = tenants or tenants_asked_for()
    if not loopback and not tenants and not read_keys(home):
        raise ServeError(
            f"{host} is not a loopback address. The service has no keys, so only this machine may reach it; "
            f"make one with `recsys keys create`, or use --host {LOOPBACK}."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(f"Cannot listen on {host}:{port} ({error.strerror}). Choose another --port.") from None

    try:
        check_tracing()
        LogSettings.from_environment()
        Retention.from_environment()
        room_from_environment()
        loads_ahead()
        keep_alive_seconds()
        Wording.from_environment()
        limits_from_environment()
        memory_from_environment()
    except (TracingError, ValueError) as error:
        raise ServeError(str(error)) from None

    if not tenants:
        _check_salt(home)
    folder = log_file(home, port).parent
    folder.parent.mkdir(mode=ALONE, parents=True, exist_ok=True)
    if not folder.is_relative_to(home.root) and folder.parent.lstat().st_uid != os.getuid():
        raise ServeError(f"{folder.parent} is another user's. Set TMPDIR to a folder of your own.")
    shutil.rmtree(folder, ignore_errors=True)  # the numbers of a server that is gone
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    environment = telemetry.switched_off(os.environ) | {
        "RECSYS_HOME": str(home.root),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_CONFIG_OVERRIDES": json.dumps({"services": {"RecommenderService": {"workers": workers}}}),
        "TMPDIR": str(temporary),
        "OMP_NUM_THREADS": "1",  # as torch.set_num_threads, for the libraries below numpy
        "OPENBLAS_NUM_THREADS": "1",
    }
    for name in (REASONS, GATE):
        if file := environment.get(name):
            environment[name] = str(Path(file).expanduser().absolute())  # workers have another folder
    environment[REQUIRE_KEYS] = "" if loopback else "1"
    environment[ASKED] = ON if tenants else OFF
    project = Path(services.__file__).parent.parent
    options = {"--working-dir": project, "--host": host, "--port": port, "--timeout-graceful-shutdown": DRAIN_SECONDS}
    arguments = [str(part) for option in options.items() for part in option]
    return [sys.executable, "-m", "bentoml", "serve", service, *arguments], environment


def _check_salt(home: Home) -> None:
    """Let a missing salt be one sentence now, instead of workers that end as soon as they begin.

    Raises:
        ArtifactError: this machine lacks the salt of its database's tombstones.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from recsys.database.engine import Database
    from recsys.database.salt import agreed_salt

    with suppress(SQLAlchemyError):  # a database that is away may be back for the workers
        database = Database.of(home)
        try:
            agreed_salt(database)
        finally:
            database.close()


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    reason = "it did not listen"
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ServeError(f"The service ended with exit code {server.returncode} while starting.\n{_tail(log)}")
        try:
            answer = httpx.get(f"{url}/readyz", timeout=5)
            if answer.is_success:
                return
            reason = answer.json()["detail"]
        except httpx.TransportError:
            pass
        time.sleep(POLL_SECONDS)
    raise ServeError(f"The service was not ready after {START_SECONDS} s: {reason}\n{_tail(log)}")


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join([f"The end of {log}:", *lines])
