"""Manifests and cards: written as ever, read whatever version wrote them, and refused by name where they are broken."""

import json

import pytest

from recsys.artifacts import MANIFEST, ArtifactError, digest
from recsys.home import Home
from recsys.store.adapters import read_card, save_adapter, verify_adapter
from recsys.store.generations import commit_generation, list_generations, read_generation
from recsys.store.manifests import CARD, CLASSIFICATION, AdapterCard, GenerationManifest, IndexReference, TextFile

WEIGHTS = b"weights"
FILES = {"weights.bin": digest(WEIGHTS)}
PEFT = {"adapter_model.safetensors": digest(WEIGHTS)}
INDEX = {"table": "items-1", "version": 3, "rows": 2, "dimensions": 4, "digest": "3" * 64}
# As version 0.1.0 has written them; the ids are those that it has given.
GENERATION = {
    "id": "db8beb388efc9c62",
    "snapshot": "1" * 16,
    "adapter": "4" * 16,
    "index": INDEX | {"probes": 7},
    "settings": {"seed": 0},
    "files": FILES,
    "notes": {"seconds": 1.5, "flow_run": "a run"},
}
RECOMMENDER = {
    "id": "7bcfdf970d6c678b",
    "task": "recommendation",
    "base": "a base",
    "base_digest": "0" * 64,
    "snapshot": "1" * 16,
    "settings": {"adapter": {"base": "a base"}, "seed": 0},
    "protocol": "temporal",
    "training": {"rounds": 2, "first_loss": 1.5, "last_loss": 1.0},
    "metrics": {"recsys": {"ndcg@10": 0.5}},
    "parent": None,
    "files": PEFT,
}
CLASSIFIER = {
    "id": "63a0925ded1a396b",
    "task": "classification",
    "base": "a base",
    "base_digest": "0" * 64,
    "snapshot": None,
    "protocol": None,
    "settings": {"rank": 16, "seed": 0},
    "labels": ["no", "yes"],
    "data": {"train": {"sha256": "2" * 64, "texts": 3}},
    "training": {"history": [], "epochs": 1},
    "metrics": {"dev": {"accuracy": 1.0}},
    "parent": None,
    "files": PEFT,
}
BARE = {"id": "8694f977bef4c9fb", "task": "pretraining", "base": "a base", "files": PEFT}  # all other fields lacking
OLD_GENERATION = GENERATION | {"index": INDEX}  # from before searches were measured
FURTHER = GENERATION | {"id": "5fab7c45954774da", "signature": "by hand"}  # a field of some other version


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def stored_generation(home, manifest):
    folder = home.generations / str(manifest["id"])
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(WEIGHTS)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder / MANIFEST


def stored_adapter(home, card):
    folder = home.adapters / str(card["id"])
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (folder / CARD).write_text(json.dumps(card))
    return folder / CARD


@pytest.mark.parametrize("written", [GENERATION, OLD_GENERATION, FURTHER], ids=["as now", "older", "other"])
def test_a_generation_of_another_version_opens_and_verifies(home, written):
    stored_generation(home, written)
    _, manifest = read_generation(home, written["id"], verify=True)
    assert (manifest.snapshot, manifest.adapter, manifest.flow_run) == ("1" * 16, "4" * 16, "a run")
    assert manifest.index == IndexReference("items-1", 3, 2, 4, "3" * 64, written["index"].get("probes"))
    assert manifest.config.seed == 0
    assert manifest.to_dict() == written | {"index": INDEX | {"probes": manifest.index.probes}}


def test_a_generation_without_notes_has_none(home):
    stored_generation(home, {name: value for name, value in GENERATION.items() if name != "notes"})
    _, manifest = read_generation(home, GENERATION["id"], verify=True)
    assert manifest.flow_run is None
    assert "notes" not in manifest.to_dict()


