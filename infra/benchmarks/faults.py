"""What the promises are worth when things break: ``python infra/benchmarks/faults.py --out infra/results/faults.json``.

Ingest (of few events, of many into segments, of a day that joins these), train, bind, publish and prune are killed
(SIGKILL) at seeded ones of their changes to the home (writes, renames, removals, by Python as by Rust) and at seeded
moments. Then everything that the home lists must be whole, what is served must answer, and the same operation must end
with what an undisturbed one ends with. The disk is full from such a change on; files are cut short; a clock goes back;
changes are slow, and a commit is made whose answer is lost; the same is done twice at once. It needs a C compiler, and
no root but for the home that cannot be written to. ``tables.py`` makes the table.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.benchmarks import fault_runs
from infra.benchmarks.fault_runs import Ended, Fault, begun
from recsys.artifacts import read_json, write_json
from recsys.home import Home

NAMES = ("ingest", "segments", "append", "train", "bind", "publish", "prune")
SHARES = {name: 0.02 if name == "train" else 0.98 / (len(NAMES) - 1) for name in NAMES}  # a training is long
FAULTS = (
    "clock_back",
    "read_only",
    "cut_short",
    "twice",
    "late",
    "unanswered",
    "full_disks",
    "kills",
)  # quick ones first
LATE_MILLISECONDS = 5
LATEST = 0.95  # of the time that an operation takes undisturbed: a kill comes before


class Trials:
    """The homes that trials begin with, and what came of all trials.

    Attributes:
        work: where everything lies.
        table: a row a fault: promise, trials, how many kept it, and what those that did not have met.
    """

    def __init__(self, work: Path, names: Sequence[str], out: Path, seed: int) -> None:
        self.work, self.names, self.out, self.seed = work, names, out, seed
        found = read_json(out)["faults"] if out.exists() else []  # what was tried before, and is not again, stays
        self.table: dict[str, dict[str, Any]] = {row["fault"]: row for row in found}
        self.begins: dict[str, str] = {}
        self.expected: dict[str, tuple[Any, Any, Ended]] = {}

    def prepare(self) -> None:
        """Make the homes, and do each operation undisturbed."""
        for make, made in (("make_data", "shop"), ("make_served", "served"), ("make_more", "full")):
            if not (self.work / made).exists():
                self._sure(_calling(make, self.work))
        self.begins = self._sure(lambda: {name: _operations().OPERATIONS[name][1] for name in self.names})
        for name in self.names:
            with self.home(name) as home:
                done = fault_runs.run(self.doing(name, home), home.root)
                if done.error:
                    raise RuntimeError(f"{name}: {done.error}")
                self.expected[name] = done.value, self._sure(_calling("names", home)), done
                print(f"{name}: {done.changes} changes, {done.commits} commits, {done.took:.1f} s", flush=True)

    @contextmanager
    def home(self, name: str) -> Iterator[Home]:
        """Yield a copy of the home that an operation begins with."""
        folder = Path(mkdtemp(dir=self.work)) / "home"
        begin = self.work / self.begins[name]
        shutil.copytree(begin, folder) if begin.exists() else folder.mkdir(mode=0o700)
        try:
            yield Home(folder)
        finally:
            shutil.rmtree(folder.parent)

    def doing(self, name: str, home: Home) -> Callable[[], Any]:
        """Return an operation on a home, to be called in a child."""
        return lambda: _operations().OPERATIONS[name][0](home, self.work)

    def afterwards(self, name: str, home: Home) -> str | None:
        """Return which promise is broken after a fault, or None."""
        found = fault_runs.run(_calling("whole", home), home.root)
        if found.error:
            return f"not whole: {found.error}"
        again = fault_runs.run(self.doing(name, home), home.root)
        value, names, _ = self.expected[name]
        if again.error or again.value != value:
            return f"done again: {again.error or again.value}"
        found = fault_runs.run(_calling("whole", home), home.root)
        if found.error or any(found.value[room] != names[room] for room in names):
            return f"left: {found.error or found.value}"
        return None

    def kills(self, count: int) -> None:
        """Kill each operation at seeded changes and, as many times, at seeded moments.

        The operations take turns, and the table is written after each trial: whenever this is ended, it tells of all.
        """
        promise = "all that is listed is whole, what is served answers, and the same again ends with the same ids"
        turns: list[tuple[float, str, str, Fault]] = []
        outcomes: dict[str, list[str | None]] = {}
        for name in self.names:
            chance, whole = random.Random(f"{self.seed} {name}"), self.expected[name][2]
            trials = round(count * SHARES[name])
            points = chance.sample(range(1, whole.changes + 1), min(whole.changes, trials // 2))
            moments = [chance.uniform(0, LATEST * whole.took) for _ in range(trials - len(points))]
            changes = f"kill -9 at a change of {name}", [Fault("killed", at) for at in points]
            times = f"kill -9 at a moment of {name}", [Fault(seconds=seconds) for seconds in moments]
            for fault, faults in (changes, times):
                turns += [((turn + 0.5) / len(faults), fault, name, one) for turn, one in enumerate(faults)]
        for _, fault, name, one in sorted(turns, key=lambda turn: turn[:2]):
            tried = outcomes.setdefault(fault, [])
            tried.append(self._killed(name, one))
            whole = self.expected[name][2]
            note = f"of {whole.took:.1f} s" if one.kind == "none" else f"of {whole.changes} changes to the home"
            self.row(fault, promise, len(tried), [why for why in tried if why], note)

    def _killed(self, name: str, fault: Fault) -> str | None:
        """Kill an operation; return which promise is broken, or None."""
        chance = random.Random(f"{self.seed} {name} {fault}")
        while True:
            with self.home(name) as home:
                ended = fault_runs.run(self.doing(name, home), home.root, fault)
                if ended.killed:
                    why = self.afterwards(name, home)
                    return why and f"{fault}: {why}"
            # it has made fewer changes than the undisturbed one, or was faster
            earlier = fault.seconds and chance.uniform(0, LATEST) * ended.took
            fault = Fault(fault.kind, fault.at - 1, earlier)

    def points(self, fault: str, name: str, total: int, count: int) -> list[int]:
        """Return so many seeded ones, or all, of what an operation does so often."""
        chance = random.Random(f"{self.seed} {fault} {name}")
        return sorted(chance.sample(range(1, total + 1), min(total, count)))

    def full_disks(self, count: int) -> None:
        """Let the disk be full from seeded changes of each operation on."""
        for name in self.names:
            total = self.expected[name][2].changes
            points, broken = self.points("full", name, total, count), list[str]()
            for at in points:
                with self.home(name) as home:
                    ended = fault_runs.run(self.doing(name, home), home.root, Fault("full", at))
                    said = f"The disk of {home.root}" in ended.message and "MB are free" in ended.message
                    if ended.error and not said:
                        broken.append(f"change {at} of {total} says {ended.error}")
                    elif (why := self.afterwards(name, home)) is not None:
                        broken.append(f"change {at} of {total}: {why}")
            promise = (
                "the message names disk and path, all is whole, and with room the same again ends with the same ids"
            )
            self.row(f"disk full in {name}", promise, len(points), broken, f"from one of {total} changes on")

    def unanswered(self, count: int) -> None:
        """Let seeded commits of each operation be made, LanceDB's among them, and yet end with an error."""
        for name in self.names:
            total = self.expected[name][2].commits
            points, broken = self.points("unanswered", name, total, count), list[str]()
            for at in points:
                with self.home(name) as home:
                    fault_runs.run(self.doing(name, home), home.root, Fault("unanswered", at))
                    if (why := self.afterwards(name, home)) is not None:
                        broken.append(f"commit {at} of {total}: {why}")
            promise = "all is whole, and the same again ends with the same ids"
            self.row(
                f"{name}: a commit is made, and its answer is an error", promise, len(points), broken,
                f"of {total} commits",
            )  # fmt: skip

    def twice(self) -> None:
        """Do each operation twice at the same time."""
        for name in self.names:
            with self.home(name) as home:
                both = [begun(self.doing(name, home), home.root) for _ in range(2)]
                ended = [wait() for wait in both]
                told = [one.error for one in ended if one.error]
                fine = all(one is None or "ConflictError" in one for one in (end.error for end in ended))
                why = self.afterwards(name, home)
                broken = [f"{told}" for _ in range(1) if not fine] + ([why] if why else [])
            outcome = "one was told of the other" if told and fine else "both ended alike"
            self.row(f"{name} twice at once", "one outcome, as of one alone", 1, broken, outcome)

    def late(self) -> None:
        """Let every change of bind and publish, LanceDB's commits among them, come late."""
        for name in (name for name in ("bind", "publish") if name in self.names):
            with self.home(name) as home:
                ended = fault_runs.run(self.doing(name, home), home.root, Fault("late", 1_000 * LATE_MILLISECONDS))
                broken = [ended.error] if ended.error else []
                why = self.afterwards(name, home)
            promise = "the same outcome"
            self.row(
                f"{name}: every change, LanceDB's commits too, {LATE_MILLISECONDS} ms late",
                promise,
                1,
                broken + ([why] if why else []),
            )

    def cut_short(self) -> None:
        """Cut every file of what is served in half."""
        with self.home("prune") as home:
            outcome = self._sure(_calling("files_of_served", home))
        broken: list[str] = []
        for path in outcome:
            with self.home("prune") as home:
                file = home.root / path
                os.truncate(file, file.stat().st_size // 2)
                told = fault_runs.run(_calling("cut_short", home), home.root)
                if told.error:
                    broken.append(f"{path}: {told.error}")
        promise = "a clear error; what was served before can be gone back to, and answers"
        self.row("each file of what is served cut in half", promise, len(outcome), broken)

    def clock_back(self) -> None:
        """Prune and publish with a clock that went back ten years."""
        with self.home("publish") as home:
            told = fault_runs.run(_calling("clock_back", home), home.root)
            why = self.afterwards("publish", home)
        broken = [one for one in (told.error, why) if one]
        self.row("the clock goes back ten years", "nothing is pruned for it, and publishing goes on", 1, broken)

    def read_only(self) -> None:
        """Ask a home for answers that cannot be written to."""
        with self.home("publish") as home, mounted_read_only(home.root) as mounted:
            if not mounted:
                self.row("home read-only", "what is served answers", 0, [], "needs the right to mount")
                return
            told = fault_runs.run(_calling("answered", home), home.root)
        self.row("home read-only", "what is served answers", 1, [told.error] if told.error else [])

    def row(self, fault: str, promise: str, trials: int, broken: list[str], note: str = "") -> None:
        """Put a row into the table and write it down."""
        told = {"fault": fault, "promise": promise, "trials": trials, "kept": trials - len(broken), "note": note}
        self.table[fault] = told | {"broken": broken}
        write_json(self.out, {"task": "faults", "seed": self.seed, "faults": list(self.table.values())})
        print(f"{fault}: {trials - len(broken)} of {trials} {note} {broken[:3] or ''}", flush=True)

    def _sure(self, function: Callable[[], Any]) -> Any:
        done = fault_runs.run(function, self.work)
        if done.error:
            raise RuntimeError(done.error)
        return done.value


@contextmanager
def mounted_read_only(folder: Path) -> Iterator[bool]:
    """Mount a folder over itself so that nobody can write there; yield whether that was allowed."""
    done = [
        subprocess.run(["mount", *words, str(folder)], capture_output=True).returncode
        for words in (("--bind", str(folder)), ("-o", "remount,bind,ro"))
    ]
    try:
        yield not any(done)
    finally:
        if done[0] == 0:
            subprocess.run(["umount", str(folder)], check=True)


def _operations() -> Any:
    """Import what takes seconds, when the library is there."""
    from infra.benchmarks import fault_operations

    return fault_operations


def _calling(name: str, argument: Any) -> Callable[[], Any]:
    return lambda: getattr(_operations(), name)(argument)


def main() -> None:
    """Try all faults, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/recsys-faults"), help="keeps homes for the next time")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--full", type=int, default=8, help="full disks, and lost answers, of each operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS, help="others stay as the file has them")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    fault_runs.under_the_library(given.work)
    warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
    _operations()  # once for all children

    trials = Trials(given.work, given.only, given.out, given.seed)
    trials.prepare()
    counted = {"full_disks": given.full, "unanswered": given.full, "kills": given.kills}
    for fault in given.faults:
        getattr(trials, fault)(*([counted[fault]] if fault in counted else []))
    rows = trials.table.values()
    print(f"{sum(row['kept'] for row in rows)} of {sum(row['trials'] for row in rows)} trials kept their promise.")


if __name__ == "__main__":
    main()
