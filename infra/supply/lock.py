"""Write the lock files and the constraints: ``python infra/supply/lock.py [--upgrade [NAME…]]``.

uv resolves what ``pyproject.toml`` asks for on every machine that is covered at once, with the hash of every file of
each release. What is locked stays at its version, with its hashes, though files may have been added to the release,
unless it is named after ``--upgrade``; ``--upgrade`` alone lifts everything.
Needs ``pip install 'recsys[supply]'``.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.supply.locks import CONSTRAINTS, LOCKS, REQUIREMENTS, Pin, environments, read, written
from services.requirements import EXTRAS, LEFT_OUT

ROOT = Path(__file__).parents[2]
OPERATORS = ("postgres", "remote", "onnx", "otlp")  # the extras that a running house may have
WHOLE = ("lock", "lock-dev", "lock-cuda")  # what is locked; the others are parts of it, or written down here
DEVELOPERS = ("test", "dev", "ray", "supply")
CUDA = ("cuda-", "nvidia-", "triton")  # what the public index's torch brings on Linux
NOT_CUDA = ("nvidia-ml-py",)  # BentoML asks it for cards
# Torch's builds for the CPU, which the public index does not have: CPython 3.11, 3.12 and 3.13, each for x86_64 and
# aarch64, as its makers list them. The first was hashed here; the others are as two others' locks say.
BUILDS = {
    "2.13.0+cpu": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
        "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
        "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
        "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",
        "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
        "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d",
    )
}
CONSTRAINTS_TITLE = "The versions of supply/lock*.txt."
SERVICE_TITLE = "What a Bento of the service installs: the versions of lock-service.txt, and torch."
TITLES = {
    "lock": "What the service, the flows and their extras install beside torch, by hash.",
    "lock-service": "What the service needs of lock.txt, and nothing that trains, draws or schedules, by hash.",
    "lock-build": "What makes wheels of the projects, of lock.txt, by hash.",
    "lock-dev": "What tests, checks and a Ray cluster add to lock.txt, by hash.",
    "lock-cpu": "Torch's builds for the CPU, which are not on the public index, by hash.",
    "lock-cuda": "The public index's torch and what it needs on Linux, by hash.",
}


def wanted() -> dict[str, list[str]]:
    """Return the requirements of operators, of developers, of the service and of who builds the projects.

    They are as ``pyproject.toml`` and the client's have them. The builder of the two projects is among the operators':
    pip cannot check hashes of what it builds apart.
    """
    house = tomllib.loads((ROOT / "pyproject.toml").read_text())
    client = tomllib.loads((ROOT / "services" / "python-client" / "pyproject.toml").read_text())
    extras = house["project"]["optional-dependencies"]
    own = (house["project"]["name"], client["project"]["name"])

    def others(requirements: Iterable[str]) -> list[str]:
        return [line for line in requirements if not line.startswith(own)]

    running = [*others(house["project"]["dependencies"]), *client["project"]["dependencies"]]
    return {
        "operators": [
            *running,
            *house["build-system"]["requires"],
            "editables",  # hatchling asks for it to install a folder as editable
            *others(line for extra in OPERATORS for line in extras[extra]),
        ],
        "developers": others(line for extra in DEVELOPERS for line in extras[extra]),
        "service": [*running, *others(line for extra in sorted(EXTRAS) for line in extras[extra])],
        "builders": house["build-system"]["requires"],
    }


def resolved(
    requirements: Iterable[str], keep: str, upgrade: list[str] | None = None, without: Iterable[str] = ()
) -> list[Pin]:
    """Return what uv locks for requirements, as if nobody asked for what it is to be ``without``.

    Args:
        requirements: as pip takes them.
        keep: the text of the locks whose versions stay.
        upgrade: the names of those that are lifted all the same; none: all of them; None: nothing.
        without: names.

    Raises:
        subprocess.CalledProcessError: uv found no solution; it has said why.
    """
    with tempfile.TemporaryDirectory() as place:
        asked, left, out = (Path(place, name) for name in ("asked.in", "left-out.in", "locked.txt"))
        asked.write_text("\n".join(requirements) + "\n")
        left.write_text("\n".join(without) + "\n")
        out.write_text(keep)
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
        command += ["--no-strip-extras", "--no-header", "--no-annotate", "--python-version=3.11"]
        command += [f"--output-file={out}", f"--excludes={left}"]
        if upgrade is not None:
            command += [f"--upgrade-package={name}" for name in upgrade] or ["--upgrade"]
        subprocess.run([*command, str(asked)], check=True, stdout=subprocess.DEVNULL)
        return read(out.read_text())


def main(upgrade: list[str] | None) -> None:
    """Write the locks and the constraints.

    Raises:
        ValueError: a tool asks for extras of what runs, without which its lock would not be whole, or torch was raised
            and the hashes of its builds for the CPU are not known.
    """
    asked = wanted()
    old = "\n".join(LOCKS[name].read_text() for name in WHOLE if LOCKS[name].exists())
    everything = resolved([*asked["operators"], *asked["developers"]], old, upgrade)
    covered = environments()
    pins = [pin for pin in everything if any(pin.needed(machine) for machine in covered)]
    kept = written(everything, "kept")
    running = {pin.name: pin for pin in resolved(asked["operators"], kept)}
    parts: dict[str, list[Pin]] = {name: [] for name in LOCKS}
    for pin in pins:
        cuda = pin.name == "torch" or (pin.name.startswith(CUDA) and pin.name not in NOT_CUDA)
        if pin.name in running and pin.extras != running[pin.name].extras:
            raise ValueError(f"Developers ask for {pin.name}{pin.extras}, whose extras lock.txt does not have.")
        parts["lock-cuda" if cuda else "lock" if pin.name in running else "lock-dev"].append(pin)
        if pin.name == "torch":
            build = f"{pin.version}+cpu"
            if build not in BUILDS:
                raise ValueError(f"Add the hashes of torch {build} to BUILDS, or keep torch where it is.")
            parts["lock-cpu"].append(replace(pin, version=build, hashes=BUILDS[build]))
    for name, whose, without in (("lock-service", "service", sorted(LEFT_OUT)), ("lock-build", "builders", ())):
        named = {pin.name for pin in resolved(asked[whose], kept, without=without)}
        parts[name] = [pin for pin in parts["lock"] if pin.name in named]
    for name, path in LOCKS.items():
        path.write_text(written(parts[name], TITLES[name]))
    CONSTRAINTS.write_text(constraints(pins))
    torch = [pin for pin in parts["lock-cuda"] if pin.name == "torch"]
    REQUIREMENTS.write_text(constraints([*parts["lock-service"], *torch], SERVICE_TITLE))


def constraints(pins: Iterable[Pin], title: str = CONSTRAINTS_TITLE) -> str:
    """Return the locked versions without hashes: with hashes, pip refuses to install a folder."""
    lines = sorted(pin.constraint for pin in pins)
    return "\n".join([f"# {title} Written by `python infra/supply/lock.py`.", *lines, ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", nargs="*", metavar="NAME", help="lift these packages, or all")
    main(parser.parse_args().upgrade)
