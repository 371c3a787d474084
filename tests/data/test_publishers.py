"""Data sets as their publishers ship them, each on a few rows of exactly that form, with what goes wrong in it."""

import gzip
import json
import re
import tarfile
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.config import LimitsConfig
from recsys.data.ingest import ingest
from recsys.data.movielens import GENRES, read_grouplens, read_grouplens_users
from recsys.data.publishers.prepared import DATASETS, prepared
from recsys.data.snapshot import Snapshot
from recsys.data.sources import SourceError
from recsys.errors import SettingError
from recsys.home import Home

Files = Mapping[str, str | bytes]


def lines(*records: Any) -> str:
    return "".join(f"{json.dumps(one)}\n" for one in records)


def literals(*records: Any) -> str:
    return "".join(f"{one!r}\n" for one in records)


def flags(*genres: str) -> str:
    return "|".join("1" if name in genres else "0" for name in GENRES)


MOVIELENS_100K = {
    "u.data": "196\t242\t3\t881250949\n186\t302\t5\t891717742\n196\t302\t1\t881250950\n",
    "u.item": (
        f"242|Kolya (1996)|24-Jan-1997||http://us.imdb.com/M/title-exact?Kolya%20(1996)|{flags('Comedy')}\n"
        f"302|Misérables, Les (1995)|01-Jan-1995||http://x|{flags('Drama', 'Musical')}\n"
    ).encode("latin-1"),
    "u.user": "196|49|M|writer|55105\n186|39|F|executive|00000\n",
}
MOVIELENS_1M = {
    "ratings.dat": "1::1193::5::978300760\n2::3952::3::978302109\n1::3952::4::978300761\n",
    "movies.dat": (
        "One Flew Over the Cuckoo's Nest (1975)".join(["1193::", "::Drama\n"])
        + '3952::Contender, The (2000)::Drama|Thriller\n7::"Café" (1999)::Comedy\n'
    ).encode("latin-1"),
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
}
MOVIELENS_32M = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,17,4.0,944249077\n1,25,1.5,944250228\n2,25,3.0,944250229\n",
    "movies.csv": (
        'movieId,title,genres\n17,Sense and Sensibility (1995),Drama|Romance\n25,"American President, The (1995)",'
        '(no genres listed)\n26,"11\'09""01 - September 11 (2002)",Drama\n'
    ),
    "links.csv": "movieId,imdbId,tmdbId\n17,0114388,4584\n",
    "tags.csv": "userId,movieId,tag,timestamp\n1,17,classic,1443148532\n",
}
REVIEW = {"reviewerID": "A1", "asin": "0000031887", "overall": 5.0, "unixReviewTime": 1369699200, "reviewText": "Fine."}
AMAZON_2014 = {
    "reviews_Toys_5.json.gz": gzip.compress(
        lines(
            REVIEW,
            REVIEW | {"overall": 2.0},
            REVIEW | {"asin": "B000000001", "reviewerID": "A2"},
            REVIEW | {"asin": "B000000002"},
            REVIEW | {"asin": "B000009999"},
        ).encode()
    ),
    "meta_Toys.json.gz": gzip.compress(
        literals(
            {
                "asin": "0000031887",
                "title": 'Tom\'s "Ballet" &amp; Skirt',
                "categories": [["Clothing", "Girls"], ["Clothing", "Costumes"]],
                "description": "<b>Soft</b> and\nnice",
                "price": 7.98,
                "brand": "Coxlures",
            },
            {"asin": "0000031887", "title": "Skirt", "categories": [["Clothing"]]},
            {"asin": "B000000001", "categories": [["Toys", "Puzzles"]], "brand": "Acme"},
            {"asin": "B000000002", "categories": [[]]},
        ).encode()
    ),
}
AMAZON_2018 = {
    "Toys_5.json.gz": gzip.compress(lines(REVIEW | {"verified": True, "vote": "2"}, REVIEW | {"asin": "B01"}).encode()),
    "meta_Toys.json.gz": gzip.compress(
        lines(
            {
                "asin": "0000031887",
                "title": "Slime",
                "category": ["Toys", "Slime"],
                "brand": "Goo",
                "description": ["Sticky.", "Green."],
                "price": "$1,007.98",
            },
            {"asin": "B01", "title": "var aPageStart = (new Date()).getTime();", "category": ["Toys"], "brand": "Goo"},
        ).encode()
    ),
}
AMAZON_2023 = {
    "Beauty.jsonl": lines(
        {"user_id": "AG", "asin": "B1", "parent_asin": "B0", "rating": 4.0, "timestamp": 1588687728923, "title": "Ok"},
        {"user_id": "AH", "asin": "B2", "parent_asin": "B0", "rating": 1.0, "timestamp": 1588687728924, "title": "No"},
    ),
    "meta_Beauty.jsonl": lines(
        {
            "parent_asin": "B0",
            "title": 'Howard \u201cLC\u201d 12" Comb',
            "main_category": "All Beauty",
            "categories": [],
            "store": "Howard",
            "description": [],
            "price": None,
            "details": {"UPC": "1"},
        }
    ),
}
MIND = {
    "MINDsmall_train/behaviors.tsv": (
        "1\tU1\t11/13/2019 8:36:57 AM\tN9 N8\tN1-1 N2-0\n2\tU2\t11/13/2019 12:05:00 PM\t\tN2-0 N1-0\n"
    ),
    "MINDsmall_train/news.tsv": (
        'N1\tlifestyle\troyals\tThe "Brands the Queen\tShop "now.\thttps://x\t[]\t[{"Label": "Shop"}]\n'
        "N2\tnews\tworld\tTwo\t\thttps://y\t[]\t[]\n"
    ),
    "MINDsmall_dev/behaviors.tsv": (
        "1\tU1\t11/15/2019 9:00:00 AM\tN9\tN3-1 N1-0\n2\tU3\t11/15/2019 9:00:01 AM\t\tN1 N3\n"
    ),
    "MINDsmall_dev/news.tsv": (
        "N3\tsports\tgolf\tThree\tA day\thttps://z\t[]\t[]\nN2\tnews\tworld\tTwo\t\thttps://y\t[]\t[]\n"
    ),
}
GOODBOOKS = {
    "ratings.csv": "user_id,book_id,rating\n1,258,5\n2,4081,4\n2,258,2\n",
    "books.csv": (
        "book_id,goodreads_book_id,authors,original_publication_year,original_title,title,language_code\n"
        '258,2767052,"Carlos Ruiz Zafón, Lucia Graves",2001.0,La sombra del viento,"The ""Shadow"", of the Wind",eng\n'
        '4081,3,J.K. Rowling,,"Harry ""P""",,\n'
    ),
    "to_read.csv": "user_id,book_id\n1,4081\n",
    "tags.csv": "tag_id,tag_name\n1,to-read\n2,magical-realism\n3,spain\n",
    "book_tags.csv": "goodreads_book_id,tag_id,count\n2767052,1,900\n2767052,3,5\n2767052,2,40\n",
}
GAMES = literals(
    {
        "publisher": "Kotoshiro",
        "genres": ["Action", "Indie"],
        "app_name": "Lost Kitty",
        "title": "Lost Kitty",
        "release_date": "2018-01-04",
        "tags": ["Strategy"],
        "price": 4.99,
        "id": "761140",
        "developer": "Köt’",
    },
    {"app_name": 'The "Untitled"', "price": "Free To Play", "id": "010", "release_date": "Jun 2009"},
    {"price": 1.0, "genres": ["Action"]},
).replace("'app_name'", "u'app_name'")
STEAM = {
    "steam_reviews.json.gz": gzip.compress(
        literals(
            {"username": "Chaos Syren", "hours": 0.1, "product_id": "010", "date": "2017-12-17", "text": 'It\'s "ok"'},
            {"username": "Chaos Syren", "hours": 0.1, "product_id": "010", "date": "2017-12-17", "text": "again"},
            {"username": "Bob", "user_id": "7", "product_id": "761140", "date": "2017-12-18", "text": ""},
        ).encode()
    ),
    "steam_games.json.gz": gzip.compress(GAMES.encode()),
}
AUSTRALIA = {
    "australian_users_items.json": literals(
        {
            "user_id": "js41637",
            "items_count": 2,
            "steam_id": "76561198035864385",
            "items": [
                {"item_id": "010", "item_name": "U", "playtime_forever": 6, "playtime_2weeks": 0},
                {"item_id": "761140", "item_name": "L", "playtime_forever": 0, "playtime_2weeks": 0},
            ],
        },
        {"user_id": "nobody", "items_count": 0, "steam_id": "1", "items": []},
    ),
    "output_steam_games.json": GAMES,
}
HM = {
    "transactions_train.csv": (
        "t_dat,customer_id,article_id,price,sales_channel_id\n2018-09-20,c1,0663713001,0.0508,2\n"
        "2018-09-20,c1,0663713001,0.0305,2\n2018-09-21,c2,0541518023,0.0305,1\n"
    ),
    "articles.csv": (
        "article_id,product_code,prod_name,product_type_name,colour_group_name,detail_desc\n"
        '0663713001,663713,"Strap ""S"" top",Vest top,Black,"Jersey top, narrow"\n0541518023,541518,Rae,Bra,White,\n'
    ),
    "customers.csv": (
        "customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code\nc1,,,ACTIVE,NONE,49.0,aa\n"
        "c2,1.0,1.0,ACTIVE,None,,bb\n"
    ),
}
PLAY = repr({"username": "a", "product_id": "010", "date": "2017-01-01"})
SHIPPED: dict[str, Files] = {
    "movielens-100k": MOVIELENS_100K, "movielens-1m": MOVIELENS_1M, "movielens-32m": MOVIELENS_32M,
    "amazon-2014": AMAZON_2014, "amazon-2018": AMAZON_2018, "amazon-2023": AMAZON_2023, "mind": MIND,
    "goodbooks-10k": GOODBOOKS, "steam": STEAM, "steam-australia": AUSTRALIA, "hm": HM,
}  # fmt: skip


