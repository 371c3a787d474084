"""What runs here: Python, packages against the bounds that recsys was released with, the processor, memory."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from recsys.health.findings import Seen, failed, fine, some, warning

GIB = 2**30
LEAST_MEMORY = 2 * GIB  # a training on 100,000 events with the packaged base takes 1.5
CPU_BUILD = "+cpu"
# What changes how fast it is, and the last bits of weights and so ids; the newest last.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
CARD = Path("/proc/driver/nvidia/version")
CGROUP = Path("/sys/fs/cgroup")


def look_at_python() -> Iterator[Seen]:
    """See whether this Python is one that recsys is made for."""
    wanted = metadata("recsys")["Requires-Python"] or ""
    if SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        yield fine(f"{platform.python_version()} ({sys.executable})")
    else:
        yield failed(f"{platform.python_version()}; recsys takes {wanted}.", "Install recsys into such a Python.")


def look_at_packages() -> Iterator[Seen]:
    """See whether all packages are there, within the bounds that are known to work."""
    missing, outside, known = [], [], 0
    for line in requires("recsys") or []:
        wanted = Requirement(line)
        extra = wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            if not extra:
                missing.append(wanted.name)
            continue
        known += 1
        if not wanted.specifier.contains(found, prereleases=True):
            outside.append(f"{wanted.name} {found} (takes {wanted.specifier})")
    if missing:
        yield failed(f"Missing: {some(missing)}.", "pip install --constraint infra/constraints.txt recsys")
    if outside:
        yield failed(
            f"Not known to work: {some(outside)}.",
            "pip install --constraint infra/constraints.txt recsys brings them back.",
        )
    if not missing and not outside:
        important = ("torch", "prefect", "bentoml", "lancedb", "polars")
        yield fine(f"{known} within their bounds: {', '.join(f'{name} {version(name)}' for name in important)}")


def look_at_processor() -> Iterator[Seen]:
    """See what the processor has, and whether torch's build fits the machine."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    flags = set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())
    name = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    has = [feature for feature in FEATURES if feature in flags]
    build = version("torch")
    if CARD.exists() and build.endswith(CPU_BUILD):
        yield warning(f"This machine has an NVIDIA card, and torch {build} is for the CPU.", "Install lock-cuda.txt.")
    if flags and "avx2" not in flags:
        yield warning(f"{name} has no AVX2: encoding takes several times as long.", "Use a processor of after 2013.")
    fast = "bf16" if {"avx512_bf16", "amx_bf16"} & flags else "fp32"
    yield fine(
        f"{name}, {', '.join(has) or 'none of its features known'}: {fast}; torch {build}. Trainings give the same ids "
        "on processors that have the same"
    )


def look_at_memory() -> Iterator[Seen]:
    """See how many cores and how much memory a run may have, by the machine and by a container's limits."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _limit("cpu.max")
    allowed = cores if quota is None else min(cores, max(1, round(quota)))
    available = _available()
    said = f"{allowed} cores" + ("" if available is None else f", {available / GIB:.1f} GiB available")
    wrong = False
    if available is not None and available < LEAST_MEMORY:
        wrong = True
        yield warning(f"{said}; a small training takes 1.5 GiB.", "Raise the container's limit, or end other programs.")
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > allowed:
        wrong = True
        yield warning(f"OMP_NUM_THREADS is {threads}, of {allowed} cores.", "Lower it: threads wait for each other.")
    if not wrong:
        yield fine(said)


def _available() -> int | None:
    """Return how many bytes are available, a container's limit counted; None: the system does not say."""
    information = Path("/proc/meminfo")
    if not information.is_file():
        return None
    lines = dict(line.partition(":")[::2] for line in information.read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = _limit("memory.max"), CGROUP / "memory.current"
    if limit is not None and used.is_file():
        available = min(available, int(limit) - int(used.read_text()))
    return available


def _limit(name: str) -> float | None:
    """Return a limit of this container, cores or bytes; None: there is none."""
    try:
        first, *period = (CGROUP / name).read_text().split()
        return None if first == "max" else int(first) / (int(period[0]) if period else 1)
    except (OSError, ValueError):
        return None
