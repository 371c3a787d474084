"""Where a table may lie, and what may be said of it.

A URL may hold a credential (a signature in its query, a password before its host), which nothing here repeats. What may
be read at all is the operator's setting RECSYS_SOURCES: folders and beginnings of URLs, parted by blanks.
"""

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from recsys.errors import DataError

VARIABLE = "RECSYS_SOURCES"
DEFAULT = "/ s3:// gs:// az:// https://"
HTTP = ("http", "https")
CUT = "…"

_SAME = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "azure": "az", "adl": "az"}
_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+):/")  # two letters and more: one is a drive
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^\s'\"<>`]*")


class SourceError(DataError):
    """A table cannot be read. The message names the file and the column, and says what to do."""


class UnreachableError(SourceError):
    """A table lies elsewhere and cannot be had now: the network, or who keeps it, may answer the next time."""

    passing = True


def scheme_of(location: str) -> str:
    """Return the scheme of a URL in small letters, or an empty string for a path."""
    found = _SCHEME.match(location)
    return found[1].lower() if found else ""


def shown(location: str) -> str:
    """Return a location as messages may repeat it: without userinfo, query and fragment, which can be credentials."""
    location = location.strip()
    scheme = scheme_of(location)
    if scheme in ("", "file"):
        return re.sub(r"\?[^/]*=.*", f"?{CUT}", location, flags=re.DOTALL)
    try:
        parts = urlsplit(location)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # of a password with a slash, say, nobody knows where it ends
        return f"{scheme}://{CUT}"
    if "@" not in parts.netloc and ":" in parts.netloc and "@" in location:
        return f"{scheme}://{CUT}"
    place = parts.netloc.rpartition("@")[2]
    if scheme not in HTTP:  # there a ? is one character of a glob, and the name before @ a container
        user, at, _ = parts.netloc.rpartition("@")
        place = parts.netloc if at and ":" not in user else place
        if parts.query and "=" not in parts.query and not parts.fragment:
            return f"{location.partition('://')[0]}://{place}{parts.path}?{parts.query}" if host or place else location
    return f"{location.partition(':')[0]}://{place}{parts.path}"


def holds_credential(location: str) -> bool:
    """Return whether a location has parts that no message, and no database of runs, may keep."""
    return shown(location) != location.strip()


def without_credentials(text: str, location: str) -> str:
    """Return another library's words on a location, their URLs as ``shown``; none where it holds a credential."""
    return CUT if holds_credential(location) else _URL_IN_TEXT.sub(lambda found: shown(found[0]), text)


@dataclass(frozen=True)
class Sources:
    """What may be read: folders with all below them, and URLs that begin like one of these.

    A URL may name a scheme alone. A host that is named may stand at any address; others at public ones only.
    """

    folders: tuple[Path, ...]
    urls: tuple[str, ...]

    @classmethod
    def of(cls, setting: str) -> "Sources":
        """Read a setting: absolute folders and beginnings of URLs, parted by blanks, in quotes where they hold one.

        Raises:
            SourceError: it has an entry that is neither.
        """
        folders, urls = [], []
        try:
            entries = shlex.split(setting)
        except ValueError as error:
            raise SourceError(f"{VARIABLE} cannot be read: {error}. Close the quotes.") from None
        for entry in entries:
            if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+://.*", entry) and not holds_credential(entry):
                urls.append(entry)
            elif Path(entry).is_absolute():
                folders.append(Path(entry).resolve())
            else:
                raise SourceError(
                    f"{VARIABLE} has {shown(entry)!r}: give absolute folders and beginnings of URLs (s3://bucket/raw/)."
                )
        return cls(tuple(folders), tuple(urls))

    @classmethod
    def from_environment(cls) -> "Sources":
        """Return what RECSYS_SOURCES names; where it is not set, all but plain HTTP and inner addresses."""
        return cls.of(os.environ.get(VARIABLE) or DEFAULT)

    def with_folder(self, folder: Path) -> "Sources":
        """Return these and a folder."""
        return Sources((*self.folders, folder.resolve()), self.urls)

    def file(self, path: Path) -> Path:
        """Return where a file, folder or glob really lies, links followed.

        Raises:
            SourceError: it is outside of all folders.
        """
        if Path("/") in self.folders:
            return path
        real = path.resolve()
        if not any(real.is_relative_to(folder) for folder in self.folders):
            raise SourceError(
                f"{shown(str(path))} is not in a folder that may be read. {VARIABLE} lists those; add it, or move it."
            )
        return real

    def url(self, location: str) -> bool:
        """Return whether the host of a URL is named, so that it may stand at an inner address.

        Raises:
            SourceError: no entry begins the URL.
        """
        parts = _parts(location)
        found = [_parts(entry) for entry in self.urls if _begins(_parts(entry), parts)]
        if not found:
            raise SourceError(
                f"{shown(location)} may not be read: {VARIABLE} does not list it. Add the beginning of the URL there."
            )
        return any(entry.netloc for entry in found)


def _parts(location: str) -> SplitResult:
    try:
        parts = urlsplit(location.strip())
        _ = parts.port
    except ValueError:
        raise SourceError(f"{shown(location)} is no URL. Correct it.") from None
    return parts


def _begins(entry: SplitResult, parts: SplitResult) -> bool:
    if _SAME.get(entry.scheme, entry.scheme) != _SAME.get(parts.scheme, parts.scheme):
        return False
    if not entry.netloc:
        return True
    steps = [step for step in re.split(r"[/\\]", unquote(parts.path)) if step]
    wanted = [step for step in unquote(entry.path).split("/") if step]
    return _host(entry) == _host(parts) and ".." not in steps and steps[: len(wanted)] == wanted


def _host(parts: SplitResult) -> tuple[str | None, int | None]:
    if parts.scheme in HTTP:
        return parts.hostname, parts.port or _PORTS[parts.scheme]
    return parts.netloc.lower(), None