def shipped(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def taken(folder: Path, name: str, **others: str | bytes) -> tuple[Snapshot, tuple[str, ...]]:
    """Ingest a data set with the default settings; the quarantine stays empty."""
    place = shipped(folder / "shipped", {**SHIPPED[name], **others})
    with prepared(name, place, folder) as tables:
        snapshot = ingest(tables.events, tables.items, Home(folder / "home"), users=tables.users)
        assert snapshot.quarantine().is_empty()
        scratch = tables.events.parent
    assert not scratch.exists()
    return snapshot, tables.notes


def rows(table: pl.DataFrame | None, *names: str) -> list[tuple[Any, ...]]:
    assert table is not None
    return table.select(names).rows()


def test_every_data_set_has_files_to_be_tried_on() -> None:
    assert set(SHIPPED) == set(DATASETS)
    assert all(one.terms.endswith((".", ")")) and one.page.startswith("https://") for one in DATASETS.values())


def test_the_page_has_them_all() -> None:
    page = (Path(__file__).parents[2] / "recsys" / "README.md").read_text()
    section = page.partition("### Public data sets")[2].partition("###")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")][1:]
    assert [name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row[1])] == list(DATASETS)
    listed = {
        name for row in rows for name in re.findall(r"`([^`]+\.(?:csv|tsv|dat|json|jsonl|data|item|user))`", row[2])
    }
    files = {part.file for one in DATASETS.values() for part in one.parts}
    assert listed == files - {"*steam_games.json"} | {"steam_games.json"}


