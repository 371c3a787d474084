"""An image as Docker would run it: read-only, as its user, by its command and variables, in a network of its own."""

import subprocess
import sys
from pathlib import Path

from infra.images.dockerfile import environment, last
from infra.images.layers import PATH, Layers, mounted

HOME = "/var/lib/recsys"
# Loopback of a new network is down: SIOCSIFFLAGS with IFF_UP and IFF_RUNNING.
_LOOPBACK = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x41))"


class Container:
    """A process in an image that was built.

    Args:
        layers: where the image was built.
        target: its name.
        volume: the folder that is its home; its user must own it.
        log: where what it writes goes.
        command: what runs in the place of the image's own command.
    """

    def __init__(self, layers: Layers, target: str, volume: Path, log: Path, command: list[str] | None = None) -> None:
        stages = layers.stages
        self._user = last(stages, target, "USER").value.split(":")
        self._variables = environment(stages, target, PATH)
        who = [f"--reuid={self._user[0]}", f"--regid={self._user[1]}", "--clear-groups"]
        alone = ["setpriv", *who, "--no-new-privs", "--bounding-set=-all"]
        folder = last(stages, target, "WORKDIR").value
        command = [*alone, *(command or last(stages, target, "CMD").words())]
        options = f"lowerdir={layers.lower(target)}"  # without an upper one nothing can be written
        within = mounted(options, {HOME: volume}, self._variables, folder, command)
        network = ["sh", "-ec", f'{sys.executable} -c "$0"; exec "$@"', _LOOPBACK]
        apart = ["unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"]
        with log.open("wb") as file:
            self.process = subprocess.Popen([*apart, *network, *within], stdout=file, stderr=file)

    @property
    def first(self) -> int | None:
        """The number, outside, of what is process 1 inside; None before it has begun."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(listed[0]) if listed else None

    def ask(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command beside what runs, as its health check is run."""
        enter = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net", "--root", "--wd"]
        who = [f"--setuid={self._user[0]}", f"--setgid={self._user[1]}"]
        given = [f"{name}={value}" for name, value in self._variables.items()]
        return subprocess.run(
            [*enter, *who, "/usr/bin/env", "-i", *given, *command], capture_output=True, text=True, check=False
        )
