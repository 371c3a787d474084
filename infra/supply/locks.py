"""Read the lock files of this folder: what is pinned, for which machines, and by which hashes.

``lock.txt`` has what the service, the flows and their extras need, all but torch, and ``lock-dev.txt`` what tests and
checks add. ``lock-service.txt`` and ``lock-build.txt`` are parts of it, for images: what the service alone needs, and
what makes wheels of the two projects. Torch is in two, of which one is installed: ``lock-cpu.txt`` has its builds for
the CPU, ``lock-cuda.txt`` the public index's, with what that needs on Linux. Beside one another pip would always take
the index's.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
LOCKS = {
    name: HERE / f"{name}.txt" for name in ("lock", "lock-service", "lock-build", "lock-dev", "lock-cpu", "lock-cuda")
}
REQUIREMENTS = HERE / "service.txt"  # lock-service.txt and torch without hashes, as BentoML takes requirements
CONSTRAINTS = HERE.parent / "constraints.txt"  # the same versions without hashes, for pip's --constraint

PYTHONS = ("3.11.0", "3.11.9", "3.12.9", "3.13.9")  # markers tell 3.11.2 from 3.11.3
PLATFORMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
_ENTRY = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^\]]*\])?==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*\\?\s*$"
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """A release that is locked.

    Attributes:
        name: normalised.
        extras: as ``[asyncio]``, those that others ask for. A lock has such a release twice, with them and without:
            pip 23 takes the two for different packages, and looks for another release of the one that is not there.
        version: of the release.
        marker: where it is needed; empty: everywhere.
        hashes: the SHA-256 of each of its files, any of which may be installed.
    """

    name: str
    extras: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def constraint(self) -> str:
        """Its line of a constraints file, which may name no extras."""
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")

    def needed(self, environment: dict[str, str]) -> bool:
        """Whether an environment as of ``environments`` needs it."""
        return not self.marker or Marker(self.marker).evaluate(dict(environment))


def read(text: str) -> list[Pin]:
    """Return the pins of a lock file's text, in its order.

    Raises:
        ValueError: a line is neither a pin, a hash nor a comment: a lock holds no option, no path and no host.
    """
    pins: list[Pin] = []
    again = False  # a release's second entry, for its extras, repeats its hashes
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if found := _HASH.fullmatch(line.strip().removesuffix("\\").strip()):
            if not again:
                pins[-1] = replace(pins[-1], hashes=(*pins[-1].hashes, found[1]))
        elif entry := _ENTRY.fullmatch(line):
            name, extras, marker = canonicalize_name(entry["name"]), entry["extras"] or "", entry["marker"] or ""
            pin = Pin(name, "", entry["version"], marker, ())
            again = bool(pins) and pin == replace(pins[-1], hashes=())
            pins[-1:] = [replace(pins[-1], extras=extras)] if again else [*pins[-1:], replace(pin, extras=extras)]
        else:
            raise ValueError(f"A lock holds pins and hashes only, not {line!r}.")
    return pins


def written(pins: Iterable[Pin], title: str) -> str:
    """Return the text of a lock file."""
    lines = [f"# {title}", "# Written by `python infra/supply/lock.py`."]
    for pin in pins:
        for extras in dict.fromkeys(("", pin.extras)):
            requirement = f"{pin.name}{extras}{pin.constraint.removeprefix(pin.name)}"
            lines.append(" \\\n    ".join([requirement, *(f"--hash=sha256:{one}" for one in sorted(pin.hashes))]))
    return "\n".join(lines) + "\n"


def environments() -> list[dict[str, str]]:
    """Return what markers are evaluated against on each machine that the locks are made for."""
    return [
        {
            "python_version": python.rpartition(".")[0],
            "python_full_version": python,
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": platform,
            "platform_system": system,
            "platform_machine": machine,
            "extra": "",
        }
        for python, (platform, system, machine) in product(PYTHONS, PLATFORMS)
    ]