def test_movielens_100k_is_what_its_archive_is(tmp_path: Path) -> None:
    snapshot, _ = taken(tmp_path, "movielens-100k")
    archive = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for name, stored in MOVIELENS_100K.items():
            content.writestr(f"ml-100k/{name}", stored)
    events, items = read_grouplens(archive.read_bytes())
    (users,) = read_grouplens_users(archive.read_bytes())
    assert ingest(events, items, Home(tmp_path / "home"), users=users).id == snapshot.id
    with prepared("movielens-100k", archive, tmp_path) as tables:
        assert ingest(tables.events, tables.items, Home(tmp_path / "home"), users=tables.users).id == snapshot.id
    assert "Les Misérables" in snapshot.items()["title"].to_list()


def test_movielens_1m(tmp_path: Path) -> None:
    snapshot, _ = taken(tmp_path, "movielens-1m")
    assert rows(snapshot.items(), "item_id", "title", "year", "genres") == [
        ("1193", "One Flew Over the Cuckoo's Nest", 1975, ["Drama"]),
        ("3952", "The Contender", 2000, ["Drama", "Thriller"]),
        ("7", '"Café"', 1999, ["Comedy"]),
    ]
    assert rows(snapshot.users(), "user_id", "sex", "age", "occupation", "zip") == [
        ("1", "F", "under 18", "K-12 student", "48067"),
        ("2", "M", "56 or more", "self-employed", "70072"),
    ]
    assert snapshot.events()["timestamp"].min() == datetime(2000, 12, 31, 22, 12, 40, tzinfo=UTC)


