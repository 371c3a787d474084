"""Text tables of an object store, brought here line by line, so that one reader with one set of rules has them all.

Polars unpacks gzip and zstd on the way, takes the credentials that it takes for Parquet, and gives lines without their
ends: a line end within a quoted field is a line feed afterwards.
"""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import polars as pl

from recsys.data.limits import Budget

_FILE, _LINE = "file", "line"


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
