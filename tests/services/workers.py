"""The processes behind a service, and what they listen on."""

import socket
from pathlib import Path

import psutil

from recsys.home import Home

TCP_LISTENS, UNIX_LISTENS = "0A", 0x10000  # as /proc/net has it
DATAGRAM = 2


def workers_of(home: Home) -> set[int]:
    """Return the processes that keep numbers of their own and live."""
    files = home.runs.glob("service-*/bentoml/prometheus_multiproc_dir/counter_*.db")
    return {pid for file in files if psutil.pid_exists(pid := int(file.stem.split("_")[1]))}


def memory_of(home: Home) -> int:
    """Return the bytes that they hold in memory."""
    return sum(psutil.Process(pid).memory_info().rss for pid in workers_of(home))


def processes_of(home: Home) -> set[int]:
    """Return them and what they belong to: all processes of their servers."""
    found: set[int] = set()
    for pid in workers_of(home):
        family = [psutil.Process(pid), *psutil.Process(pid).parents()]
        server = [process for process in family if "bentoml" in " ".join(process.cmdline())]
        found |= {process.pid for process in (*server, *server[-1].children(recursive=True))}
    return found


def listening(pids: set[int]) -> set[tuple[str, str, int]]:
    """Return what processes can be reached by, of every kind that the system has: kind, address or path, and port."""
    inodes = {inode for pid in pids for inode in _sockets_of(pid)}
    tables = {name: _rows(name) for name in ("tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6", "unix", "packet")}
    found = set()
    for name in ("tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6"):
        for row in tables[name]:
            if row[9] in inodes and (not name.startswith("tcp") or row[3] == TCP_LISTENS):
                found.add((name, *_address(row[1])))
    for row in tables["unix"]:
        bound = len(row) > 7
        if row[6] in inodes and (int(row[3], 16) & UNIX_LISTENS or (bound and int(row[4], 16) == DATAGRAM)):
            found.add(("unix", row[7] if bound else "", 0))
    found |= {("packet", "", 0) for row in tables["packet"] if row[8] in inodes}
    return found


def _sockets_of(pid: int) -> set[str]:
    links = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}


def _rows(table: str) -> list[list[str]]:
    file = Path("/proc/net") / table
    return [line.split() for line in file.read_text().splitlines()[1:]] if file.exists() else []


def _address(text: str) -> tuple[str, int]:
    """Read an address as /proc/net writes it: words of four bytes, little-endian as the machine's own."""
    address, _, port = text.partition(":")
    words = bytes.fromhex(address)
    content = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
    return socket.inet_ntop(socket.AF_INET if len(content) == 4 else socket.AF_INET6, content), int(port, 16)
