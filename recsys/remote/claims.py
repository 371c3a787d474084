"""Who changes a store: any number put at once, or one deletes, so that nothing goes that somebody is about to name.

Everybody puts a claim first and looks at the others' then; of two who exclude each other one has seen the other. A
claim that its process has left behind counts no more after a time, by the store's own clock.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from secrets import token_hex

from recsys.home import Home
from recsys.remote.bucket import Bucket, OvertakenError, StoreAwayError, StoreError, bucket_of

PUTTING, DELETING = "claims/putting", "claims/deleting/one"
PUTS, DELETES = timedelta(days=1), timedelta(hours=1)  # after which a claim was left behind
PAUSE_SECONDS, WAIT_SECONDS = 1.0, 600
_LOG = logging.getLogger(__name__)
_own = threading.local()  # what this thread claims already


@contextmanager
def putting(home: Home) -> Iterator[None]:
    """Let nobody delete from a home's store meanwhile; wait for whoever does. A home without one needs nothing.

    Raises:
        StoreError: the store does not answer, or somebody deletes for too long.
    """
    if home.store is None or getattr(_own, "claims", None):
        yield
        return
    bucket, key = bucket_of(home.store), f"{PUTTING}/{token_hex(8)}"
    deadline = time.monotonic() + WAIT_SECONDS
    bucket.put(key, b"")
    try:
        while _deletes(bucket, key):
            if time.monotonic() > deadline:
                raise StoreAwayError(f"Somebody deletes from {bucket.url}. Try again, or delete {DELETING} there.")
            time.sleep(PAUSE_SECONDS)
        _own.claims = PUTTING
        yield
    finally:
        _own.claims = None
        _withdraw(bucket, key)


@contextmanager
def deleting(home: Home) -> Iterator[None]:
    """Let nobody put into a home's store meanwhile. A home without one needs nothing.

    Raises:
        StoreAwayError: somebody puts, or deletes, at the moment.
        StoreError: the store does not answer.
    """
    if home.store is None or getattr(_own, "claims", None) == DELETING:
        yield
        return
    bucket, mark = bucket_of(home.store), json.dumps(token_hex(8)).encode()
    _begin(bucket, mark)
    _own.claims, _own.until = DELETING, time.monotonic() + DELETES.total_seconds() / 2
    try:
        claims = {one.key: one.modified for one in bucket.list("claims")}
        since = claims.get(DELETING)
        if since is None or any(key.startswith(PUTTING) and since - at < PUTS for key, at in claims.items()):
            raise StoreAwayError(f"Somebody puts something into {bucket.url}; nothing is deleted meanwhile. Try again.")
        yield
    finally:
        _own.claims, _own.until = None, None
        _withdraw(bucket, DELETING)


def check_time() -> None:
    """Check that others still respect this thread's claim to delete.

    Raises:
        StoreAwayError: it is getting too old.
    """
    until = getattr(_own, "until", None)
    if until is not None and time.monotonic() > until:
        raise StoreAwayError("Deleting has taken so long that others may begin to put. Run it again: it goes on.")


def _begin(bucket: Bucket, mark: bytes) -> None:
    for _ in range(2):
        try:
            bucket.put(DELETING, mark, None)
            return
        except OvertakenError:
            found = bucket.get(DELETING)
            if found is not None and found[0] == mark:  # the answer to our own was lost
                return
            probe = f"claims/asking/{token_hex(8)}"
            bucket.put(probe, b"")
            try:
                claims = {one.key: one.modified for one in bucket.list("claims")}
            finally:
                _withdraw(bucket, probe)
            if DELETING in claims and claims[probe] - claims[DELETING] < DELETES:
                break
            _withdraw(bucket, DELETING)
    raise StoreAwayError(f"Another process deletes from {bucket.url} at the moment. Try again.")


def _deletes(bucket: Bucket, own: str) -> bool:
    claims = {one.key: one.modified for one in bucket.list("claims")}
    return DELETING in claims and own in claims and claims[own] - claims[DELETING] < DELETES


def _withdraw(bucket: Bucket, key: str) -> None:
    with suppress(StoreError):  # a claim too many keeps others for some time, and nothing else
        bucket.delete([key])
        return
    _LOG.warning("The claim %s/%s could not be taken back; it counts for a while.", bucket.url, key)
