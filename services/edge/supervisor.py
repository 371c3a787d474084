"""BentoML's supervisor, which holds the socket that its workers listen on: it takes no commands, nor late connections.

BentoML gives it two TCP ports on loopback without authentication, on which whoever can connect may have any command run
as the service's user. At the end it goes on taking connections that nobody will answer; here no request is lost then.
"""

import ctypes
import selectors
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from circus.arbiter import Arbiter

from recsys.errors import SettingError

LAST_SECONDS = 1.0  # in which workers accept what has connected before the end
ACCEPT_POLL_SECONDS = 0.001
SO_ATTACH_FILTER, BPF_RETURN = 26, 0x06  # of Linux, which Python does not name
# It does not run without its two endpoints; these exist inside of its process alone.
COMMANDS, EVENTS = "inproc://commands", "inproc://events"


def guard_supervisor() -> None:
    """Make a supervisor that is made in this process from now on such a one; BentoML imports the service before."""
    Arbiter.__init__ = _hear_nobody(Arbiter.__init__)
    Arbiter.stop = _stop_listening(Arbiter.stop)


def _hear_nobody(make: Any) -> Any:
    def make_unreachable(arbiter: Arbiter, *arguments: Any, **named: Any) -> None:
        if named.get("plugins"):
            raise SettingError(
                "--reload needs a port that takes commands from anybody; start the service anew instead."
            )
        make(arbiter, *arguments, **named | {"endpoint": COMMANDS, "pubsub_endpoint": EVENTS})

    return make_unreachable


def _stop_listening(stop: Any) -> Any:
    def stop_listening_first(arbiter: Arbiter) -> Any:
        for listener in arbiter.sockets.values():
            with suppress(OSError):  # it does not listen, or the system has no such filter
                _take_no_more(listener)
            _let_workers_accept(listener)
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RD)
        return stop(arbiter)

    return stop_listening_first


def _take_no_more(listener: socket.socket) -> None:
    """Let the system drop whatever else comes for a listener; what waits to be accepted stays.

    Nobody connects then between the last look at what waits and the end of listening. A packet filter does it
    (Linux, ``SO_ATTACH_FILTER``): a program of the one instruction "keep 0 bytes".

    Raises:
        OSError: the system has no such filter.
    """
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _let_workers_accept(listener: socket.socket) -> None:
    """Wait until no connection waits to be accepted: the system resets those that still do when listening ends."""
    deadline = time.monotonic() + LAST_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while selector.select(0) and time.monotonic() < deadline:
            time.sleep(ACCEPT_POLL_SECONDS)
