"""Build the images without Docker and start the service: ``python infra/images/build.py BASE --home HOME``, as root.

BASE is a folder that holds what the base image holds: Debian 12 with Python 3.11, as debootstrap makes it
(``infra/README.md`` has the command). ``--lend`` names what RUN may read of this machine, such as pip's configuration.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from infra.images.container import Container
from infra.images.dockerfile import DOCKERFILE, last, read_stages
from infra.images.layers import Layers

TARGETS = ("service", "worker", "worker-cuda")
OUT = Path(__file__).parents[1] / "results" / "images.json"
PACKAGES = 12  # the largest are named
START_SECONDS, END_SECONDS = 600, 60
MB = 1_000_000
_ASK = "import json, urllib.request as ask; "
READY = f"{_ASK}print(ask.urlopen('http://127.0.0.1:3000/readyz', timeout=9).read().decode())"
RECOMMEND = _ASK + (
    "request = ask.Request('http://127.0.0.1:3000/v1/recommend', json.dumps({{'user_id': 'u1', 'k': 3}}).encode(), "
    "{{'authorization': 'Bearer {key}', 'content-type': 'application/json'}}); "
    "print(len(json.load(ask.urlopen(request, timeout=60))['items']))"
)
WRITE = "open('/opt/recsys/written', 'w')"


def size(folder: Path) -> float:
    """Return what files take, in MB (10⁶ bytes)."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / MB


def measured(layers: Layers, target: str) -> dict[str, Any]:
    """Return an image's layers and largest packages in MB, without its base."""
    made = [
        {"instruction": f"{one.name} {one.value}", "mb": round(size(layer), 1)} for one, layer in layers.made[target]
    ]
    packages: dict[str, float] = {}
    for _, layer in layers.made[target]:
        for record in layer.glob("opt/recsys/lib/python3*/site-packages/*.dist-info/RECORD"):
            name = record.parent.name.partition("-")[0].replace("_", "-").lower()
            places = (record.parents[1] / line.partition(",")[0] for line in record.read_text().splitlines())
            packages[name] = sum(path.stat().st_size for path in places if path.is_file()) / MB
    largest = sorted(packages.items(), key=lambda one: -one[1])[:PACKAGES]
    return {
        "mb": round(sum(layer["mb"] for layer in made), 1),
        "layers": made,
        "packages": len(packages),
        "largest": {name: round(mb, 1) for name, mb in largest},
    }


def tried(layers: Layers, home: Path) -> dict[str, Any]:
    """Start the service's image over a copy of a home, ask it, end it; return what was seen.

    Raises:
        RuntimeError: it does not start, or makes no key.
    """
    volume, log = layers.work / "volume", layers.work / "service.log"
    shutil.rmtree(volume, ignore_errors=True)
    shutil.copytree(home, volume)
    user = int(last(layers.stages, "service", "USER").value.partition(":")[0])
    for path in (volume, *volume.rglob("*")):
        os.lchown(path, user, user)
    refused = Container(layers, "service", volume, log).process.wait(START_SECONDS), log.read_text().strip()
    make = ["recsys", "keys", "create", "--name", "shop", "--scope", "recommend", "--json"]
    if Container(layers, "service", volume, log, make).process.wait(START_SECONDS):
        raise RuntimeError(f"No key was made:\n{log.read_text()}")
    key = json.loads(log.read_text().splitlines()[-1])["key"]

    begun = time.monotonic()
    service = Container(layers, "service", volume, log)
    try:
        while not service.first or (ready := service.ask(["python", "-c", READY])).returncode:
            if service.process.poll() is not None or time.monotonic() - begun > START_SECONDS:
                raise RuntimeError(f"The service did not become ready:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        seconds = time.monotonic() - begun
        items = service.ask(["python", "-c", RECOMMEND.format(key=key)])
        healthy = service.ask(last(layers.stages, "service", "HEALTHCHECK").words())
        written = service.ask(["python", "-c", WRITE])
        status = Path(f"/proc/{service.first}/status").read_text()
        ended = time.monotonic()
        os.kill(service.first, signal.SIGTERM)
        code = service.process.wait(END_SECONDS)
        ended = time.monotonic() - ended
    finally:
        service.process.kill()
    return {
        "without_keys": {"exit_code": refused[0], "said": refused[1]},
        "ready_after_s": round(seconds, 1),
        "readyz": json.loads(ready.stdout),
        "items": int(items.stdout or 0),
        "healthy": healthy.returncode == 0,
        "write_to_its_packages": written.stderr.strip().rpartition("\n")[2],
        "uid": int(re.findall(r"^Uid:\s+(\d+)", status, re.MULTILINE)[0]),
        "capabilities": re.findall(r"^CapEff:\s+(\w+)", status, re.MULTILINE)[0],
        "sigterm": {"exit_code": code, "after_s": round(ended, 1)},
    }


def imported(layers: Layers, target: str) -> str:
    """Import in an image what a worker imports; return what was said, which is Prefect's version."""
    log = layers.work / f"{target}.log"
    volume = layers.work / f"{target}-volume"
    volume.mkdir(exist_ok=True)
    os.chown(volume, 10001, 10001)
    said = "import flows.pipeline, recsys.training.tuning, torch, prefect as p; print(torch.__version__, p.__version__)"
    code = Container(layers, target, volume, log, ["python", "-W", "ignore", "-c", said]).process.wait(START_SECONDS)
    if code:
        raise RuntimeError(f"{target} does not import what a worker needs:\n{log.read_text()}")
    return log.read_text().strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--home", type=Path, help="a home with a generation that is served, over whose copy it starts")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("/tmp/recsys-images"),
        help="folder for all layers, which are found the next time",
    )
    parser.add_argument("--lend", type=Path, action="append", default=[], help="a path that RUN may read")
    parser.add_argument("--target", action="append", choices=TARGETS, help="one, or several; else all")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    layers = Layers(read_stages(DOCKERFILE.read_text()), chosen.base.absolute(), chosen.work.absolute(), chosen.lend)
    found = json.loads(chosen.out.read_text()) if chosen.out.exists() else {"task": "images", "targets": {}}
    for target in chosen.target or TARGETS:
        begun = time.monotonic()
        layers.build(target)
        image = measured(layers, target) | {"built_in_s": round(time.monotonic() - begun)}
        if target != "service":
            image["imported"] = imported(layers, target)
        elif chosen.home:
            image["tried"] = tried(layers, chosen.home)
        found["targets"][target] = image
        print(json.dumps(image, indent=1))
    proc = subprocess.run(
        ["chroot", chosen.base, "cat", "/etc/debian_version"], capture_output=True, text=True, check=True
    )
    found["environment"] = {
        "base": f"Debian {proc.stdout.strip()} by debootstrap, {round(size(chosen.base / 'usr'))} MB",
        "kernel": platform.release(),
        "machine": platform.machine(),
    }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
