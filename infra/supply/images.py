"""Renew the digests of others' images: ``python infra/supply/images.py``, where Docker is.

They stand in ``compose.yaml`` and, for what our images are made from, in ``images/Dockerfile``.

Docker asks the registry what each tag is now, for all its platforms; a tag is raised by hand first. What is printed and
written is for a person to look at: a tag that is the same with another digest has been moved by whoever owns it.
"""

import re
import subprocess
from pathlib import Path

INFRA = Path(__file__).parents[1]
COMPOSE = INFRA / "compose.yaml"
FILES = (COMPOSE, INFRA / "images" / "Dockerfile")
# Our own images have no version there, and are on no registry; nor are stages that others are made from.
IMAGE = re.compile(
    r"^(?P<key>\s+image: |FROM )(?P<tag>[^\s@:]+:[\w.-]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?(?P<rest>| AS \S+)$",
    re.MULTILINE,
)


def digest(tag: str) -> str:
    """Return the digest of a tag's index, which covers every platform that it is made for.

    Raises:
        subprocess.CalledProcessError: there is no Docker with buildx, or the registry does not know the tag.
    """
    command = ["docker", "buildx", "imagetools", "inspect", tag, "--format", "{{.Manifest.Digest}}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def renewed(text: str) -> str:
    """Return a file's text with the digest of each image as the registry has it; print what changes.

    Raises:
        ValueError: what was answered is no digest; nothing is written in its place.
    """

    def line(image: re.Match[str]) -> str:
        found = digest(image["tag"])
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", found):
            raise ValueError(f"{found!r} is no digest of {image['tag']}.")
        news = "as it was" if found == image["digest"] else f"{image['digest']} is now {found}"
        print(f"{image['tag']}: {news}")
        return f"{image['key']}{image['tag']}@{found}{image['rest']}"

    return IMAGE.sub(line, text)


if __name__ == "__main__":
    for file in FILES:
        file.write_text(renewed(file.read_text()))
