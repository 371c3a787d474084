"""One prefix of an object store: objects are put, replaced on a condition, read, listed and deleted.

Credentials, region and endpoint are the environment's (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``). What a store answers with
503, drops or cuts is asked again for as long as ``patience`` says.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from os import environ
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from recsys.artifacts import ArtifactError
from recsys.errors import RecsysError, SettingError
from recsys.home import ENDPOINTS
from recsys.remote.advice import advice

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PATIENT, QUICK = timedelta(minutes=2), timedelta(seconds=5)  # a run's, and that of who looks again soon
PART = 8 << 20  # bytes of a part of a large upload
MOST_PARTS = 9_000  # a store takes 10,000
TRIES = 8  # of one download that is cut
CONNECT, ANSWER = timedelta(seconds=5), timedelta(minutes=5)


class StoreError(RecsysError):
    """An object store does not do what a home needs. The message says which, why, and what to do."""


class StoreAwayError(StoreError):
    """An object store does not answer now; the same may work the next time."""

    passing = True


class OvertakenError(StoreError):
    """Somebody else has replaced an object since it was read; it stays as it is."""

    passing = True


class Version(NamedTuple):
    """What an object's content is known by: S3 and Azure compare ETags, GCS numbers of its own."""

    etag: str
    number: str | None = None


@dataclass(frozen=True)
class Listed:
    """An object as a list shows it.

    Attributes:
        key: below the prefix.
        size: in bytes.
        etag: of its content.
        modified: when it was put, by the store's clock.
    """

    key: str
    size: int
    etag: str
    modified: datetime


class Bucket:
    """A prefix of an object store; safe to share between threads.

    Args:
        url: ``s3://bucket/prefix`` and the like.
        patience: how long one question may take with all its tries.

    Raises:
        SettingError: the package that speaks to stores is not installed, or the environment's settings do not do.
    """

    def __init__(self, url: str, patience: timedelta = PATIENT) -> None:
        try:
            from obstore.store import from_url
        except ImportError:
            raise SettingError(
                f"{url} is on an object store, which takes a package: pip install 'recsys[remote]'."
            ) from None
        self.url = url
        options: Any = {"connect_timeout": CONNECT, "timeout": ANSWER}
        if _is_loopback(next(filter(None, map(environ.get, ENDPOINTS)), "")):
            options["allow_http"] = True
        backoff: Any = {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=5), "base": 2}
        retries: Any = {"backoff": backoff, "max_retries": 20, "retry_timeout": patience}
        try:
            self._store: ObjectStore = from_url(url, client_options=options, retry_config=retries)
        except Exception as error:
            raise SettingError(f"{url} cannot be opened: {error}") from None

    def put(self, key: str, content: bytes | Path, expected: Version | EllipsisType | None = ...) -> Version:
        """Put an object, whole or not at all; return its version.

        Args:
            key: of the object.
            content: bytes, or the file that has them.
            expected: the version of what must be there until now, None for nothing; an ellipsis: whatever is.

        Raises:
            OvertakenError: something else is there.
            StoreError: the store did not take it.
        """
        import obstore

        mode: Any = "overwrite" if expected is ... else "create" if expected is None else _condition(expected)
        size = content.stat().st_size if isinstance(content, Path) else 0
        with self._telling(f"put {key}"):
            put = obstore.put(self._store, key, content, mode=mode, chunk_size=max(PART, size // MOST_PARTS))
        return Version(str(put["e_tag"]), put["version"])

    def get(self, key: str) -> tuple[bytes, Version] | None:
        """Return an object's content and version; None: there is none.

        Raises:
            StoreError: the store does not say.
        """
        import obstore

        with self._telling(f"read {key}"):
            try:
                got = obstore.get(self._store, key)
                return bytes(got.bytes()), Version(str(got.meta["e_tag"]), got.meta["version"])
            except FileNotFoundError:
                return None

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has; None: there is none.

        Raises:
            StoreError: the store does not say.
        """
        import obstore

        with self._telling(f"read {key}"):
            try:
                return int(obstore.head(self._store, key)["size"])
            except FileNotFoundError:
                return None

    def download(self, key: str, path: Path, sha256: str) -> None:
        """Bring an object into a new file; what is cut goes on where it was cut.

        Raises:
            ArtifactError: there is no such object, or its content has another hash.
            StoreError: it is cut again and again, or the store does not answer.
        """
        import obstore
        from obstore.exceptions import BaseError

        sha, cut = hashlib.sha256(), ""
        with path.open("wb") as file:
            for _ in range(TRIES):
                with self._telling(f"read {key}"):
                    try:
                        options: Any = {"range": {"offset": file.tell()}} if file.tell() else None
                        got = obstore.get(self._store, key, options=options)
                    except FileNotFoundError:
                        raise ArtifactError(
                            f"{self.url}/{key} is gone from the store. Look again what there is."
                        ) from None
                    size = int(got.meta["size"])
                try:
                    for part in got.stream(PART):
                        sha.update(part)
                        file.write(part)
                except (BaseError, OSError) as error:
                    cut = str(error)
                if file.tell() >= size:
                    break
            else:
                raise StoreAwayError(f"{self.url}/{key} is cut again and again while it is read: {cut}. Try again.")
        if sha.hexdigest() != sha256:
            raise ArtifactError(
                f"{self.url}/{key} is not what was put there. Delete the object, and run again where its file is whole."
            )

    def list(self, prefix: str) -> list[Listed]:
        """Return all objects whose keys begin with a folder's name, by key.

        Raises:
            StoreError: the store does not say.
        """
        import obstore

        with self._telling(f"list {prefix}"):
            found = [one for page in obstore.list(self._store, prefix) for one in page]
        listed = (Listed(one["path"], one["size"], str(one["e_tag"]), one["last_modified"]) for one in found)
        return sorted(listed, key=lambda one: one.key)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; those that are gone already count as deleted.

        Raises:
            StoreError: the store does not say that it has.
        """
        import obstore

        if keys:
            with self._telling(f"delete {keys[0]}"):
                try:
                    obstore.delete(self._store, list(keys))
                except FileNotFoundError:
                    for key in keys if len(keys) > 1 else ():
                        self.delete([key])

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Give whatever the store's client raises one of our names.

        Raises:
            OvertakenError: a condition does not hold.
            StoreAwayError: it does not answer.
            StoreError: it refuses.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError

        try:
            yield
        except (AlreadyExistsError, PreconditionError, NotModifiedError):
            raise OvertakenError(f"{self.url} has something else than what was read: cannot {what}.") from None
        except (BaseError, OSError, ValueError) as error:
            words = " ".join(str(error).split())
            said = advice(words)
            if said is None or "error sending request" in words:
                raise StoreAwayError(f"{self.url} does not answer: cannot {what} ({words[:300]}). Try again.") from None
            raise StoreError(f"{self.url}: cannot {what}. {said}") from None


@lru_cache(maxsize=8)
def bucket_of(url: str, patience: timedelta = PATIENT) -> Bucket:
    """Return the bucket of a URL, with its connections, as this process has opened it before."""
    return Bucket(url, patience)


def _condition(expected: Any) -> dict[str, str]:
    return {"e_tag": expected.etag} | ({} if expected.number is None else {"version": expected.number})


def _is_loopback(endpoint: str) -> bool:
    """Tell whether an endpoint is plain HTTP on this machine, where nobody listens in."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    try:
        return parts.scheme == "http" and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False
