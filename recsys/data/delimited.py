"""How a table of text is written: its encoding, separator, line ends and quotation marks, told from the file itself.

CSV is read by RFC 4180. Whoever wrote a file has often read nothing: an inch mark stands in the middle of a field,
Excel parts fields by semicolons and writes UTF-16, and tab-separated texts have marks that open and never close. What
has one meaning is read by it; what has none is refused by its line.
"""

import csv
import glob
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import polars as pl

from recsys.data.limits import SEPARATORS, UnreadableError, unpacked

_OTHERS = (",", ";", "\t", "|")  # what stands in the place of it, by how often in the header
_HEAD = 1 << 16  # bytes that tell encoding and line ends, and hold the header
UTF16 = (b"\xff\xfe", b"\xfe\xff")
BOM = b"\xef\xbb\xbf"
_MARK = '"'
_TOLD = re.compile(r'^"?sep=(.)"?$', re.IGNORECASE)


@dataclass(frozen=True)
class Written:
    """How one file is written.

    Attributes:
        source: what Polars reads: the file, or what it was rewritten to.
        separator: between fields.
        quoted: whether fields may be in quotation marks; else these are a part of the text.
        line_end: one byte.
    """

    source: Path | bytes
    separator: str
    quoted: bool
    line_end: str

    def scan(self, **options: Any) -> pl.LazyFrame:
        """Return the table as strings, a row a record, names without blanks around them."""
        source = glob_free(self.source) if isinstance(self.source, Path) else io.BytesIO(self.source)
        quote = _MARK if self.quoted else None
        frame = pl.scan_csv(
            source,
            separator=self.separator,
            quote_char=quote,
            eol_char=self.line_end,
            infer_schema=False,
            with_column_names=lambda names: [name.strip() for name in names],
            **options,
        )
        return frame if self.quoted else frame.with_columns(_unwrapped(pl.col(pl.String)))


def glob_free(path: Path) -> str:
    """Return a path whose name stands for itself, brackets and all."""
    return glob.escape(str(path))


def how_written(path: Path, form: str) -> Written:
    """Look at a file and tell how it is to be read.

    Args:
        path: of a local file, packed or not.
        form: ``CSV`` or ``TSV``.

    Raises:
        UnreadableError: its quotation marks have no meaning, two columns have one name, or it is no text.
    """
    head, content = _begins(path)
    header, line_end = _header(head)
    if (told := _TOLD.match(header)) is not None:  # Excel's way to name the separator, on a line before the header
        content = (_all(path) if content is None else content).partition(line_end.encode())[2]
        header, _ = _header(content[:_HEAD])
        separator = told[1]
    elif "\r" in header:  # lines that end in two ways
        content = _all(path) if content is None else content
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        header, line_end = _header(content[:_HEAD])
        separator = _separator(header, SEPARATORS[form])
    else:
        separator = _separator(header, SEPARATORS[form])
    _refuse_twins(header, separator)
    source = path if content is None else content
    if line_end == "\r" or not _odd(source, separator):
        return Written(source, separator, True, line_end)
    return _with_marks(source, separator)


def separator_of(path: Path, form: str) -> str:
    """Return what parts the fields of a file, as ``how_written`` tells it."""
    header, _ = _header(_begins(path)[0])
    told = _TOLD.match(header)
    return told[1] if told else _separator(header, SEPARATORS[form])


def _all(path: Path) -> bytes:
    with unpacked(path) as file:
        return file.read().removeprefix(BOM)


def _begins(path: Path) -> tuple[bytes, bytes | None]:
    """Return how a file begins, as UTF-8 without its mark, and all of it where it was written otherwise."""
    with unpacked(path) as file:
        head = file.read(_HEAD)
    content: bytes | None = None
    if head.startswith(UTF16):
        with unpacked(path) as file:
            try:
                content = file.read().decode("utf-16").encode()
            except UnicodeDecodeError as error:
                raise UnreadableError(f"it begins as UTF-16 and does not go on so ({error.reason})") from None
        head = content[:_HEAD]
    elif b"\0" in head:
        raise UnreadableError("it holds zero bytes: it is no text, or UTF-16 without its mark")
    return head.removeprefix(BOM), content


def _header(head: bytes) -> tuple[str, str]:
    """Return the first line, and the character that ends lines."""
    line_end = "\r" if b"\r" in head and b"\n" not in head else "\n"
    return head.partition(line_end.encode())[0].decode("utf-8", "replace").rstrip("\r"), line_end


@dataclass(frozen=True)
class _Record:
    """Fields, the line on which they begin, and the lines that they stand on."""

    fields: list[str]
    first: int
    lines: list[str]


