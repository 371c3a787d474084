"""Ingest beside DuckDB doing the same: rows a second, peak of memory, what was written; and a day that joins.

    python infra/benchmarks/ingest.py WORK --out infra/results/ingest.json [--rows 1000000 10000000] [--threads 1]
        [--memory-limit 4294967296]

WORK is an empty folder with room for ten bytes a row and side, twice; the data are made there and stay. Each side reads
Parquet, drops bad rows and events of unknown items, removes duplicates, sorts and writes Parquet, in a process of its
own, the two by turns; DuckDB is held to 1 GB. What both wrote is compared by one hash over all rows. ``--memory-limit``
puts ours into a cgroup of so many bytes, which ends a process that takes more, its files in the page cache counted.
``tables.py`` makes the table. DuckDB is no dependency of the project: ``pip install duckdb``.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import polars as pl

from recsys.artifacts import write_json

CGROUPS = Path("/sys/fs/cgroup/memory")
FILE_ROWS, DAY_ROWS = 1_000_000, 100_000
START, SPAN = 1_600_000_000, 365 * 86_400
MEASURED = r"""
import json, os, re, sys, time
from pathlib import Path
began = time.perf_counter()
{body}
peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10
spent = os.times()
said |= dict(seconds=time.perf_counter() - began, cpu_seconds=spent.user + spent.system, peak_mib=peak)
print(json.dumps(said))
"""
OURS = MEASURED.format(
    body="""
from recsys.config import IngestConfig
from recsys.data.ingest import ingest
from recsys.data.snapshot import joined_snapshot
from recsys.home import Home
events, items, place, append = sys.argv[1:]
home = Home(Path(place))
before = joined_snapshot(home, append) if append else None
made = ingest(events, items or None, home, IngestConfig(max_quarantined_share=0.1), append=before)
folder = made.path / "events"
said = dict(written=f"{folder}/*-*.parquet" if folder.is_dir() else f"{folder}.parquet", id=made.id,
            events=made.manifest.counts.events, segments=len(made.manifest.segments or ()))
"""
)
DUCKDB = MEASURED.format(
    body="""
import duckdb
events, items, place, threads = sys.argv[1:]
Path(place).mkdir(parents=True)
con = duckdb.connect(config={"memory_limit": "1GB", "threads": int(threads), "temp_directory": f"{place}/spill"})
con.execute("SET preserve_insertion_order = false; SET enable_progress_bar = false")
written = f"{place}/events.parquet"
con.execute(f'''
    COPY (
        SELECT DISTINCT user_id, item_id, timestamp, event_type, value FROM read_parquet('{events}/*.parquet')
        WHERE user_id IS NOT NULL AND trim(user_id) <> '' AND length(user_id) <= 256
          AND NOT regexp_matches(user_id, '\\\\p{{Cc}}') AND timestamp IS NOT NULL AND timestamp < now()
          AND isfinite(value) AND item_id IN (SELECT item_id FROM read_parquet('{items}'))
        ORDER BY user_id, timestamp, item_id, event_type
    ) TO '{written}' (FORMAT parquet, COMPRESSION zstd)
''')
said = dict(written=written)
"""
)
DIGEST = """
import duckdb, sys
con = duckdb.connect(config={"memory_limit": "1GB", "threads": 1})
con.execute("SET enable_progress_bar = false")
print(con.execute(f'''
    SELECT count(*), bit_xor(hash(user_id, item_id, epoch_us(timestamp), event_type, value)),
        sum(hash(user_id, item_id, epoch_us(timestamp), event_type, value) % 1000003)
    FROM read_parquet('{sys.argv[1]}')
''').fetchone())
"""


def main() -> None:
    """Measure each size and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-limit", type=int)
    parser.add_argument("--alone", action="store_true", help="leave DuckDB out")
    options = parser.parse_args()
    document = json.loads(options.out.read_text()) if options.out.exists() else {"task": "ingest", "sizes": {}}
    for rows in options.rows:
        found = measure(options.work, rows, options)
        document["sizes"].setdefault(str(rows), {}).update(found)
        write_json(options.out, document)
        print(json.dumps({rows: found}, indent=1), flush=True)