def test_movielens_32m(tmp_path: Path) -> None:
    snapshot, notes = taken(tmp_path, "movielens-32m")
    assert rows(snapshot.items(), "item_id", "title", "year", "genres") == [
        ("17", "Sense and Sensibility", 1995, ["Drama", "Romance"]),
        ("25", "The American President", 1995, []),
        ("26", "11'09\"01 - September 11", 2002, ["Drama"]),
    ]
    assert rows(snapshot.events(), "user_id", "item_id", "value")[0] == ("1", "17", 4.0)
    assert any("tags.csv are left out" in note for note in notes)


def test_amazon_2014(tmp_path: Path) -> None:
    snapshot, notes = taken(tmp_path, "amazon-2014")
    assert rows(snapshot.items(), "item_id", "title", "brand", "categories", "description", "price") == [
        (
            *("0000031887", 'Tom\'s "Ballet" & Skirt', "Coxlures", ["Clothing", "Girls", "Costumes"]),
            *("Soft and nice", 7.98),
        ),
        ("B000000001", "Acme Puzzles", "Acme", ["Toys", "Puzzles"], None, None),
    ]
    assert rows(snapshot.events(), "user_id", "item_id", "value", "event_type") == [
        ("A1", "0000031887", 5.0, "rating"),
        ("A2", "B000000001", 5.0, "rating"),
    ]
    assert "Left out: 2 rows of items, without a title or of an item that stays." in notes
    assert "Left out: 2 events, of 2 items that no file describes." in notes


def test_amazon_2018(tmp_path: Path) -> None:
    snapshot, _ = taken(tmp_path, "amazon-2018")
    assert rows(snapshot.items(), "item_id", "title", "description", "price") == [
        ("0000031887", "Slime", "Sticky. Green.", 1007.98),
        ("B01", "Goo Toys", None, None),  # its title was a script
    ]


def test_amazon_2023(tmp_path: Path) -> None:
    snapshot, _ = taken(tmp_path, "amazon-2023")
    assert rows(snapshot.items(), "item_id", "title", "brand") == [("B0", 'Howard “LC” 12" Comb', "Howard")]
    assert snapshot.events()["timestamp"].min() == datetime(2020, 5, 5, 14, 8, 48, 923_000, tzinfo=UTC)


