"""Labelled texts from every form of file; what is wrong is named with its line."""

import polars as pl
import pytest

from recsys.data.labelled import LABEL, TEXT, read_labelled
from recsys.data.sources import SourceError

TABLE = pl.DataFrame({"text": ["a fine film", "dull, and long"], "label": ["1", "0"]})


@pytest.mark.parametrize("form", ["parquet", "csv", "tsv", "ndjson", "txt"])
def test_every_form_gives_the_same(tmp_path, form):
    path = tmp_path / f"train.{form}"
    if form == "parquet":
        TABLE.with_columns(pl.col("label").cast(pl.Int8)).write_parquet(path)
    elif form == "ndjson":
        TABLE.write_ndjson(path)
    elif form == "txt":
        path.write_text("1 a fine film\n\n0\tdull, and long\n")
    else:
        TABLE.write_csv(path, separator="," if form == "csv" else "\t")
    assert read_labelled(path).equals(TABLE)


def test_columns_may_be_named(tmp_path):
    TABLE.rename({"text": "sentence", "label": "mood"}).write_csv(tmp_path / "a.csv")
    assert read_labelled(tmp_path / "a.csv", "sentence", "mood").columns == [TEXT, LABEL]
    with pytest.raises(SourceError, match=r"no column 'text'; it has sentence, mood.*--text-column"):
        read_labelled(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "1 fine\n0\n", "line 2.*label and no text"),
        ("a.txt", "\n", "holds no texts"),
        ("a.csv", "text,label\nfine,1\ndull,\n", "row 2: the label is missing"),
        ("a.csv", "text,label\n ,1\n", "row 1: the text is missing"),
        ("a.parquet", "no parquet", "cannot be read as Parquet"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=message):
        read_labelled(tmp_path / name)


def test_absent_and_not_utf8(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        read_labelled(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes("1 café\n".encode("latin-1"))
    with pytest.raises(SourceError, match="UTF-8"):
        read_labelled(tmp_path / "latin.txt")
