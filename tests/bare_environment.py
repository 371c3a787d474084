"""Environments in which little is installed, made of links to what is installed here, and Python in them.

A distribution brings what it requires; nothing else can be imported. No index is asked.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from processes import PATIENCE_SECONDS


def required(roots: Iterable[str]) -> set[str]:
    """Return the names of the installed distributions that some distributions need, themselves included."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # needed on another platform only
        found.add(name)
        for line in requirements:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name.lower())
    return found


def link_packages(names: Iterable[str], folder: Path) -> None:
    """Link the top-level files and folders of some distributions into a folder."""
    for name in names:
        for file in distribution(name).files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(distribution(name).locate_file(top))


def run_python(folder: Path, *arguments: str) -> str:
    """Run Python where nothing but what lies in a folder can be imported; return what it prints."""
    # -S: no site-packages; -P: nor whatever lies in the working folder
    done = subprocess.run(
        [sys.executable, "-S", "-P", *arguments],
        env=os.environ | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
