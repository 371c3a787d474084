"""Text tables of an object store, brought here line by line, so that one reader with one set of rules has them all.

Polars unpacks gzip and zstd on the way, takes the credentials that it takes for Parquet, and gives lines without their
ends: a line end within a quoted field is a line feed afterwards.
"""

import re
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import polars as pl

from recsys.data.limits import Budget

_FILE, _LINE = "file", "line"
# What object stores and Polars say, and what it means for people; the first that fits.
_ADVICE = {
    r"ExpiredToken|TokenRefreshRequired|expired": "The credentials have expired. Renew them where this runs.",
    r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|401|Unauthenticated|Unauthorized": (
        "The credentials are none that the store knows. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what "
        "your store has in their place, where this runs."
    ),
    r"AccessDenied|Forbidden|\b403\b|PermissionDenied": (
        "The credentials may not read it, or there are none. Ask for the right to read and to list, or set them where "
        "this runs."
    ),
    r"NoSuchBucket": "There is no such bucket, or it is another store's. Check the URL and AWS_ENDPOINT_URL.",
    r"169\.254\.169\.254|metadata/|credential|No provider": (
        "There are no credentials. Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or what your store has "
        "in their place, where this runs."
    ),
    r"NoSuchKey|NotFound|not found|No such file|expanded paths were empty": "There is no such file. Check the URL.",
}


def advice(failure: str) -> str | None:
    """Return what an object store's words mean for people; None: nobody knows."""
    return next((said for pattern, said in _ADVICE.items() if re.search(pattern, failure)), None)


class Fetched:
    """Files that are removed when nothing asks for them any more.

    Attributes:
        files: each with its URL in the store, sorted by that.
    """

    def __init__(self) -> None:
        self.files: list[tuple[Path, str]] = []
        self.folder = Path(tempfile.mkdtemp(prefix="recsys-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


def fetch(location: str, named: str, options: dict[str, Any], budget: Budget) -> Fetched:
    """Bring here the text files that a URL stands for.

    Args:
        location: of one file, or with wildcards of many.
        named: what messages call it.
        options: for Polars' object store.
        budget: what may be taken.

    Raises:
        SourceError: it is too large.
        pl.exceptions.PolarsError, OSError: it cannot be had, or is no UTF-8.
    """
    fetched, found, size = Fetched(), dict[str, Path](), 0
    lines = pl.scan_lines(location, name=_LINE, include_file_paths=_FILE, storage_options=options)
    for batch in lines.collect_batches(maintain_order=True):
        for (url,), part in batch.partition_by(_FILE, maintain_order=True, as_dict=True).items():
            path = found.setdefault(str(url), fetched.folder / str(len(found)))
            budget.count_files(named, len(found))
            text = "\n".join(part[_LINE].fill_null("")) + "\n"
            size += len(text)
            budget.admit_size(named, size)
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(text)
    fetched.files = [(found[url], url) for url in sorted(found)]
    return fetched