def first_wide_record(path: Path, written: Written) -> str | None:
    """Return in words where a record has more fields than the header; None: none has, or nobody can tell."""
    try:
        with _text(path if isinstance(written.source, Path) else written.source) as text:
            width = 0
            for record in _records(text, written.separator, written.quoted):
                width = width or len(record.fields)
                if len(record.fields) > width:
                    return f"line {record.first} has {len(record.fields)} fields, the header {width}"
    except (UnreadableError, UnicodeDecodeError, OSError, EOFError):
        return None
    return None


def _text(source: Path | bytes) -> io.TextIOWrapper:
    file = io.BytesIO(source) if isinstance(source, bytes) else unpacked(source)
    return io.TextIOWrapper(file, encoding="utf-8-sig", newline="")


def _separator(header: str, usual: str) -> str:
    """Return what parts the fields of a header; where the usual character has no part in it, another one may."""
    plain = "".join(header.split(_MARK)[::2])  # outside quotation marks
    if usual in plain:
        return usual
    counts = [(plain.count(other), other) for other in _OTHERS]
    most, other = max(counts, key=lambda one: one[0])
    return other if most else usual


def _refuse_twins(header: str, separator: str) -> None:
    """Polars would call the second of two columns otherwise."""
    try:
        names = [name.strip() for name in next(csv.reader([header], delimiter=separator))]
    except (csv.Error, StopIteration):
        return
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise UnreadableError(f"its header has {twins[0]!r} {names.count(twins[0])} times")


def _odd(source: Path | bytes, separator: str) -> bool:
    """Tell whether a line has quotation marks that do not open and close around whole fields."""
    part = "\\t" if separator == "\t" else f"[{separator}]"
    other = f'[^"{separator}]' if separator != "\t" else '[^"\\t]'
    field = f'(?:{other}*|"(?:[^"]|"")*")'
    whole = f"^{field}(?:{part}{field})*\\r?$"
    place: Any = glob_free(source) if isinstance(source, Path) else io.BytesIO(source)
    lines = pl.scan_csv(
        place,
        has_header=False,
        separator="\1",
        quote_char=None,
        infer_schema=False,
        truncate_ragged_lines=True,
        new_columns=["line"],
    )
    line = pl.col("line")
    odd = line.str.contains(_MARK, literal=True) & ~line.str.contains(whole)
    return not lines.filter(odd).head(1).collect().is_empty()


def _with_marks(source: Path | bytes, separator: str) -> Written:
    """Read a file whose marks need a closer look, and rewrite it as RFC 4180 has it.

    A text with tabs is by IANA's registration never quoted. Some write it as if it were CSV all the same; that is
    believed where every mark closes, and no record has swallowed lines that are records of their own.
    """
    target = io.StringIO()
    writer = csv.writer(target, delimiter=separator, lineterminator="\n")
    width = 0
    try:
        with _text(source) as text:
            for record in _records(text, separator, quoted=True):
                width = width or len(record.fields)
                swallowed = len(record.lines) > 1 and all(line.count(separator) == width - 1 for line in record.lines)
                if separator == "\t" and swallowed:
                    return Written(source, separator, False, "\n")
                writer.writerow(record.fields)
    except UnicodeDecodeError:
        return Written(source, separator, True, "\n")  # Polars refuses it, and the line is looked for then
    except UnreadableError:
        if separator == "\t":
            return Written(source, separator, False, "\n")
        raise
    return Written(target.getvalue().encode(), separator, True, "\n")


def _records(text: IO[str], separator: str, quoted: bool) -> Iterator[_Record]:
    """Yield the records of a text.

    Raises:
        UnreadableError: a quotation mark is never closed, or is closed within a field; names the line.
    """
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in text:
            taken.append(line)
            yield line

    marks: dict[str, Any] = {"strict": True} if quoted else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(lines(), delimiter=separator, **marks)
    first = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            closed = "expected after" in str(error)
            what = (
                "within a field in quotation marks, a mark is written twice"
                if closed
                else "a quotation mark opens and never closes"
                if "unexpected end" in str(error)
                else str(error)
            )
            raise UnreadableError(f"line {reader.line_num if closed else first}: {what}") from None
        yield _Record(fields, first, [*taken])
        taken.clear()
        first = reader.line_num + 1


def _unwrapped(text: pl.Expr) -> pl.Expr:
    """Return fields without the marks around the whole of them, doubled ones inside made single."""
    whole = text.str.contains(r'^"(?:[^"]|"")*"$')
    inner = text.str.slice(1, text.str.len_chars().cast(pl.Int64) - 2).str.replace_all('""', _MARK, literal=True)
    return pl.when(whole).then(inner).otherwise(text).name.keep()
