"""Where state lives: one root folder, RECSYS_HOME, and the names of the rooms below it.

Deleting the root resets everything; nothing is written elsewhere. It is made for its owner alone, which protects
people's events in all of its rooms: most of these a group could read that an operator lets in.

A home may be on an object store. Its root is then this machine's cache of it, which says so in a file of its own:
whoever has the path of the cache has the home (see ``recsys.remote``).
"""

import errno
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from stat import S_IROTH, S_IWOTH, S_IXOTH
from unicodedata import category

from recsys.artifacts import PRIVATE, digest, write_json
from recsys.errors import SettingError

ALONE = 0o700
# why a folder cannot be made whoever asks for it
NO_PLACE = {
    errno.EEXIST: "something else lies there",
    errno.ENOTDIR: "a folder above it is none",
    errno.ENAMETOOLONG: "a name in it is too long",
    errno.ELOOP: "it is a link that leads to itself",
}
CACHES = "RECSYS_CACHE"  # names the folder of all caches of object stores
MARK = "store.json"  # in the root of a cache: of which store
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")  # the same bucket elsewhere is another
_URL = re.compile(r"(s3|gs|az):/+([^/?#@\s]+)(/[^?#@\s]*)?")  # a path has lost one of two slashes
SALT = "forgotten.salt"  # makes the hashes of who is forgotten; never lies where these do
TENANTS, TENANT = "tenants", "tenant.json"  # the folder of homes inside of a home, and what each says of itself


@dataclass(frozen=True)
class Home:
    """The root of all state and the paths below it."""

    root: Path

    @classmethod
    def of(cls, place: "Place" = None) -> "Home":
        """Return the home at a path or a URL of an object store; without one, the environment's.

        Raises:
            SettingError: it means no place.
        """
        if isinstance(place, Home):
            return place
        return cls.from_environment() if place is None else cls(_root(place))

    @classmethod
    def from_environment(cls) -> "Home":
        """Return the home named by ``RECSYS_HOME``, or ``.recsys`` in the working folder."""
        return cls(_root(os.environ.get("RECSYS_HOME") or ".recsys"))

    @property
    def store(self) -> str | None:
        """The URL of the object store that this is a cache of; None: it is all there is.

        Raises:
            SettingError: the file that says so is broken.
        """
        try:
            return str(json.loads((self.root / MARK).read_bytes())["url"])
        except OSError as error:
            if error.errno not in (errno.ENOENT, *NO_PLACE):
                raise
            return None
        except (ValueError, TypeError, KeyError):
            raise SettingError(f"{self.root / MARK} is broken. Remove the folder: all in it is in the store.") from None

    def make(self) -> "Home":
        """Make the root, and the room of what runs write, for their owner alone; those that exist keep their modes.

        Raises:
            SettingError: no folder can be there: a file is, or the path is too long.
            OSError: it may not be made there.
        """
        try:
            for folder in (self.root, self.runs):
                folder.mkdir(mode=ALONE, parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in NO_PLACE:
                raise
            raise SettingError(
                f"{self.root} cannot be the home: {NO_PLACE[error.errno]}. Name another, by --home or RECSYS_HOME."
            ) from None
        return self

    def open_to_all(self) -> list[Path]:
        """Return what every user of this machine may enter or read and none should: the root, and files of its own.

        Nothing is, where the root or a folder above it is closed to them.
        """
        if not all(_allowed(folder, S_IXOTH) for folder in (self.root, *self.root.parents)):
            return []
        database = [self.events_database.with_name(f"{self.events_database.name}{end}") for end in ("", "-wal", "-shm")]
        return [self.root, *(path for path in (*database, self.keys, self.salt) if _allowed(path, S_IROTH | S_IWOTH))]

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def encoders(self) -> Path:
        return self.root / "encoders"

    @property
    def generations(self) -> Path:
        return self.root / "generations"

    @property
    def lance(self) -> Path:
        return self.root / "lance"

    @property
    def events_database(self) -> Path:
        return self.root / "events.db"

    @property
    def salt(self) -> Path:
        return self.root / SALT

    @property
    def keys(self) -> Path:
        return self.root / "keys.json"

    @property
    def tenants(self) -> Path:
        """Of the homes of tenants, each by its name."""
        return self.root / TENANTS

    @property
    def tenant(self) -> str | None:
        """The name of the tenant whose home this is; None: it is nobody's."""
        return self.root.name if self.root.parent.name == TENANTS and (self.root / TENANT).is_file() else None

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def prefect(self) -> Path:
        """Of the server that Prefect starts for a single command."""
        return self.root / "prefect"


def _root(place: str | Path) -> Path:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(place)):
        return _cache_of(str(place))
    return _absolute(place)


def _cache_of(url: str) -> Path:
    """Return the folder of this machine for what an object store keeps; it is made, and says of which.

    Raises:
        SettingError: the URL is none of an object store, or has more in it than bucket and prefix.
    """
    found = _URL.fullmatch(url)
    if found is None or ".." in url:
        raise SettingError(
            f"A home is a folder, or s3://bucket/prefix, gs://… or az://…, not {url.partition('?')[0].split('@')[-1]}. "
            "Credentials are those of the environment, never in the URL."
        )
    scheme, bucket, prefix = found[1], found[2], re.sub("/+", "/", found[3] or "").strip("/")
    whole = f"{scheme}://{bucket}/{prefix}".rstrip("/")
    endpoint = next(filter(None, map(os.environ.get, ENDPOINTS)), "") if scheme == "s3" else ""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{scheme}-{bucket}-{prefix}")[:60].strip("-")
    caches = os.environ.get(CACHES) or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "recsys"
    root = _absolute(caches) / f"{name}-{digest(f'{whole} {endpoint}'.encode())[:8]}"
    if not (root / MARK).exists():
        Home(root).make()
        write_json(root / MARK, {"url": whole}, PRIVATE)
    return root


def _absolute(place: str | Path) -> Path:
    try:
        str(place).encode()
        whole = Path(place).expanduser().absolute()
    except UnicodeEncodeError:
        raise SettingError(f"{str(place)!a} is no text in UTF-8. Give the home by a path in UTF-8.") from None
    except RuntimeError:
        raise SettingError(
            f"{place} names a user's folder that is not known here. Give the home by a whole path."
        ) from None
    except FileNotFoundError:
        raise SettingError(f"{place} cannot be found: the working folder is gone. Go to another.") from None
    if any(category(character) == "Cc" for character in str(whole)):  # LanceDB opens no such path
        raise SettingError(f"{str(whole)!a} has a line end or another control in it. Give the home a path without.")
    return whole


def _allowed(path: Path, bits: int) -> bool:
    try:
        return bool(path.stat().st_mode & bits)
    except FileNotFoundError:
        return False


Place = Home | str | Path | None  # a home, its folder, or none: the environment's