def test_mind(tmp_path: Path) -> None:
    snapshot, notes = taken(tmp_path, "mind")
    assert rows(snapshot.items(), "item_id", "title", "category", "subcategory", "abstract") == [
        ("N1", 'The "Brands the Queen', "lifestyle", "royals", 'Shop "now.'),
        ("N2", "Two", "news", "world", None),
        ("N3", "Three", "sports", "golf", "A day"),
    ]
    assert rows(snapshot.events(), "user_id", "item_id", "event_type", "position") == [
        ("U1", "N1", "click", 1),
        ("U1", "N2", "impression", 2),
        ("U1", "N3", "click", 1),
        ("U1", "N1", "impression", 2),
        ("U2", "N2", "impression", 1),
        ("U2", "N1", "impression", 2),
    ]
    assert snapshot.events()["timestamp"].max() == datetime(2019, 11, 15, 9, tzinfo=UTC)
    assert any("have no times" in note for note in notes)


def test_goodbooks(tmp_path: Path) -> None:
    snapshot, _ = taken(tmp_path, "goodbooks-10k")
    assert not snapshot.times_known
    assert rows(snapshot.items(), "item_id", "title", "authors", "year", "language", "tags") == [
        (
            *("258", 'The "Shadow", of the Wind', ["Carlos Ruiz Zafón", "Lucia Graves"], 2001, "eng"),
            ["magical realism", "spain"],
        ),
        ("4081", 'Harry "P"', ["J.K. Rowling"], None, None, None),
    ]
    assert rows(snapshot.events(), "user_id", "item_id", "event_type", "value", "position") == [
        ("1", "258", "rating", 5.0, 1),
        ("1", "4081", "wishlist", None, 1),
        ("2", "4081", "rating", 4.0, 2),
        ("2", "258", "rating", 2.0, 3),
    ]


def test_goodbooks_in_its_first_release(tmp_path: Path) -> None:
    books = "id,book_id,authors,original_publication_year,original_title,title,language_code\n258,2767052,A,1,O,T,e\n"
    snapshot, _ = taken(tmp_path, "goodbooks-10k", **{"books.csv": books})
    assert rows(snapshot.items(), "item_id", "title", "tags") == [("258", "T", ["magical realism", "spain"])]


def test_steam(tmp_path: Path) -> None:
    snapshot, _ = taken(tmp_path, "steam")
    assert rows(snapshot.items(), "item_id", "title", "genres", "developer", "year", "price") == [
        ("010", 'The "Untitled"', None, None, 2009, None),
        ("761140", "Lost Kitty", ["Action", "Indie"], "Köt’", 2018, 4.99),
    ]
    assert rows(snapshot.events(), "user_id", "item_id", "event_type", "value") == [
        ("Bob", "761140", "play", None),
        ("Chaos Syren", "010", "play", 0.1),
    ]


def test_steam_of_australian_players(tmp_path: Path) -> None:
    snapshot, _ = taken(tmp_path, "steam-australia")
    assert not snapshot.times_known
    assert rows(snapshot.events(), "user_id", "item_id", "event_type", "value") == [
        ("js41637", "010", "play", 6.0),
        ("js41637", "761140", "purchase", None),
    ]


def test_hm(tmp_path: Path) -> None:
    snapshot, _ = taken(tmp_path, "hm")
    assert rows(snapshot.items(), "item_id", "title", "product_type", "colour", "description") == [
        ("0541518023", "Rae", "Bra", "White", None),
        ("0663713001", 'Strap "S" top', "Vest top", "Black", "Jersey top, narrow"),
    ]
    assert rows(snapshot.events(), "user_id", "item_id", "event_type", "value", "quantity", "channel") == [
        ("c1", "0663713001", "purchase", 0.0813, 2, "online"),
        ("c2", "0541518023", "purchase", 0.0305, 1, "store"),
    ]
    assert rows(snapshot.users(), "user_id", "age", "club", "news") == [
        ("c1", 49, "ACTIVE", "None"),
        ("c2", None, "ACTIVE", "None"),
    ]


