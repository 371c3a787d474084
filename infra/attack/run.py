"""Attack a service of one's own for a quarter of an hour: ``python infra/attack/run.py --home .recsys --out FILE``.

The home is copied; what is attacked are services over the copy, on loopback, and the code. With ``--url`` a service
that runs on this machine already is tried, by what needs no home and leaves nothing behind. Every attack is a promise
that somebody tries to break: it held, was hurt, or was not tried, and why. ``infra/benchmarks/tables.py`` makes the
table.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.attack import (
    browser,
    connections,
    ending,
    fairness,
    files,
    generations,
    messages,
    orchestration,
    reading,
    sockets,
    sources,
    supply,
    writers,
)
from infra.attack.attacks import HURT, Attack, Outcome, attacks_of, hurt, not_tried
from infra.attack.bounds import TooLargeError, TooLongError, bounded
from infra.attack.target import OTHER, NotOursError, Target, check_ours

# in the order in which they are tried; what may end the service comes last
KINDS = (
    sockets,
    browser,
    supply,
    sources,
    fairness,
    messages,
    reading,
    writers,
    generations,
    connections,
    files,
    orchestration,
    ending,
)
MOST_SECONDS = 15 * 60
ALIVE_SECONDS = 20.0
FIELDS = ("code", "keyless", "keyed", "files", "server")
MARKS = {"held": "✓", "hurt": "✗", "not tried": "–"}


def main() -> int:
    """Attack, print a line for each, write the result file; 1 where something was hurt, 2 on bad usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--home", type=Path, help="a home with a published generation; a copy of it is attacked")
    what.add_argument("--url", help="a service on this machine's loopback instead")
    parser.add_argument(
        "--key", action="append", default=[], help="for --url: a key with the scope recommend; two for two"
    )
    parser.add_argument(
        "--only", action="append", help="part of the names of attacks or kinds; their rows replace those in the file"
    )
    parser.add_argument("--prefect", action="store_true", help="Prefect's server as well, which is slow to start")
    parser.add_argument("--out", type=Path, help="the result file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that services and copies go, as with Ctrl-C
    started = time.monotonic()
    chosen = [(module, one) for module in KINDS for one in attacks_of(module)]
    wanted = [part.replace("_", " ") for part in options.only or [""]]
    chosen = [
        (module, one) for module, one in chosen if any(part in f"{kind_of(module)}: {one.name}" for part in wanted)
    ]
    chosen = [(module, one) for module, one in chosen if one.field != "server" or options.prefect]
    rows: list[dict[str, Any]] = []
    try:
        for row in _on_url(options.url, options.key, chosen) if options.url else _on_home(options.home, chosen):
            rows.append(row)
    except NotOursError as error:
        print(error, file=sys.stderr)
        return 2
    finally:  # also of a run that is broken off
        if options.out and rows:
            _write(options.out, rows, time.monotonic() - started, part=bool(options.only))
    counts = {state: sum(row["outcome"] == state for row in rows) for state in MARKS}
    print(f"{', '.join(f'{count} {state}' for state, count in counts.items())}; {time.monotonic() - started:.0f} s")
    return int(counts[HURT] > 0)


def _write(out: Path, rows: Sequence[dict[str, Any]], seconds: float, part: bool) -> None:
    document = {"task": "attacks", "machine": _machine(), "seconds": round(seconds), "attacks": rows}
    if part and out.exists():
        document = _with_part(json.loads(out.read_text()), rows)
    out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _with_part(document: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a result with some rows in the place of those of the same attacks."""
    again = {(row["kind"], row["name"]): row for row in rows}
    kept = [again.pop((row["kind"], row["name"]), row) for row in document["attacks"]]
    return document | {"attacks": [*kept, *again.values()]}


def kind_of(module: Any) -> str:
    """Return what a module's attacks are a kind of."""
    return str(module.__name__).rpartition(".")[2]


def _on_url(url: str, keys: Sequence[str], chosen: Sequence[tuple[Any, Attack]]) -> Iterator[dict[str, Any]]:
    target = Target(check_ours(url), dict(zip(("recommend", OTHER), keys, strict=False)))
    answer = target.ask("POST", "/v1/recommend", {"history": [], "k": 200, "record": False})
    if answer.status_code != 200:
        raise NotOursError(
            f"{url} says {answer.status_code} to a request for a list; give a key with the scope recommend."
        )
    target = replace(target, items=[item["item_id"] for item in answer.json()["items"]])
    fields = ("keyed",) if keys else ("keyless", "keyed")
    within = [(module, one) for module, one in chosen if one.traceless and one.field in fields]
    yield from _tried(within, target, time.monotonic() + MOST_SECONDS)


def _on_home(source: Path, chosen: Sequence[tuple[Any, Attack]]) -> Iterator[dict[str, Any]]:
    from infra.attack import homes
    from recsys.home import Home
    from services.serve import ServeError

    until = time.monotonic() + MOST_SECONDS
    with TemporaryDirectory(prefix="attack-") as place:
        copy = homes.copied(Home(source.absolute()), Path(place) / "home")
        bare = Target("", home=copy.root, **bounded(lambda: homes.known(copy), 120))
        for field in FIELDS:
            own = [(module, one) for module, one in chosen if one.field == field]
            if field not in ("keyless", "keyed"):
                yield from _tried(own, bare, until)
                continue
            keys = homes.with_keys(copy) if field == "keyed" else {}
            while own:  # again, where one has ended the service
                try:
                    with _serving(copy, replace(bare, keys=keys)) as target:
                        for row in _tried(own, target, until):
                            own = own[1:]
                            yield row
                            if own and field == "keyed" and not _alive(target):
                                break
                except ServeError as error:
                    print(error, file=sys.stderr)
                    yield from (_row(module, one, not_tried("the service did not come up"), 0) for module, one in own)
                    own = []


@contextmanager
def _serving(home: Any, known: Target) -> Iterator[Target]:
    from infra.attack import homes
    from services.serve import log_file

    with homes.started(home) as (url, server):
        target = replace(known, url=url, pid=server.pid)
        yield replace(target, log=log_file(home, target.address[1]))


def _tried(chosen: Iterable[tuple[Any, Attack]], target: Target, until: float) -> Iterator[dict[str, Any]]:
    """Try attacks one after the other, each in a child process and for a while."""
    for module, one in chosen:
        started = time.monotonic()
        outcome = _outcome(one, target, until - started)
        seconds = time.monotonic() - started
        print(f"{MARKS[outcome.state]} {one.name}: {outcome.evidence} ({seconds:.1f} s)", flush=True)
        yield _row(module, one, outcome, seconds)


def _row(module: Any, one: Attack, outcome: Outcome, seconds: float) -> dict[str, Any]:
    return {
        "kind": kind_of(module),
        "name": one.name,
        "promise": one.promise,
        "outcome": outcome.state,
        "evidence": outcome.evidence,
        "seconds": round(seconds, 1),
    }


def _outcome(one: Attack, target: Target, left: float) -> Outcome:
    if left < 5:
        return not_tried(f"the {MOST_SECONDS // 60} minutes were over")
    try:
        found: Outcome = bounded(lambda: one.run(target), min(one.seconds, left), target)
    except TooLargeError as error:
        found = hurt(str(error))
    except (TooLongError, RuntimeError) as error:  # it says little of the service, unless that does not answer now
        found = not_tried(f"it failed: {error}")
    meant = one.run.__module__ == ending.__name__
    if target.url and one.field == "keyed" and not meant and not _alive(target):
        return hurt(f"{found.evidence}; afterwards the service does not answer")
    return found


def _alive(target: Target) -> bool:
    """Tell whether a service answers, after a while in which it may end what it has begun."""
    deadline = time.monotonic() + ALIVE_SECONDS
    while time.monotonic() < deadline:
        if (
            target.reply(
                target.prepared(
                    "POST", "/v1/recommend", target.wish(record=False), OTHER if OTHER in target.keys else "recommend"
                ),
                5,
            )[0]
            == 200
        ):
            return True
        time.sleep(0.5)
    return False


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    packages = {name: version(name) for name in ("bentoml", "uvicorn", "fastapi", "prefect", "polars")}
    day = datetime.now(UTC).date().isoformat()
    return {"processor": model, "cores": os.cpu_count(), "day": day, "packages": packages}


if __name__ == "__main__":
    sys.exit(main())
