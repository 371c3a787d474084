"""An object a line, as JSON or as Python writes it: ``{"asin": "0001", …}`` or ``{u'id': u'10', 'price': 4.99}``.

Python's are read by ``ast.literal_eval``, which takes literals alone and executes nothing.
"""

import ast
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys.config import LimitsConfig
from recsys.data.json_values import SURROGATE
from recsys.data.limits import UnreadableError, check_depth, unpacked
from recsys.data.locations import SourceError
from recsys.data.publishers.publisher import TYPES, Part, Value

BATCH = 50_000  # records that are held at once
_TAG = re.compile(r"<[A-Za-z/!][^<>]*>")
_AMOUNT = re.compile(r"^\$?(\d[\d,]*(?:\.\d+)?)$")


def first_record(path: Path, part: Part) -> Mapping[str, Any]:
    """Return the first object of a file.

    Raises:
        UnreadableError: there is none.
    """
    with unpacked(path) as file:
        line = file.readline()
    try:
        return _record(line)
    except _NO_RECORD:
        raise UnreadableError("its first line is no object of JSON or Python") from None


def read_records(files: Sequence[Path], part: Part, folder: Path, limits: LimitsConfig) -> pl.LazyFrame:
    """Return what ``part.values`` names of the records of some files, which is kept as Parquet on the way.

    Raises:
        SourceError: a line is none, is too long, or is nested too deep; names file and line.
    """
    folder.mkdir(exist_ok=True)
    schema = {name: TYPES[kind] for name, kind in part.values.items()}
    number, rows = 0, list[tuple[Any, ...]]()
    for path in files:
        for row in _rows(path, part, limits):
            rows.append(row)
            if len(rows) == BATCH:
                pl.DataFrame(rows, schema, orient="row").write_parquet(folder / f"{number:06}.parquet")
                number, rows = number + 1, []
    pl.DataFrame(rows, schema, orient="row").write_parquet(folder / f"{number:06}.parquet")
    return pl.scan_parquet(folder / "*.parquet")


def _rows(path: Path, part: Part, limits: LimitsConfig) -> Iterator[tuple[Any, ...]]:
    with unpacked(path) as file:
        for place, line in enumerate(file, start=1):
            if not line.strip():
                continue
            if len(line) > limits.max_row_bytes:
                raise SourceError(f"{path.name}, line {place} has more than {limits.max_row_bytes:,} bytes.")
            check_depth(f"{path.name}, line {place}", line)
            try:
                record = _record(line)
            except _NO_RECORD:
                raise SourceError(
                    f"{path.name}, line {place} is no object of JSON or Python. The file is cut or damaged: fetch it "
                    "again."
                ) from None
            inner = record.get(part.inside) if part.inside else None
            for one in inner if isinstance(inner, list) else () if part.inside else (record,):
                if isinstance(one, dict):
                    whole = {**record, **one}
                    yield tuple(_READERS[kind](whole.get(name)) for name, kind in part.values.items())


_NO_RECORD = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def _record(line: bytes) -> Mapping[str, Any]:
    text = line.decode("utf-8-sig")
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = ast.literal_eval(text.strip())
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _text(value: Any) -> str | None:
    """Return a text on one line, without the marks and signs of HTML; a list is one text."""
    if isinstance(value, list):
        value = " ".join(str(one) for one in value)
    if value is None or isinstance(value, dict | bool):
        return None
    plain = html.unescape(_TAG.sub(" ", html.unescape(str(value))))
    return SURROGATE.sub("\N{REPLACEMENT CHARACTER}", " ".join(plain.split())) or None


def _texts(value: Any) -> list[str] | None:
    """Return the texts of a list, or of lists within it, each once, in order."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return None
    found = [text for one in value for text in (_texts(one) or [] if isinstance(one, list) else [_text(one)])]
    return list(dict.fromkeys(text for text in found if text)) or None


def _number(value: Any) -> float | None:
    """Return a number; ``$1,234.50`` is one, and ``Free to Play`` is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < float("inf") else None
    found = _AMOUNT.match(value.strip()) if isinstance(value, str) else None
    return float(found[1].replace(",", "")) if found else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


_READERS: Mapping[Value, Callable[[Any], Any]] = {"text": _text, "texts": _texts, "number": _number, "flag": _flag}
