"""What listens, what takes commands, and what goes out."""

import json
import os
import socket
import struct
import time
from contextlib import suppress

import psutil

from infra.attack.attacks import Outcome, attack, held, hurt, judged, not_tried
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
    answered = []
    command = json.dumps({"command": "numwatchers", "id": "a", "properties": {}}).encode()
    for address in sorted(_listening(target) - {target.address}):
        with suppress(OSError), socket.create_connection(address, timeout=3) as made:
            made.settimeout(1)
            made.sendall(_zmtp(b"DEALER") + bytes([0, len(command)]) + command)
            received, until = b"", time.monotonic() + 5
            with suppress(OSError):
                while b"numwatchers" not in received and time.monotonic() < until:
                    received += made.recv(4096) or b" "
            if b'"numwatchers"' in received:
                answered.append(f"{address[1]} told the number of its watchers, asked by nobody")
    return hurt("; ".join(answered)) if answered else held("no answer to a circus command")


def _zmtp(kind: bytes) -> bytes:
    """Return the greeting and the READY of ZMTP 3.0 without security."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
    ready = b"\x05READY"
    for name, value in ((b"Socket-Type", kind), (b"Identity", b"")):
        ready += bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
    return greeting + b"\x04" + bytes([len(ready)]) + ready


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
