"""Tables of texts to tables of vectors: what is read, that a killed run goes on, that an export is made once."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from recsys.config import LoraConfig
from recsys.data.sources import SourceError
from recsys.errors import VectorError
from recsys.home import Home
from recsys.models.encoder.backbone import BaseModelError, load_backbone
from recsys.serving.new_texts import Encoder
from recsys.store.exports import delete_encoders, list_encoders, open_encoder
from recsys.store.generations import current_id, read_generation
from recsys.texts import tables as embedding
from recsys.texts.tables import embed_table, read_texts
from recsys.texts.vectors import TextVectors

BASE = LoraConfig().base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TextVectors:
    return TextVectors.of_base(Home(tmp_path_factory.mktemp("encoders")), BASE, 32)


@pytest.fixture
def place(home: Home, tmp_path: Path) -> Home:
    ignored = shutil.ignore_patterns("runs", "cache", "encoders", "events.db*")
    return Home(Path(shutil.copytree(home.root, tmp_path / "home", ignore=ignored)))


def table(rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": [f"t{row}" for row in range(rows)], "text": [f"text number {row}" for row in range(rows)]}
    )


def test_lines_tables_and_catalogues_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first\n\nthird é\n")
    assert read_texts(tmp_path / "a.txt").rows() == [("1", "first"), ("2", ""), ("3", "third é")]
    (tmp_path / "b.csv").write_text("id,text,other\n007,a,x\n8,,y\n")
    assert read_texts(tmp_path / "b.csv").rows() == [("007", "a"), ("8", "")]
    assert read_texts(tmp_path / "b.csv", "other", "id").rows() == [("x", "007"), ("y", "8")]
    items = pl.DataFrame({"item_id": ["i", "j"], "title": ["Heat", "Up"], "genres": [["Crime"], ["Family", "Comedy"]]})
    items.write_parquet(tmp_path / "c.parquet")
    read = read_texts(tmp_path / "c.parquet").rows()
    assert read == [("i", "Heat | genres: Crime"), ("j", "Up | genres: Family, Comedy")]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("name\na\n", {}, "neither 'text' nor 'title'"),
        ("id,text\n1,a\n1,b\n", {}, "is there twice"),
        ("id,text\n", {}, "holds no text"),
        ("id,text\n1,a\n", {"text_column": "words"}, "no column 'words'"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: str, options: dict[str, str], message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(SourceError, match=message):
        read_texts(tmp_path / "a.csv", **options)


def test_a_killed_run_goes_on_where_it_was(base: TextVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "PART_ROWS", 8)
    whole = embed_table(table(20), base, tmp_path / "whole.parquet")
    assert (whole.rows, whole.dimensions, whole.resumed) == (20, 384, 0)
    out = tmp_path / "out.parquet"

    def killed(done: int, total: int) -> None:
        if done > 16:  # while the third part is encoded
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_table(table(20), base, out, killed)
    assert not out.exists()
    assert embed_table(table(20), base, out).resumed == 16
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert embed_table(table(19), base, out).resumed == 0  # other texts begin anew
    written = pl.read_parquet(out)
    assert written.schema == {"id": pl.String, "vector": pl.Array(pl.Float32, 384)}
    np.testing.assert_allclose(np.linalg.norm(written["vector"].to_numpy(), axis=1), 1, atol=1e-5)


def test_a_vector_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    broken = load_backbone(BASE, torch.device("cpu"))
    word = broken.tokenizer("banana", add_special_tokens=False)["input_ids"][0]
    with torch.no_grad():
        broken.model.embeddings.word_embeddings.weight[word] = float("nan")
    broken.model.save_pretrained(tmp_path / "base")
    broken.tokenizer.save_pretrained(tmp_path / "base")
    vectors = TextVectors.of_base(Home(tmp_path / "home"), str(tmp_path / "base"), 32)
    texts = table(3).with_columns(text=pl.Series(["apple", "banana", "cherry"]))
    with pytest.raises(VectorError, match=r"1 of 3 texts.*'t1'"):
        embed_table(texts, vectors, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_generation_and_its_adapter_give_the_same_vectors_and_export_once(place: Home) -> None:
    _, manifest = read_generation(place, str(current_id(place)))
    encoder = Encoder.open(place, manifest.id)
    exports = list_encoders(place)
    assert sorted(str(card.adapter) for card in exports.values()) == sorted(["None", manifest.adapter])
    stamps = {path: path.stat().st_mtime_ns for path in place.encoders.rglob("*") if path.name != ".lock"}
    vectors = TextVectors.of_adapter(place, manifest.adapter)
    assert stamps == {path: path.stat().st_mtime_ns for path in place.encoders.rglob("*") if path.name != ".lock"}
    texts = ["a haunted cellar", "a kiss"]
    before = encoder.encode(texts)
    np.testing.assert_array_equal(vectors.encode(texts), before)
    np.testing.assert_allclose(np.linalg.norm(vectors.unit_vectors(texts), axis=1), 1, atol=1e-5)

    export = place.encoders / next(iter(exports))
    weights = max(export.iterdir(), key=lambda file: file.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-10])  # damaged: made again
    np.testing.assert_array_equal(Encoder.open(place, manifest.id).encode(texts), before)
    assert len(delete_encoders(place, manifest.adapter)) == 1
    assert [card.adapter for card in list_encoders(place).values()] == [None]


def test_a_killed_export_leaves_nothing_that_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Home(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recsys.models.encoder.export.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        open_encoder(place, BASE, 32)
    assert list_encoders(place) == {}
    monkeypatch.undo()
    assert open_encoder(place, BASE, 32).encode(["a text"]).shape == (1, 384)


def test_another_base_than_the_adapters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=f"{BASE} that is installed here"):
        open_encoder(Home(tmp_path), BASE, 32, base_digest="0" * 64, adapter_id="abc")