def measure(work: Path, rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return what both sides took, by turns, and what a day took that joins."""
    data = make(work / f"data-{rows}", rows)
    events, items = str(data / "events"), str(data / "items.parquet")
    sides: dict[str, list[dict[str, Any]]] = {"ours": [], "duckdb": []}
    digests: dict[str, str] = {}
    place = work / "out"
    for _ in range(options.rounds):
        for side, runs in sides.items():
            if side == "duckdb" and options.alone:
                continue
            shutil.rmtree(place, ignore_errors=True)
            further = "" if side == "ours" else str(options.threads)
            limit = options.memory_limit if side == "ours" else None
            code = OURS if side == "ours" else DUCKDB
            runs.append(run(code, [events, items, str(place), further], options.threads, limit))
            digests[side] = digest(runs[-1].pop("written"))
    if len(set(digests.values())) > 1:
        raise SystemExit(f"What was written differs: {digests}")
    shutil.rmtree(place, ignore_errors=True)
    first = run(OURS, [events, items, str(place), ""], options.threads, options.memory_limit)
    digests.setdefault("ours", digest(first["written"]))
    day = run(OURS, [str(data / "day"), "", str(place), "latest"], options.threads, options.memory_limit)
    for one in (first, day):
        one.pop("written", None)
    shutil.rmtree(place, ignore_errors=True)
    sides["ours"] = sides["ours"] or [first]
    limited = {"memory_limit": options.memory_limit} if options.memory_limit else {}
    return {
        "runs": sides, "first": first, "day": day, "digest": digests["ours"], "threads": options.threads, **limited
    }  # fmt: skip


def run(code: str, given: list[str], threads: int, limit: int | None = None) -> dict[str, Any]:
    """Run one side in a process of its own, in a cgroup where there is a limit."""
    environment = dict(os.environ, POLARS_MAX_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    group = CGROUPS / "recsys-ingest"
    if limit is not None:
        group.mkdir(exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(limit))
        (group / "memory.max_usage_in_bytes").write_text("0")
    enter = None if limit is None else lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
    done = subprocess.run(
        [sys.executable, "-c", code, *given], env=environment, capture_output=True, text=True, preexec_fn=enter
    )
    if done.returncode:
        raise SystemExit(f"Ended with {done.returncode}: {done.stderr[-2_000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if limit is not None:
        said["group_peak_mib"] = int((group / "memory.max_usage_in_bytes").read_text()) >> 20
        group.rmdir()
    print(json.dumps(said), file=sys.stderr, flush=True)  # a large size takes long, and may end before the last of it
    return said


def digest(written: str) -> str:
    """Return a hash of all rows of some files, in whatever order they lie."""
    done = subprocess.run([sys.executable, "-c", DIGEST, written], capture_output=True, text=True, check=True)
    return re.sub(r"\s+", " ", done.stdout).strip()


def make(folder: Path, rows: int) -> Path:
    """Make a year of events, half a percent of them twice, one in five hundred of an unknown item, and a day more."""
    if (folder / "items.parquet").exists():
        return folder
    (folder / "events").mkdir(parents=True)
    (folder / "day").mkdir()
    draw = np.random.default_rng(1)
    items, users = min(200_000, max(1_000, rows // 100)), max(1_000, rows // 20)
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        part = min(FILE_ROWS, rows - start)
        times = (START + SPAN * start / rows, START + SPAN * (start + part) / rows)
        _events(draw, part, times, users, items).write_parquet(folder / "events" / f"part-{number:04}.parquet")
    day = _events(draw, DAY_ROWS, (START + SPAN, START + SPAN + 86_400), users, items)
    day.write_parquet(folder / "day" / "day.parquet")
    ids = pl.format("sku-{}", pl.int_range(items).cast(pl.String).str.zfill(7))
    catalogue = pl.select(item_id=ids).with_columns(title=pl.format("Thing number {}", "item_id"))
    catalogue.write_parquet(folder / "items.parquet")
    return folder


def _events(draw: np.random.Generator, rows: int, times: tuple[float, float], users: int, items: int) -> pl.DataFrame:
    table = pl.DataFrame(
        {
            "user_id": (users * draw.random(rows) ** 2).astype(np.int64),
            "item_id": (items * draw.random(rows) ** 3).astype(np.int64),
            "timestamp": np.sort(draw.uniform(times[0] * 1e6, times[1] * 1e6, rows)).astype(np.int64),
            "event_type": draw.choice(["view", "cart", "purchase"], rows, p=[0.85, 0.1, 0.05]),
            "value": np.round(draw.random(rows) * 100, 2),
        }
    ).with_columns(
        pl.format("customer-{}", pl.col("user_id").cast(pl.String).str.zfill(8)).alias("user_id"),
        pl.format("sku-{}", pl.col("item_id").cast(pl.String).str.zfill(7)).alias("item_id"),
        pl.col("timestamp").cast(pl.Datetime("us", "UTC")),
    )
    table = pl.concat([table, table.sample(rows // 200, seed=rows % 1_000)])
    unknown = pl.int_range(pl.len()) % 500 == 7
    return table.with_columns(item_id=pl.when(unknown).then(pl.lit("sku-gone")).otherwise("item_id"))


if __name__ == "__main__":
    main()
