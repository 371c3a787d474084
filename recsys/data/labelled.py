"""Labelled texts from files: Parquet, CSV, TSV or NDJSON with two columns, or lines of ``label text``."""

from pathlib import Path

import polars as pl

from recsys.data.kept import as_texts
from recsys.data.sources import SourceError, has_form, read_columns, read_lines

TEXT, LABEL = "text", "label"


def read_labelled(path: Path, text: str = TEXT, label: str = LABEL) -> pl.DataFrame:
    """Read labelled texts: the columns ``text`` and ``label``, both of strings, in the order of the file.

    Args:
        path: a table by its suffix; any other file holds lines, each a label, a blank or a tab, and a text.
        text: the column with the texts.
        label: the column with the labels; numbers become their decimal digits, ``1.0`` and 1 the same ones.

    Raises:
        SourceError: the file is absent, empty, of another form, or a text or label is missing; names the line.
    """
    if not has_form(path):
        return _read_lines(path)
    table = read_columns(path)
    for name in (text, label):
        if name not in table.columns:
            raise SourceError(
                f"{path} has no column {name!r}; it has {', '.join(table.columns)}. "
                "Rename it, or name the columns with --text-column and --label-column."
            )
    labels = as_texts(table[label], path.name, ids=True).str.strip_chars()
    chosen = pl.DataFrame([as_texts(table[text], path.name).alias(TEXT), labels.alias(LABEL)])
    return _checked(chosen, path, "row")


def _read_lines(path: Path) -> pl.DataFrame:
    rows = []
    try:
        lines = read_lines(path)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 ({error}). Write it again as UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, _, words = line.strip().replace("\t", " ").partition(" ")
        if not words.strip():
            raise SourceError(f"{path}, line {number} has a label and no text. Correct the line.")
        rows.append((words.strip(), label))
    return _checked(pl.DataFrame(rows, {TEXT: pl.String, LABEL: pl.String}, orient="row"), path, "line")


def _checked(table: pl.DataFrame, path: Path, unit: str) -> pl.DataFrame:
    if table.is_empty():
        raise SourceError(f"{path} holds no texts. Give a file with at least one.")
    for name in (TEXT, LABEL):
        empty = table[name].fill_null("").str.strip_chars() == ""
        if empty.any():
            number = int(empty.arg_max() or 0) + 1
            raise SourceError(f"{path}, {unit} {number}: the {name} is missing. Fill it in, or leave the {unit} out.")
    return table
