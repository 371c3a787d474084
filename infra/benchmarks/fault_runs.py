"""Runs an operation in a child that dies, or whose disk is full, at its n-th change below a folder, or at some moment.

The children are forked from a process that has imported what is slow, under a library of C (``faults.c``) that counts
what Python, Rust and C++ write, rename and remove.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from flows.disk import full_disk

SOURCE = Path(__file__).with_name("faults.c")
PRELOAD = "LD_PRELOAD"
PATIENCE_SECONDS = 600  # a child that hangs is ended, and counts as one that fails


Kind = Literal["none", "killed", "full", "late", "unanswered"]
KINDS = get_args(Kind)


@dataclass(frozen=True)
class Fault:
    """What happens to a child.

    Attributes:
        kind: it is killed; nothing that takes room can be written any more; each change is made later; or a commit
            (a finished file is put in its place) is made and yet ends with an error, as one whose answer was lost.
        at: the change, or the commit, at which it happens, from 1; with ``late``, microseconds.
        seconds: after which the child is killed, whatever it does; None: not so.
    """

    kind: Kind = "none"
    at: int = 0
    seconds: float | None = None


NOTHING = Fault()


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        killed: by the fault.
        value: what it returned; None: it was killed, or raised.
        error: what it raised, with its kind.
        message: what a full disk is told with; empty: it was none.
        changes: how many it made below the folder; 0 where it was killed.
        commits: how many of them put a finished file in its place.
        took: seconds.
    """

    killed: bool
    value: Any = None
    error: str | None = None
    message: str = ""
    changes: int = 0
    commits: int = 0
    took: float = 0.0


def under_the_library(work: Path) -> None:
    """Start this very program again with the library loaded, unless it is.

    Raises:
        CalledProcessError: the C compiler refuses.
        FileNotFoundError: there is none.
    """
    library = work / "faults.so"
    if str(library) in os.environ.get(PRELOAD, ""):
        return
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    environment = os.environ | {PRELOAD: str(library), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def run(function: Callable[[], Any], below: Path, fault: Fault = NOTHING) -> Ended:
    """Call a function in a child, see ``begun``; wait for its end."""
    return begun(function, below, fault)()


def begun(function: Callable[[], Any], below: Path, fault: Fault = NOTHING) -> Callable[[], Ended]:
    """Begin to call a function in a child; return what waits for its end.

    Args:
        function: returns JSON values.
        below: the folder whose changes count.
        fault: what happens to it.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        failed = 1
        signal.alarm(PATIENCE_SECONDS)
        try:
            library = ctypes.CDLL(None)
            library.fault_arm(str(below).encode(), KINDS.index(fault.kind), ctypes.c_long(fault.at))
            told: dict[str, Any] = {}
            begin = time.monotonic()
            try:
                told["value"] = function()
            except Exception as error:
                told["error"] = f"{type(error).__name__}: {error}"
                told["message"] = full_disk(error, below) or ""
            told["took"] = time.monotonic() - begin
            told["changes"], told["commits"] = library.fault_changes(), library.fault_commits()
            os.write(writer, json.dumps(told).encode())
            failed = 0
        finally:
            os._exit(failed)  # what the parent cleans up is not to be cleaned up twice
    os.close(writer)

    def ended() -> Ended:
        with os.fdopen(reader, "rb") as pipe:
            if fault.seconds is not None and not select.select([pipe], [], [], fault.seconds)[0]:
                os.kill(child, signal.SIGKILL)
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return Ended(killed=True)
        if not told:
            return Ended(killed=False, error=f"ended with status {status} and said nothing")
        return Ended(killed=False, **json.loads(told))

    return ended