@pytest.mark.parametrize("name", ["mind", "hm"])
def test_an_archive_is_its_folder(tmp_path: Path, name: str) -> None:
    snapshot, _ = taken(tmp_path, name)
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "shipped", "data")
    with prepared(name, tmp_path / "all.tar.gz", tmp_path) as tables:
        assert ingest(tables.events, tables.items, Home(tmp_path / "home"), users=tables.users).id == snapshot.id


@pytest.mark.parametrize("name", SHIPPED)
def test_what_lacks_is_named_with_where_it_comes_from(tmp_path: Path, name: str) -> None:
    files = dict(SHIPPED[name])
    first = next(iter(files))
    place = shipped(tmp_path / "shipped", {one: files[one] for one in files if Path(one).name != Path(first).name})
    with pytest.raises(SourceError, match=r"there is no .* which .* has") as told, prepared(name, place, tmp_path):
        pass
    assert DATASETS[name].page in str(told.value)
    assert DATASETS[name].parts[0].file in str(told.value)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("movielens-32m", "goodbooks-10k"), ("goodbooks-10k", "movielens-32m"), ("amazon-2014", "amazon-2018"),
        ("amazon-2018", "amazon-2014"), ("steam", "steam-australia"), ("movielens-100k", "movielens-1m"),
    ],
)  # fmt: skip
def test_another_data_set_is_recognised(tmp_path: Path, name: str, other: str) -> None:
    place = shipped(tmp_path / "shipped", SHIPPED[other])
    with pytest.raises(SourceError, match=f"It looks like .*: --dataset {other}."), prepared(name, place, tmp_path):
        pass


def test_a_name_that_does_not_exist_is_told_with_the_nearest(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingError, match=r"Did you mean 'movielens-1m'\?"),
        prepared("MovieLens1M", tmp_path, tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "files", "told"),
    [
        ("steam", {"steam_reviews.json.gz": gzip.compress(f"{PLAY}\n{PLAY[:9]}".encode())}, "gz, line 2 is no object"),
        ("steam", {"steam_reviews.json.gz": f"{PLAY}\n{'[' * 100_000}"}, "nested deeper"),
        ("amazon-2023", {"Beauty.jsonl": "__import__('os').system('true')\n"}, "its first line is no object"),
        ("movielens-1m", {"ratings.dat": "1::2::3\n"}, "ratings.dat has 3 fields a line, and MovieLens 1M 4"),
        ("movielens-1m", {"more/ratings.dat": MOVIELENS_1M["ratings.dat"]}, "ratings.dat is there more than once"),
        ("movielens-32m", {"ratings.csv": "userId,movieId,rating,timestamp\n1,17,good,1\n"}, "cannot be read as Movie"),
        ("hm", {"articles.csv": ""}, "articles.csv is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_where(tmp_path: Path, name: str, files: Files, told: str) -> None:
    place = shipped(tmp_path / "shipped", {**SHIPPED[name], **files})
    with pytest.raises(SourceError, match=told), prepared(name, place, tmp_path):
        pass


def test_a_place_that_is_none_and_an_archive_that_swells_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_text("no archive")
    for path, told in ((tmp_path / "absent", "does not exist"), (tmp_path / "file.zip", "no folder and no archive")):
        with pytest.raises(SourceError, match=told), prepared("hm", path, tmp_path):
            pass
    with (
        zipfile.ZipFile(tmp_path / "hm.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("articles.csv", "w") as file,
    ):
        for _ in range(300):
            file.write(b" " * (1 << 20))
    with (
        pytest.raises(SourceError, match="many times larger unpacked"),
        prepared("hm", tmp_path / "hm.zip", tmp_path, LimitsConfig(max_expansion=1.0)),
    ):
        pass


def test_only_what_may_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = shipped(tmp_path / "shipped", HM)
    monkeypatch.setenv("RECSYS_SOURCES", str(tmp_path / "elsewhere"))
    with pytest.raises(SourceError, match="not in a folder that may be read"), prepared("hm", place, tmp_path):
        pass
