"""Files of the store that no listing names: they go when nobody puts anything."""

from recsys.home import Home
from recsys.remote.bucket import bucket_of
from recsys.remote.claims import check_time, deleting
from recsys.remote.listing import FILES, KEPT, ROOMS, read_kept


def sweep(home: Home) -> int:
    """Delete the files that no folder in the store has any more; return how many bytes went.

    Raises:
        ArtifactError: a listing cannot be read: nobody knows which files are its own, and none goes.
        StoreAwayError: somebody puts, or deletes, at the moment.
        StoreError: the store does not answer.
    """
    if home.store is None:
        return 0
    bucket = bucket_of(home.store)
    with deleting(home):
        named: set[str] = set()
        for one in bucket.list(KEPT):
            _, room, name = one.key.split("/", 2)
            listing = read_kept(bucket, room, name.removesuffix(".json")) if room in ROOMS else None
            named |= set(listing.files.values()) if listing else set()
        gone = [one for one in bucket.list(FILES) if one.key.removeprefix(f"{FILES}/") not in named]
        check_time()
        bucket.delete([one.key for one in gone])
    return sum(one.size for one in gone)
