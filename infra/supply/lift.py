"""Try what each upper bound keeps out: ``python infra/supply/lift.py [NAME…] [--out FILE] [--minutes 20]``.

For each bound of ``pyproject.toml`` that is named, or all, where it keeps something out: a copy of the clone with that
one bound lifted, a fresh virtual environment, an installation, and a few tests that touch most of the house. Everything
else stays at its locked version where pip finds a way to keep it there. One takes five to ten minutes on two cores; a
schedule may run it weekly. The exit code is 0 whatever is found: a bound that can go is news, no fault.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from packaging.specifiers import SpecifierSet

from infra.supply.locks import CONSTRAINTS
from infra.supply.pins import PROJECTS, ROOT, Bound, bounds

TESTS = (
    "tests/data/test_snapshot.py",
    "tests/models/encoder/test_backbone.py",
    "tests/store/test_index.py",
    "tests/database/test_events.py",
    "tests/flows/test_pipeline.py",
    "tests/services/test_service.py",
)
TAIL = 300  # characters of what failed that are kept


@dataclass(frozen=True)
class Outcome:
    """What lifting one bound brought.

    Attributes:
        package: the package.
        bound: what kept newer releases out.
        newest: the newest release that pip found; None: it was not told.
        installs: the release that was installed with everything else; None: none could be.
        moved: what else had to leave its locked version, by name.
        passes: whether the tests passed; None: they did not run.
        told: the last line of what failed.
        seconds: what it took.
    """

    package: str
    bound: str
    newest: str | None
    installs: str | None
    moved: dict[str, str]
    passes: bool | None
    told: str
    seconds: int


def newest(name: str) -> str | None:
    """Return the newest release of a package that pip finds for this Python."""
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--disable-pip-version-check"]
    spoken = {name: value for name, value in os.environ.items() if name != "PIP_QUIET"}
    answer = subprocess.run(command, env=spoken, capture_output=True, text=True, check=False)
    found = re.search(r"^Available versions: ([^,\s]+)", answer.stdout, re.MULTILINE)
    return found[1] if found else None


def copy_of_the_clone(place: Path, bound: Bound) -> None:
    """Write the files that git knows into a folder, the one bound lifted wherever a project has it."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes((ROOT / name).read_bytes())
    for project in PROJECTS:
        copied = place / project.relative_to(ROOT)
        text = copied.read_text()
        for other in bounds(text):
            if other.name == bound.name:
                text = text.replace(f'"{other.line}"', f'"{other.lifted}"')
        copied.write_text(text)
    kept = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith(f"{bound.name}==")]
    (place / "kept.txt").write_text("\n".join([*kept, ""]))


def lift(bound: Bound, seconds: float) -> Outcome:
    """Lift one bound and return what that brought; each of its steps ends when the time is up."""
    begun = time.monotonic()
    latest = newest(bound.name)
    if latest is None:
        return Outcome(bound.name, bound.upper, None, None, {}, None, "pip found no release", 0)
    if SpecifierSet(bound.upper).contains(latest):
        return Outcome(bound.name, bound.upper, latest, latest, {}, None, "nothing newer is kept out", 0)

    def run(*command: str, cwd: Path) -> tuple[bool, str]:
        left = max(1.0, seconds - (time.monotonic() - begun))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        environment.pop("PYTHONPATH", None)
        try:
            done = subprocess.run(
                command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=left, check=False
            )
        except subprocess.TimeoutExpired:
            return False, f"not done after {seconds / 60:.0f} minutes"
        lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("WARNING")]
        wrong = [line for line in lines if line.startswith(("ERROR", "FAILED"))] or lines[-1:]
        return done.returncode == 0, "" if done.returncode == 0 else " · ".join(wrong)[-TAIL:]

    with tempfile.TemporaryDirectory(prefix="lift-") as folder:
        place = Path(folder)
        copy_of_the_clone(place, bound)
        run(sys.executable, "-m", "venv", "venv", cwd=place)
        python = str(place / "venv" / "bin" / "python")
        asked = ["--editable", "services/python-client", "--editable", ".[test]", f"{bound.name}=={latest}"]
        install = [python, "-m", "pip", "install", "--quiet"]
        installed, told = run(*install, "--constraint", "kept.txt", *asked, cwd=place)
        if not installed:  # what is locked stands in its way
            installed, told = run(*install, *asked, cwd=place)
        passes, moved, version = None, {}, None
        if installed:
            there = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
            versions = dict(line.split("==") for line in there.splitlines() if "==" in line)
            versions = {name.lower().replace("_", "-").replace(".", "-"): found for name, found in versions.items()}
            locked = dict(line.split(" ;")[0].split("==") for line in CONSTRAINTS.read_text().splitlines()[1:])
            version = versions.get(bound.name)
            others = {name: found for name, found in versions.items() if name in locked and name != bound.name}
            moved = {name: found for name, found in others.items() if found.partition("+")[0] != locked[name]}
            tests = [python, "-m", "pytest", "-x", "-p", "no:cacheprovider", *TESTS]
            passes, told = run(*tests, cwd=place)
    spent = round(time.monotonic() - begun)
    return Outcome(bound.name, bound.upper, latest, version, moved, passes, told, spent)


def outcomes(document: dict) -> list[Outcome]:
    """Return the outcomes of a result file that ``main`` wrote."""
    return [Outcome(**one) for one in document["outcomes"]]


def table(found: list[Outcome]) -> str:
    """Return the outcomes as Markdown."""
    lines = ["| bound | newest | installs | tests |", "|---|---|---|---|"]
    for one in found:
        installs = (one.installs or "no") + "".join(f", {name} {moved}" for name, moved in one.moved.items())
        tests = {True: "pass", False: f"fail: {one.told}", None: one.told}[one.passes].replace("|", "\\|")
        lines.append(f"| {one.package} `{one.bound}` | {one.newest} | {installs} | {tests} |")
    return "\n".join([*lines, ""])


def main(names: list[str], out: Path | None, minutes: float) -> None:
    """Lift the bounds of some packages, or all, and print the table.

    Raises:
        SystemExit: a name has no upper bound.
    """
    found = {bound.name: bound for bound in bounds(PROJECTS[0].read_text())}
    if strange := sorted(set(names) - found.keys()):
        raise SystemExit(f"{strange[0]} has no upper bound. Those that have: {', '.join(sorted(found))}.")
    tried = []
    for name in names or sorted(found):
        tried.append(lift(found[name], minutes * 60))
        if out:
            document = {"task": "lifting", "tests": TESTS, "outcomes": [asdict(one) for one in tried]}
            out.write_text(json.dumps(document, indent=2) + "\n")
    print(table(tried), end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="packages whose bound is lifted; none: all")
    parser.add_argument("--out", type=Path, help="write the outcomes as JSON too")
    parser.add_argument("--minutes", type=float, default=20, help="for one bound")
    asked = parser.parse_args()
    main(asked.names, asked.out, asked.minutes)
