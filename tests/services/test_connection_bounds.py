"""How many connections there are, and who does not take an answer: uvicorn's connection over a pipe of our own."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest
import uvicorn.config
from uvicorn.config import Config
from uvicorn.server import ServerState

from services.edge import connections
from services.edge.connections import Connection


class Pipe(asyncio.Transport):
    """The other end takes nothing, or what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.closing = self.aborted = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.aborted = True


async def never(scope: Any, receive: Any, send: Any) -> None:
    """Stand for an application that is at work."""
    await asyncio.Event().wait()


def connection_over(state: ServerState) -> tuple[Connection, Pipe]:
    config = Config(app=never, http=Connection, interface="asgi3", lifespan="off")
    config.load()
    connection, pipe = Connection(config=config, server_state=state, app_state={}), Pipe()
    connection.connection_made(pipe)
    return connection, pipe


def test_the_environment_says_how_long_a_connection_may_be_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", dict(uvicorn.config.HTTP_PROTOCOLS))

    def idle_seconds() -> float:
        connections.guard_connections(lambda app: app)
        config = Config(app=never, http="auto", interface="asgi3", lifespan="off")
        config.load()
        made: Connection = config.http_protocol_class(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg, assignment]
        return made.timeout_keep_alive

    async def main() -> tuple[float, float]:
        before = idle_seconds()
        monkeypatch.setenv(connections.KEEP_ALIVE, "75")
        return before, idle_seconds()

    assert asyncio.run(main()) == (5, 75)


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("taken", [0, 1, connections.READ_BYTES])
def test_who_does_not_take_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch, closes: bool, taken: int) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", 0.001)

    async def main() -> bool:
        connection, pipe = connection_over(ServerState())
        pipe.waiting = size = 20 * connections.READ_BYTES
        if closes:
            connection.timeout_keep_alive_handler()
        else:
            connection.pause_writing()
        for _ in range(10):
            looked = connection._reading
            pipe.waiting -= taken
            while connection._reading is looked and not pipe.aborted:
                await asyncio.sleep(0)
        assert pipe.waiting >= size - 10 * taken
        pipe.waiting = 0
        connection.resume_writing()
        assert connection._reading is None
        connection.connection_lost(None)
        return pipe.aborted

    assert asyncio.run(main()) == (taken < connections.READ_BYTES)


def test_where_there_are_too_many_connections_who_waits_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 3)

    async def main() -> list[bool]:
        state = ServerState()
        at_work, idle, newer = (connection_over(state) for _ in range(3))
        at_work[0].data_received(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        newest = connection_over(state)
        closed = [pipe.closing for _, pipe in (at_work, idle, newer, newest)]
        for connection, _ in (at_work, idle, newer, newest):
            connection.connection_lost(None)
        await asyncio.sleep(0)  # until the application is at work
        for task in state.tasks:
            task.cancel()
        await asyncio.wait(state.tasks)
        return closed

    assert asyncio.run(main()) == [False, True, False, False]
    assert not connections.Connection._idle


def test_a_process_asks_for_as_many_files_as_it_may_have() -> None:
    asks = (
        "import resource\nfrom services.edge.connections import most_connections\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "for soft in (256, 1_024):\n"
        "    most_connections.cache_clear()\n    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
        "    print(most_connections(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "most_connections.cache_clear()\nresource.setrlimit(resource.RLIMIT_NOFILE, (256, 300))\n"
        "print(most_connections(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    *raised, low = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert low == (100, 300)
    assert len(set(raised)) == 1
    most, files = raised[0]
    assert most <= files - connections.OTHER_FILES
