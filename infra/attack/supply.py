"""What is installed and started with it: everything is pinned to its bytes, and nothing is open without a password."""

import re
from pathlib import Path

from infra.attack.attacks import Outcome, attack, judged
from infra.attack.target import Target

INFRA = Path(__file__).parents[1]


@attack("code")
def a_package_in_the_place_of_another(target: Target) -> Outcome:
    """Every package that the pages install can be held to its hash."""
    pins = set(re.findall(r"^([A-Za-z0-9][\w.\-]*)==", (INFRA / "constraints.txt").read_text(), re.MULTILINE))
    hashed: set[str] = set()
    for path in (path for path in INFRA.rglob("*") if path.suffix in (".txt", ".lock")):
        named = re.findall(r"^([A-Za-z0-9][\w.\-]*)==[^\n]*\\\n\s+--hash=sha256:", path.read_text(), re.MULTILINE)
        hashed |= {name.lower().replace("_", "-") for name in named}
    missing = {name for name in pins if name.lower().replace("_", "-") not in hashed}
    return judged(not missing, f"{len(pins)} pinned packages, {len(missing)} of them without a hash")


@attack("code")
def an_image_in_the_place_of_another(target: Target) -> Outcome:
    """Every image of others is named by its digest; ours are built here."""
    files = [*INFRA.rglob("*.y*ml"), *INFRA.rglob("Dockerfile")]
    images = [
        line
        for path in files
        for line in re.findall(r"^(?:\s*image:\s*|FROM )([^\s:@]+[:@]\S+)", path.read_text(), re.MULTILINE)
    ]
    loose = [image for image in images if "@sha256:" not in image]
    return judged(not loose, f"{len(images)} images; by tag alone: {', '.join(loose) or 'none'}")


@attack("code")
def a_board_without_a_password(target: Target) -> Outcome:
    """The board asks for a password that nobody knows beforehand."""
    text = (INFRA / "compose.yaml").read_text()
    open_ones = []
    if re.search(r"GF_AUTH_ANONYMOUS_ENABLED:\s*\"?true", text):
        open_ones.append("anonymous visitors")
    given = r"GF_SECURITY_ADMIN_PASSWORD(__FILE)?:\s*\S|env_file: \[secrets/grafana\.env\]"  # without it nothing starts
    if "grafana" in text and not re.search(given, text):
        open_ones.append("admin's well-known password")
    return judged(not open_ones, f"let in: {', '.join(open_ones) or 'nobody'}")
