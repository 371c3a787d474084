"""Tables of JSON: an object a line, or one array of objects; with and without marks of UTF-8 and UTF-16."""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl

from recsys.data.delimited import BOM, UTF16, glob_free
from recsys.data.limits import UnreadableError, unpacked

_HEAD = 1 << 10  # bytes in which an array has begun


def scan_objects(path: Path, form: str, **options: Any) -> pl.LazyFrame:
    """Return the table of a local file, packed or not.

    Args:
        path: the file.
        form: ``JSON``, which may be an array, or ``NDJSON``.
        options: of Polars: names of the columns of rows and files among them.

    Raises:
        UnreadableError: it begins as an array and is no JSON, or its values are no objects.
    """
    if form == "JSON" and (array := _array(path)) is not None:
        row, first = options["row_index_name"], options["row_index_offset"]
        return array.with_row_index(row, first).with_columns(pl.lit("").alias(options["include_file_paths"])).lazy()
    with unpacked(path) as file:
        begin = file.read(len(BOM))
        if begin == BOM:  # Polars takes it for a part of the first object
            return pl.scan_ndjson(io.BytesIO(file.read()), infer_schema_length=None, **options)
        if begin.startswith(UTF16):
            try:
                content = (begin + file.read()).decode("utf-16").encode()
            except UnicodeDecodeError as error:
                raise UnreadableError(f"it begins as UTF-16 and does not go on so ({error.reason})") from None
            return pl.scan_ndjson(io.BytesIO(content), infer_schema_length=None, **options)
    return pl.scan_ndjson(glob_free(path), infer_schema_length=None, **options)


def _array(path: Path) -> pl.DataFrame | None:
    """Return the table of a JSON array of objects; None: the file is none, but an object a line."""
    with unpacked(path) as file:
        if not file.read(_HEAD).removeprefix(BOM).lstrip().startswith(b"["):
            return None
    with unpacked(path) as file:
        try:
            found = json.loads(file.read().decode("utf-8-sig"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UnreadableError(f"it is not valid JSON ({error})") from None
        except RecursionError:
            raise UnreadableError("it is nested too deep") from None
    if not all(isinstance(one, dict) for one in found):
        raise UnreadableError("its array holds other values than objects")
    return pl.DataFrame(found, infer_schema_length=None)
