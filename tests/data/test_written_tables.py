"""Tables as other programs write them: what has one meaning is read by it, what has none is refused by its line."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.delimited import how_written
from recsys.data.ingest import ingest
from recsys.data.labelled import read_labelled
from recsys.data.limits import UnreadableError
from recsys.data.parsing import as_ids, infer_type, parse_timestamps
from recsys.data.quality import QualityError
from recsys.data.sources import FILE, ROW, SourceError, read_table
from recsys.home import Home


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def titles(folder: Path, name: str, content: str | bytes) -> list[str]:
    return read_table(written(folder, name, content), "items")["title"].to_list()


@pytest.mark.parametrize(
    ("name", "rows", "found"),
    [
        ("i.tsv", ['1\tThe "Best', "2\tTwo", '3\tFinal" one', "4\tFour"], ['The "Best', "Two", 'Final" one', "Four"]),
        ("i.tsv", ['1\t"Open', "2\tTwo", '3\tClosed"'], ['"Open', "Two", 'Closed"']),
        ("i.tsv", ['1\t"Quoted"', '2\t"Open', '3\t"a ""b"""'], ["Quoted", '"Open', 'a "b"']),
        ("i.tsv", ['1\t"Quoted"', '2\t"a ""b"""'], ["Quoted", 'a "b"']),
        ("i.tsv", ['1\t"Two', 'lines"', "2\tOne"], ["Two\nlines", "One"]),
        ("i.tsv", ['1\t"A\ttab"', '2\tTV 32" wide'], ["A\ttab", 'TV 32" wide']),
        ("i.csv", ['1,TV 32" wide', "2,Two", '3,TV 40" wide'], ['TV 32" wide', "Two", 'TV 40" wide']),
        ("i.csv", ['1,"TV, 32"" wide"', '2,"Two', 'lines"'], ['TV, 32" wide', "Two\nlines"]),
        ("i.csv", ['1,TV 32" wide', '2,"Two', 'lines, ""quoted"""'], ['TV 32" wide', 'Two\nlines, "quoted"']),
    ],
)
def test_quotation_marks_swallow_no_rows(tmp_path: Path, name: str, rows: list[str], found: list[str]) -> None:
    header = "item_id,title".replace(",", "\t" if name.endswith(".tsv") else ",")
    text = "\n".join([header, *rows, ""])
    assert titles(tmp_path, name, text) == found
    assert titles(tmp_path, f"{name}.gz", gzip.compress(text.encode())) == found
    assert titles(tmp_path, f"crlf-{name}", text.replace("\n", "\r\n")) == [one.replace("\n", "\r\n") for one in found]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('2,"TV 32" wide"', r"line 3: within a field in quotation marks, a mark is written twice"),
        ('2,"Open', r"line 3: a quotation mark opens and never closes"),
        ("2,Two,Three", r"line 3 has 3 fields, the header 2"),
        ('2,TV 32" wide,Three', r"line 3 has 3 fields, the header 2"),
    ],
)
def test_what_has_no_meaning_is_refused_by_its_line(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(SourceError, match=rf"i\.csv cannot be read as CSV: {told}"):
        titles(tmp_path, "i.csv", f"item_id,title\n1,One\n{row}\n3,Three\n")


def test_a_wide_line_of_marks_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 3 has 3 fields, the header 2"):
        titles(tmp_path, "i.tsv", 'item_id\ttitle\n1\t"One\n2\tTwo\tThree\n')


FIELDS = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(FIELDS, min_size=1, max_size=5))
def test_what_is_written_as_it_is_has_as_many_rows_as_lines(values: list[str]) -> None:
    """A text with tabs as somebody writes it who knows of no quoting."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rows = [f"{number}\tx{value}x" for number, value in enumerate(values)]
        found = titles(Path(folder), "i.tsv", "\n".join(["item_id\ttitle", *rows, ""]))
    assert found == [f"x{value}x" for value in values]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("i.csv", "item_id;title\n1;A\n"),
        ("i.csv", "item_id\ttitle\n1\tA\n"),
        ("i.tsv", "item_id,title\n1,A\n"),
        ("i.csv", "item_id|title\n1|A\n"),
        ("i.csv", "item_id,title\n1,A\n".encode("utf-16")),
        ("i.csv", "item_id;title\r\n1;A\r\n".encode("utf-16")),
        ("i.csv", b"\xef\xbb\xbfitem_id,title\n1,A\n"),
        ("i.csv", "item_id,title\r1,A\r"),
        ("i.csv", " item_id , title \n1,A\n"),
        ("i.csv", "item_id,title\n\n1,A\n\n\n"),
        ("i.ndjson", b'\xef\xbb\xbf{"item_id": 1, "title": "A"}\n'),
        ("i.json", '{"item_id": 1, "title": "A"}\n'),
        ("i.json", '[{"item_id": 1,\n "title": "A"}]'),
        ("i.json", b'\xef\xbb\xbf [{"item_id": 1, "title": "A"}]'),
    ],
)
def test_other_programs_files_are_read(tmp_path: Path, name: str, content: str | bytes) -> None:
    plain = content.encode() if isinstance(content, str) else content
    packed = {"": plain, ".gz": gzip.compress(plain), ".zst": pa.compress(plain, codec="zstd", asbytes=True)}
    for suffix, stored in packed.items():
        found = read_table(written(tmp_path, name + suffix, stored), "items")
        assert found.select("item_id", "title").rows() == [("1", "A")], suffix


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("i.csv", "item_id,title\n1,A\n".encode("utf-16-le"), "zero bytes.*UTF-16 without its mark"),
        ("i.csv", b"\xff\xfea", "begins as UTF-16"),
        ("i.csv", "item_id,title\n1,caf\u00e9\n".encode("latin-1"), "line 2 is not UTF-8"),
        ("i.csv", 'item_id,title\n1,"x\n2,caf\u00e9" y\n'.encode("latin-1"), "not UTF-8"),
        ("i.csv", "item_id,title,title\n1,A,B\n", "its header has 'title' 2 times"),
        ("i.csv", "item_id,title,*\n1,A,B\n", r"column '\*', a name that stands for other columns"),
        ("i.csv", "item_id,title,^x$\n1,A,B\n", r"column '\^x\$', a name that stands for other columns"),
        ("i.csv", "Item_ID,Title\n1,A\n", r'map it: item_columns=\{"item_id": "Item_ID"\}'),
        ("i.json", "[1, 2]", "its array holds other values than objects"),
        ("i.json", '[{"item_id": 1}, ', "not valid JSON"),
        ("i.json", "[" * 100_000, "JSON nested deeper|nested too deep"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, content: str | bytes, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        read_table(written(tmp_path, name, content), "items")


def test_a_file_of_another_separator_is_told_of_without_polars(tmp_path: Path) -> None:
    found = how_written(written(tmp_path, "i.csv", "a;b\n1;2\n"), "CSV")
    assert (found.separator, found.quoted, found.line_end) == (";", True, "\n")
    with pytest.raises(UnreadableError, match="zero bytes"):
        how_written(written(tmp_path, "i.csv", b"\0"), "CSV")


@pytest.mark.parametrize("word", ["NA", "NULL", "NaN", "nan", "null", "N/A", "None", "<NA>", "#N/A", "\\N", '""', ""])
def test_a_word_for_none_makes_no_text_of_numbers(tmp_path: Path, word: str) -> None:
    rows = f"item_id,title,price,year,new,brand\n1,A,3.5,1999,true,Acme\n2,B,{word},{word},{word},{word}\n"
    found = read_table(written(tmp_path, "i.csv", rows), "items")
    assert found["price"].to_list() == [3.5, None]
    assert found["year"].to_list() == [1999, None]
    assert found["new"].to_list() == [True, None]
    # Beside texts only what no text is: "NA" may be a country, and "None" a kind of cuisine.
    kept = word in ("NA", "null", "N/A", "None")
    assert found["brand"].to_list() == ["Acme", word if kept else None]


def test_a_word_for_none_beside_json_numbers_and_no_numbers_are_none(tmp_path: Path) -> None:
    rows = [{"item_id": "1", "title": "A", "price": 3, "zip": "10"}, {"item_id": "2", "title": "B", "price": "NULL"}]
    found = read_table(written(tmp_path, "i.ndjson", "\n".join(map(json.dumps, rows))), "items")
    assert found["price"].to_list() == [3, None]
    assert found["zip"].to_list() == ["10", None]  # written as a string, and no word for none beside it
    frame = pl.DataFrame({"item_id": ["1", "2"], "title": ["A", "B"], "price": [float("nan"), 2.0]})
    assert read_table(frame, "items")["price"].to_list() == [None, 2.0]


@pytest.mark.parametrize("word", ["NULL", "\\N", "<NA>", "#N/A"])
def test_a_word_for_none_is_no_id(tmp_path: Path, word: str) -> None:
    rows = f"user_id,item_id,timestamp,event_id\n{word},1,5,a\nu,1,{word},{word}\nu,2,5,{word}\n"
    found = read_table(written(tmp_path, "e.csv", rows), "events")
    assert found["user_id"].to_list() == [None, "u", "u"]
    assert found["timestamp"].to_list() == ["5", None, "5"]
    assert found["event_id"].to_list() == ["a", None, None]  # else two of them would be one event


def test_columns_of_texts_that_begin_with_a_number_stay_texts() -> None:
    assert infer_type(pl.Series(["1", "NA", "x"])).to_list() == ["1", "NA", "x"]
    assert infer_type(pl.Series(["NA", "NA"])).to_list() == ["NA", "NA"]
    assert infer_type(pl.Series(["007", "NA"])).to_list() == ["007", "NA"]


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ([20240131, None], datetime(2024, 1, 31, tzinfo=UTC)),
        (["20240131", "20240201"], datetime(2024, 1, 31, tzinfo=UTC)),
        ([20240131.0], datetime(2024, 1, 31, tzinfo=UTC)),
        ([20240131235959], datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC)),
        (["20240131235959"], datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC)),
        ([20240131, 1_706_659_200], datetime(1970, 8, 23, 6, 15, 31, tzinfo=UTC)),  # seconds all the same
        ([20241301], datetime(1970, 8, 23, 6, 35, 1, tzinfo=UTC)),  # no date
        ([1_706_659_200], datetime(2024, 1, 31, tzinfo=UTC)),
    ],
)
def test_dates_written_as_numbers_are_dates(raw: list[Any], found: datetime) -> None:
    assert parse_timestamps(pl.Series(raw))[0] == found


def test_ids_that_were_floats_are_those_of_other_files(tmp_path: Path) -> None:
    written(tmp_path, "a/i.csv", "item_id,title\n12.0,A\n13.0,B\n")
    pl.DataFrame({"item_id": [12.0, None], "title": ["A", "C"]}).write_parquet(tmp_path / "a" / "i.parquet")
    pl.DataFrame({"item_id": [12, 14], "title": ["A", "D"]}).write_parquet(tmp_path / "a" / "j.parquet")
    assert read_table(tmp_path / "a", "items")["item_id"].to_list() == ["12", "13", "12", None, "12", "14"]
    assert as_ids(pl.Series(["12.0", "v1.0"])).to_list() == ["12.0", "v1.0"]
    assert as_ids(pl.Series([1.5, 2.0])).to_list() == ["1.5", "2.0"]


def test_categories_are_texts_in_lists_too() -> None:
    kinds: dict[str, Any] = {"categorical": pl.Categorical, "enum": pl.Enum(["x", "y"]), "text": pl.String}
    found = [
        read_table(
            pl.DataFrame({"item_id": ["1"], "title": ["A"], "of": pl.Series([["x", "y"]], dtype=pl.List(kind))}),
            "items",
        ).drop(FILE)
        for kind in kinds.values()
    ]
    assert all(one.equals(found[2]) and one.schema == found[2].schema for one in found)


def test_a_partitioned_folder_keeps_what_its_folders_say(tmp_path: Path) -> None:
    events = pl.DataFrame({"user_id": ["u"], "item_id": ["1"], "timestamp": [5]})
    for day, device in (("2024-01-31", "phone"), ("2024-02-01", "__HIVE_DEFAULT_PARTITION__"), ("2024-02-02", "a%20b")):
        folder = tmp_path / "events" / f"day={day}" / f"device={device}"
        folder.mkdir(parents=True)
        events.write_parquet(folder / "part.parquet")
    written(tmp_path, "events/day=2024-02-03/part.csv", "user_id,item_id,timestamp,day\nu,1,5,own\n")
    found = read_table(tmp_path / "events", "events").sort(FILE)
    assert found["day"].to_list() == ["2024-01-31", "2024-02-01", "2024-02-02", "own"]
    assert found["device"].to_list() == ["phone", None, "a b", None]
    assert found[ROW].to_list() == [1, 1, 1, 1]
    for year in (2023, 2024):
        written(tmp_path, f"items/year={year}/part.csv", f"item_id,title\n{year},A\n")
    assert read_table(tmp_path / "items", "items")["year"].to_list() == [2023, 2024]


def test_an_unknown_item_is_named_and_no_user(tmp_path: Path) -> None:
    items = written(tmp_path, "i.csv", "item_id,title\n1,A\n")
    events = written(tmp_path, "e.csv", f"user_id,item_id,timestamp\nu,nowhere,5\nu,1,soon\n{300 * 'x'},1,5\n")
    with pytest.raises(QualityError) as refusal:
        ingest(events, items, Home(tmp_path / "home"))
    told = str(refusal.value)
    assert 'row 1 (line 2), column item_id: unknown item ("nowhere")' in told
    assert 'column timestamp: unparsable timestamp ("soon")' in told
    assert "xxx" not in told


@pytest.mark.parametrize("name", ["t.json", "t.jsonl.zst", "t.csv.gz", "t.pq"])
def test_labelled_texts_are_read_by_the_same_reader(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"text": ["a\u2028b", "c"], "label": ["x", "y"]})
    if name == "t.pq":
        frame.write_parquet(tmp_path / name)
    else:
        plain = frame.write_csv() if "csv" in name else "\n".join(map(json.dumps, frame.to_dicts()))
        packed = {".gz": gzip.compress, ".zst": lambda raw: pa.compress(raw, codec="zstd", asbytes=True)}
        (tmp_path / name).write_bytes(packed.get(Path(name).suffix, bytes)(plain.encode()))
    assert read_labelled(tmp_path / name).equals(frame)


def test_only_a_line_feed_parts_lines_of_labels(tmp_path: Path) -> None:
    path = written(tmp_path, "t.txt", "\ufeffpos good\u2028news\u0085here\r\nneg bad\n")
    assert read_labelled(path).rows() == [("good\u2028news\u0085here", "pos"), ("bad", "neg")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("i.csv", "sep=;\nitem_id;title\n1;A\n"),
        ("i.csv", "\ufeffsep=\t\r\nitem_id\ttitle\r\n1\tA\r\n"),
        ("i.csv", "item_id,title\r1,A\n"),
        ("i.ndjson", '{"item_id": 1, "title": "A"}\n'.encode("utf-16")),
    ],
)
def test_what_excel_and_others_write_before_and_between_rows(tmp_path: Path, name: str, content: str | bytes) -> None:
    found = read_table(written(tmp_path, name, content), "items")
    assert found.select("item_id", "title").rows() == [("1", "A")]


def test_empty_texts_among_others_hold_no_rows_and_alone_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "a/1.csv", "")
    written(tmp_path, "a/2.csv", "item_id,title\n1,A\n")
    assert read_table(tmp_path / "a", "items").height == 1
    written(tmp_path, "a/3.parquet", "")
    with pytest.raises(SourceError, match=r"3\.parquet is empty"):
        read_table(tmp_path / "a", "items")
    written(tmp_path, "b/1.csv", "")
    written(tmp_path, "b/2.csv", "")
    with pytest.raises(SourceError, match=r"1\.csv is empty"):
        read_table(tmp_path / "b", "items")


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("item_id,title,x\n1,A,3\n", "title,x,item_id\nB,4,2\n", [3, 4]),  # another order
        ("item_id,title,x\n1,A,3\n", "item_id,title,y\n2,B,4\n", [3, None]),  # other columns
        ("item_id,title,x\n1,A,3\n", "item_id,title,x\n2,B,4.5\n", [3.0, 4.5]),
        ("item_id,title,x\n1,A,3\n", "item_id,title,x\n2,B,cheap\n", ["3", "cheap"]),
        ("item_id,title,x\n1,A,true\n", "item_id,title,x\n2,B,3\n", ["true", "3"]),  # as in one file
        ("item_id,title,x\n1,A,true\n", "item_id,title,x\n2,B,\n", [True, None]),  # nothing decides nothing
        ("item_id,title,x\n1,A,3\n", "item_id,title,x\n2,B,NULL\n", [3, None]),
        ("item_id,title,x\n1,A,\n", "item_id,title,x\n2,B,\n", [None, None]),
        ("item_id,title\n1,A\n", "item_id;title;x\r\n2;B;3,5\r\n", [None, 3.5]),  # each as it is written
    ],
)
def test_files_of_a_folder_are_one_table(tmp_path: Path, first: str, second: str, found: list[Any]) -> None:
    written(tmp_path, "1.csv", first)
    written(tmp_path, "2.csv", second)
    table = read_table(tmp_path, "items")
    assert table["item_id"].to_list() == ["1", "2"]
    assert table["title"].to_list() == ["A", "B"]
    assert table["x"].to_list() == found
    assert table.schema["x"] != pl.Null


def test_lists_in_one_file_and_texts_in_another_are_told_by_column_and_file(tmp_path: Path) -> None:
    written(tmp_path, "a.ndjson", '{"item_id": "1", "title": "A", "of": ["x"]}\n')
    written(tmp_path, "b.ndjson", '{"item_id": "2", "title": "B", "of": "y"}\n')
    with pytest.raises(SourceError, match=r"of holds List\(String\) in a.ndjson and String in b.ndjson"):
        read_table(tmp_path, "items")


def test_maps_are_refused_as_other_nested_values_are(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    of = pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"item_id": ["1"], "title": ["A"], "of": of}), tmp_path / "i.parquet")
    with pytest.raises(SourceError, match=r"column 'of' holds Map\(String, String\)"):
        read_table(tmp_path / "i.parquet", "items")


def test_labels_and_pairs_know_ids_and_numbers_as_events_do(tmp_path: Path) -> None:
    from recsys.data.pairs import read_pairs

    pl.DataFrame({"text": ["a"], "label": [1.0]}).write_parquet(tmp_path / "t.parquet")
    assert read_labelled(tmp_path / "t.parquet").rows() == [("a", "1")]
    pairs = written(tmp_path, "p.csv", "query;item_id;weight\na;12.0;1,5\nb;13.0;2\n")
    assert read_pairs(pairs).rows() == [("a", "12", 1.5), ("b", "13", 2.0)]
    pl.DataFrame({"text": [["a"]], "label": ["x"]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"t\.parquet, column 'text' holds List\(String\); text can be kept"):
        read_labelled(tmp_path / "t.parquet")
