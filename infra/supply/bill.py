"""Write the bill of materials as CycloneDX JSON: ``python infra/supply/bill.py [--out FILE]``.

It is made of ``lock.txt``, ``lock-cpu.txt`` and ``lock-cuda.txt``: each release that runs, the hashes of its files, and
the licence that the installed package declares; one that is not installed here has none.
The same locks and installed packages give the same bytes. Needs ``pip install 'recsys[test]'``.
"""

import argparse
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from infra.supply.locks import LOCKS, Pin, read
from recsys import __version__

ROOT = Path(__file__).parents[2]
SCOPES = {"lock": ComponentScope.REQUIRED, "lock-cpu": ComponentScope.OPTIONAL, "lock-cuda": ComponentScope.OPTIONAL}


def licences(name: str) -> list[License]:
    """Return what an installed package says of its licence: SPDX expression, else classifiers, else text."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return []
    if expression := said.get("License-Expression"):
        return [LicenseFactory().make_from_string(expression)]
    classifiers = [line for line in said.get_all("Classifier") or [] if line.startswith("License :: ")]
    named = [line.rpartition(" :: ")[2] for line in classifiers if line != "License :: OSI Approved"]
    if not named and (text := (said.get("License") or "").strip()):
        named = [text.splitlines()[0][:100]]
    make = LicenseFactory().make_from_string if len(named) == 1 else LicenseFactory().make_with_name
    return [make(one) for one in named]


def component(pin: Pin, scope: ComponentScope) -> Component:
    """Return a locked release as a component; its hashes are those of each of its files."""
    url = PackageURL("pypi", name=pin.name, version=pin.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        scope=scope,
        purl=url,
        bom_ref=str(url),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in pin.hashes],
        licenses=licences(pin.name),
    )


def bill() -> str:
    """Return the bill of materials as JSON."""
    house = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = [component(pin, scope) for name, scope in SCOPES.items() for pin in read(LOCKS[name].read_text())]
    bom = Bom(components=parts)
    bom.metadata.component = own = Component(
        type=ComponentType.APPLICATION,
        name=house["name"],
        version=__version__,
        bom_ref=house["name"],
        licenses=[LicenseFactory().make_from_string(house["license"])],
    )
    bom.register_dependency(own, parts)
    for stamp in (bom, bom.metadata):  # the same locks give the same bytes
        for name in ("serial_number", "timestamp"):
            if hasattr(stamp, name):
                setattr(stamp, name, None)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a file; without, it is printed")
    out = parser.parse_args().out
    if out:
        out.write_text(bill())
    else:
        sys.stdout.write(bill())