@pytest.mark.parametrize("written", [RECOMMENDER, CLASSIFIER, BARE], ids=["recommender", "classifier", "bare"])
def test_a_card_of_another_version_opens_and_verifies(home, written):
    stored_adapter(home, written)
    verify_adapter(home, written["id"])
    card = read_card(home, written["id"])
    assert (card.task, card.base, card.parent) == (written["task"], "a base", None)
    assert card.to_dict() == written


def test_the_same_content_gives_the_ids_of_old(home):
    index = IndexReference("items-1", 99, 2, 4, "3" * 64, probes=None)
    manifest = GenerationManifest(
        snapshot="1" * 16, adapter="4" * 16, index=index, settings={"seed": 0}, notes={"x": 1}
    )
    staging = home.generations / "staging"
    staging.mkdir(parents=True)
    (staging / "weights.bin").write_bytes(WEIGHTS)
    assert commit_generation(home, staging, manifest) == GENERATION["id"]

    def write(folder):
        (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)

    for written in (RECOMMENDER, CLASSIFIER):
        fields = {name: value for name, value in written.items() if name not in ("id", "files")}
        if "data" in fields:
            fields["data"] = {name: TextFile(**part) for name, part in fields["data"].items()}
        assert save_adapter(home, write, AdapterCard(**fields)) == written["id"]
        assert read_card(home, written["id"]).to_dict() == written
    assert read_card(home, CLASSIFIER["id"]).task == CLASSIFICATION


BROKEN = [
    ({"snapshot": None}, "snapshot is None, not text"),
    ({"index": "items-1"}, "index is 'items-1', not an object"),
    ({"index": INDEX | {"version": "3"}}, "index.version is '3', not a whole number"),
    ({"index": INDEX | {"version": True}}, "index.version is True, not a whole number"),
    ({"index": INDEX | {"shards": 2}}, "index.shards is unknown"),
    ({"index": {"table": "items-1"}}, "index.version is missing"),
    ({"files": ["weights.bin"]}, r"files is \['weights.bin'\], not an object"),
    ({"files": {"weights.bin": 1}}, r"files\.weights\.bin is 1, not text"),
]


@pytest.mark.parametrize(("change", "said"), BROKEN, ids=[said for _, said in BROKEN])
def test_a_broken_manifest_is_refused_by_file_and_field(home, change, said):
    path = stored_generation(home, GENERATION | change)
    with pytest.raises(ArtifactError, match=rf"{path} is not as it was written: {said}\. .*roll back"):
        read_generation(home, GENERATION["id"])
    assert list_generations(home) == []  # and it hides no other


@pytest.mark.parametrize("name", ["id", "snapshot", "adapter", "index", "settings"])
def test_a_manifest_without_what_a_generation_needs_is_refused(home, name):
    path = stored_generation(home, GENERATION)
    path.write_text(json.dumps({key: value for key, value in GENERATION.items() if key != name}))
    with pytest.raises(ArtifactError, match="it names another" if name == "id" else f"{path} .*: {name} is missing"):
        read_generation(home, GENERATION["id"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base": 5}, "base is 5, not text"),
        ({"protocol": "by taste"}, "protocol is 'by taste', not 'leave-one-out' or 'temporal' or 'cold-items' or null"),
        ({"labels": "yes"}, "labels is 'yes', not a list or null"),
        ({"labels": ["yes", 2]}, r"labels\[1\] is 2, not text"),
        ({"metrics": []}, r"metrics is \[\], not an object"),
    ],
)
def test_a_broken_card_is_refused_by_file_and_field(home, change, said):
    path = stored_adapter(home, RECOMMENDER | change)
    with pytest.raises(ArtifactError, match=rf"{path} is not as it was written: {said}\. Remove"):
        read_card(home, RECOMMENDER["id"])


def test_settings_that_this_version_does_not_know_are_named_when_they_are_asked_for(home):
    stored_generation(home, GENERATION | {"settings": {"tower": {"wings": 2}}})
    _, manifest = read_generation(home, GENERATION["id"])
    with pytest.raises(ArtifactError, match=r"settings of generation db8beb388efc9c62 .* no setting 'wings'"):
        _ = manifest.config
