"""What a stored folder has in the store: its files by hash, and whole those that lists and comparisons read.

A listing is put when all its files are there and never changes, so a folder is in the store whole or not at all.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from recsys.artifacts import ArtifactError, canonical_json, digest, digest_folder, refuse_links
from recsys.home import Home
from recsys.record import Record
from recsys.remote.bucket import Bucket

SNAPSHOTS, ADAPTERS, TABLES, GENERATIONS = "snapshots", "adapters", "lance", "generations"
ROOMS = (SNAPSHOTS, ADAPTERS, TABLES, GENERATIONS)  # in the order in which things stand on each other
KEPT, FILES = "kept", "files"  # prefixes of listings, and of files by their hash
OWN = "store"  # the folder of a cache for what it knows of its store
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,80}")  # of a folder that is stored
HEAD = ".json"  # files that a listing has in it
LARGEST_HEAD = 1 << 18  # bytes


@dataclass(frozen=True, kw_only=True)
class Listing(Record):
    """What is in a folder.

    Attributes:
        files: the SHA-256 of each file, by its path in the folder.
        sizes: in bytes, likewise.
        heads: small JSON files as they are, by path: a list needs no other.
    """

    files: dict[str, str]
    sizes: dict[str, int]
    heads: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Listing":
        """Return the listing of a finished folder.

        Raises:
            ArtifactError: something in it is a link.
        """
        refuse_links(folder, *folder.rglob("*"))
        files = digest_folder(folder)
        sizes = {name: (folder / name).stat().st_size for name in files}
        small = (name for name, size in sizes.items() if name.endswith(HEAD) and size <= LARGEST_HEAD)
        heads = {name: text for name in small if (text := _text(folder / name)) is not None}
        return cls(files=files, sizes=sizes, heads=heads)

    def content(self) -> bytes:
        """Return what is put into the store."""
        return canonical_json(self.to_dict())

    def missing(self, folder: Path) -> list[str]:
        """Return the files that a folder of this machine lacks."""
        return [name for name, size in self.sizes.items() if _size(folder / name) != size]


def key_of(room: str, name: str) -> str:
    """Return the key of a folder's listing.

    Raises:
        ArtifactError: what is stored is not called that.
    """
    if not NAME.fullmatch(name):
        raise ArtifactError(f"{name[:80]!a} is the name of nothing that is stored. Look where it comes from.")
    return f"{KEPT}/{room}/{name}.json"


def known(home: Home, room: str, name: str) -> Path:
    """Return where this machine keeps what it knows of a folder in the store."""
    return home.root / OWN / key_of(room, name)


def folder_of(home: Home, room: str, name: str) -> Path:
    """Return the folder of this machine that has, or will have, what is kept."""
    return home.root / room / name


def read_known(home: Home, room: str, name: str) -> Listing | None:
    """Return the listing of a folder as this machine knows it; None: it knows none."""
    path = known(home, room, name)
    return Listing.read(path, "Remove the file.") if path.is_file() else None


def read_kept(bucket: Bucket, room: str, name: str) -> Listing | None:
    """Return the listing of a folder in the store; None: there is none.

    Raises:
        ArtifactError: it is none.
        StoreError: the store does not say.
    """
    found = bucket.get(key_of(room, name))
    if found is None:
        return None
    try:
        listing = Listing.parsed(json.loads(found[0]))
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{bucket.url}/{key_of(room, name)} is no listing: {error}. Delete the object.") from None
    if any({"", ".", ".."} & set(one.split("/")) for one in listing.files):
        raise ArtifactError(f"{bucket.url}/{key_of(room, name)} names files elsewhere. Delete the object.")
    if any(digest(text.encode()) != listing.files.get(one) for one, text in listing.heads.items()):
        raise ArtifactError(f"{bucket.url}/{key_of(room, name)} has another content than its files. Delete the object.")
    return listing


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()  # as it is: the end of a line is a part of the hash
    except UnicodeDecodeError:
        return None


def _size(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except OSError:
        return None
