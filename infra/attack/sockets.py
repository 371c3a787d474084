"""What listens, what takes commands, and what goes out."""

import json
import os
import socket
from contextlib import suppress

import psutil

from infra.attack.attacks import Outcome, attack, judged, not_tried
from infra.attack.bounds import bounded
from infra.attack.target import Target

NOBODY = 65534


def _listening(target: Target) -> set[tuple[str, int]]:
    found = set()
    for process in target.processes():
        with suppress(psutil.Error):
            inner = [one for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
            found |= {(one.laddr.ip, one.laddr.port) for one in inner}
    return found


@attack("keyless")
def open_sockets(target: Target) -> Outcome:
    """Nothing listens but the HTTP port."""
    others = sorted(_listening(target) - {target.address})
    return judged(not others, f"beside {target.address[1]}: {', '.join(f'{ip}:{port}' for ip, port in others) or '–'}")


@attack("keyless")
def open_sockets_as_another_user(target: Target) -> Outcome:
    """Another user of this machine finds no way in but the HTTP port."""
    if os.getuid() != 0:
        return not_tried("only root can become another user")

    def reached() -> list[str]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        found = []
        for ip, port in sorted(_others):
            with suppress(OSError), socket.create_connection((ip, port), timeout=2):
                found.append(f"{ip}:{port}")
        for path in _files:
            with suppress(OSError), socket.socket(socket.AF_UNIX) as tried:
                tried.connect(path)
                found.append(path.rpartition("/")[2])
        return found

    _others = _listening(target) - {target.address}
    _files = [
        one.laddr
        for process in target.processes()
        for one in process.net_connections("unix")
        if one.laddr and not one.laddr.startswith("\0")
    ]
    found = bounded(reached, 20)
    return judged(not found, f"{len(_others)} other ports and {len(_files)} socket files; reached: {found or '–'}")


@attack("keyless")
def a_command_to_the_supervisor(target: Target) -> Outcome:
    """Whatever else listens takes no commands from whoever connects."""
    try:
        import zmq
    except ImportError:
        return not_tried("pyzmq, which the supervisor would speak, is not installed")
    answered, context = [], zmq.Context()
    command = json.dumps({"command": "numwatchers", "id": "attack", "properties": {}}).encode()
    others = sorted(_listening(target) - {target.address})
    for ip, port in others:
        with context.socket(zmq.DEALER) as caller:
            caller.linger = 0
            caller.connect(f"tcp://{ip}:{port}")
            caller.send(command)
            if caller.poll(3_000):
                told = json.loads(caller.recv())
                answered.append(f"port {port}: {told.get('status')}, {told.get('numwatchers')} watchers")
    context.destroy()
    return judged(not answered, f"{len(others)} other ports; answered: {'; '.join(answered) or 'none'}")


@attack("keyless")
def calls_home(target: Target) -> Outcome:
    """The service opens no connection to another machine."""
    out = set()
    for process in target.processes():
        with suppress(psutil.Error):
            for one in process.net_connections("inet"):
                if one.raddr and not one.raddr.ip.startswith(("127.", "::1", "::ffff:127.")):
                    out.add(f"{one.raddr.ip}:{one.raddr.port}")
    return judged(not out, f"outgoing: {', '.join(sorted(out)) or 'none'}")
