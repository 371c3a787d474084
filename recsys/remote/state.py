"""The small files of a home that change: the pointer, the log of promotions, the shadow, names, keys, the salt.

The store has each as one object, which is replaced only from what this machine has read of it: of two who replace it
at once one is told. What the store lacks stays as it is here, and is put there by the next change.
"""

from pathlib import Path
from urllib.parse import quote

from recsys.artifacts import PRIVATE, READABLE, ArtifactError, make_room, read_json, write_atomic, write_json
from recsys.home import SALT, Home
from recsys.remote.bucket import QUICK, Bucket, OvertakenError, Version, bucket_of
from recsys.remote.listing import OWN

STATE = "state"
PRIVATE_FILES = ("keys.json", SALT)
LOG_TRIES = 20  # of an append; each fails only where another one has succeeded


def adopt(home: Home, name: str, bucket: Bucket | None = None) -> None:
    """Bring a file as the store has it, if the home has one; for who holds the file's lock.

    Args:
        home: where state lives.
        name: the file's path below the home.
        bucket: to ask; None: the patient one.

    Raises:
        StoreError: the store does not answer.
    """
    if home.store is None:
        return
    found = (bucket or bucket_of(home.store)).get(f"{STATE}/{name}")
    if found is not None and found[1] != version_of(home, name):
        _write(home, name, *found)


def share(home: Home, name: str, content: bytes) -> None:
    """Replace a file in the store, if the home has one, then here; for who holds the file's lock.

    Args:
        home: where state lives.
        name: the file's path below the home.
        content: of the file; empty: there is none any more.

    Raises:
        OvertakenError: somebody has replaced it since it was adopted; neither is changed.
        StoreError: the store does not answer; what is here stays.
    """
    version = None
    if home.store is not None:
        bucket, key = bucket_of(home.store), f"{STATE}/{name}"
        try:
            version = bucket.put(key, content, version_of(home, name))
        except OvertakenError:
            found = bucket.get(key)
            if found is None:  # it was lost, and is restored
                version = bucket.put(key, content, None)
            elif found[0] == content:  # it is ours: the answer to it was lost
                version = found[1]
            else:
                raise
    _write(home, name, content, version)


def merge_lines(home: Home, name: str) -> None:
    """Let the store and this machine have all lines of a log, the store's first; for who holds the log's lock.

    Raises:
        OvertakenError: others append without an end.
        StoreError: the store does not answer.
    """
    if home.store is None:
        return
    bucket, key, path = bucket_of(home.store), f"{STATE}/{name}", home.root / name
    if not path.exists() and bucket.size(key) is None:
        return
    for tries_left in range(LOG_TRIES, 0, -1):
        found = bucket.get(key)
        here = _lines(path.read_bytes()) if path.is_file() else []
        there = _lines(found[0]) if found else []
        lines = list(dict.fromkeys([*there, *here]))
        content = b"".join(line + b"\n" for line in lines)
        if lines != here:
            write_atomic(make_room(path.parent) / path.name, content)
        if found is not None and lines == there:
            _note(home, name, found[1])
            return
        try:
            _note(home, name, bucket.put(key, content, found[1] if found else None))
            return
        except OvertakenError:  # or it is ours, which the next look shows
            if tries_left == 1:
                raise


def adopt_changed(home: Home, name: str, there: dict[str, str]) -> None:
    """Bring a file whose ETag in the store is another than was seen; one that was never there is put there.

    Args:
        home: where state lives.
        name: the file's path below the home.
        there: ETags by name, of all that the store has.

    Raises:
        StoreError: the store does not answer.
    """
    if name in there:
        if is_other(home, name, there):
            adopt(home, name, bucket_of(str(home.store), QUICK))
    elif version_of(home, name) is None and (home.root / name).is_file():
        share(home, name, (home.root / name).read_bytes())


def is_other(home: Home, name: str, there: dict[str, str]) -> bool:
    """Tell whether the store has another content of a file than this machine has read."""
    version = version_of(home, name)
    return name in there and (version is None or version.etag != there[name])


def version_of(home: Home, name: str) -> Version | None:
    """Return the version of a file that this machine has read last; None: it never has."""
    try:
        known = read_json(_version_file(home, name))
        return Version(str(known["etag"]), known["number"])
    except (ArtifactError, TypeError, KeyError):
        return None


def _write(home: Home, name: str, content: bytes, version: Version | None) -> None:
    """Write a file and then what its version is: a crash between the two has it brought again."""
    path = home.root / name
    if content:
        write_atomic(make_room(path.parent) / path.name, content, PRIVATE if name in PRIVATE_FILES else READABLE)
    else:
        path.unlink(missing_ok=True)
    if version is not None:
        _note(home, name, version)


def _note(home: Home, name: str, version: Version) -> None:
    path = _version_file(home, name)
    write_json(make_room(path.parent) / path.name, version._asdict())


def _version_file(home: Home, name: str) -> Path:
    return home.root / OWN / "versions" / f"{quote(name, safe='')}.json"


def _lines(content: bytes) -> list[bytes]:
    return content.split(b"\n")[:-1]
