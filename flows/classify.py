"""The flow from labelled texts to a classifier: train with an eye on the development texts, test once, store."""

from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from flows import progress
from flows.forms import Folder, Seed, Text
from flows.locations import TableLocation, located_flow
from flows.reports import report_epochs, report_found
from flows.runs import stage
from flows.runtime import open_home
from flows.work import TRAINING
from recsys.artifacts import digest_file, short_id, write_json
from recsys.config import ClassifierConfig, to_dict
from recsys.data.labelled import LABEL, TEXT, read_labelled
from recsys.evaluation import curves
from recsys.models.checkpoints import Checkpoint
from recsys.models.encoder.classifier import LabelledTexts, Scores, numbered
from recsys.models.encoder.classifier_training import ClassifierRun, train_classifier
from recsys.models.encoder.tokens import tokenize
from recsys.store.adapters import save_adapter, verify_adapter
from recsys.store.manifests import CLASSIFICATION, AdapterCard, TextFile
from recsys.store.records import recorded

_DEFAULT = ClassifierConfig()


@dataclass(frozen=True)
class Classification:
    """What a training gave.

    Attributes:
        adapter: id of the stored classifier.
        labels: what it tells apart.
        history: loss and accuracy of train and dev by epoch.
        epochs: epochs behind the weights that were kept.
        test: loss and accuracy on the test texts, or None where none were given.
        reused: whether it was found done.
    """

    adapter: str
    labels: list[str]
    history: list[dict[str, float]]
    epochs: int
    test: dict[str, float] | None
    reused: bool = False


@located_flow("classify", TRAINING, about={"train": ""})
def train_text_classifier(
    train: TableLocation,
    dev: TableLocation,
    test: TableLocation | None = None,
    home: Folder | None = None,
    config: ClassifierConfig = _DEFAULT,
    seed: Seed = 0,
    text_column: Text = TEXT,
    label_column: Text = LABEL,
) -> Classification:
    """Train a text classifier and store it as an adapter, or find the one that the same files gave before.

    A training that was killed goes on from its last whole epoch and ends with the same weights.

    Args:
        train: labelled texts: Parquet, CSV, TSV, NDJSON, or lines of label and text.
        dev: likewise; what the epochs are judged by.
        test: likewise; looked at once, at the end; empty: the classifier is not tested.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        config: all settings.
        seed: fixes every random choice.
        text_column: where the texts are.
        label_column: where the labels are.

    Raises:
        SourceError: a file cannot be read.
        DataError: there are fewer than two labels, or a file has one that the training texts have not.
    """
    place = open_home(home)
    given = {"train": train, "dev": dev} | ({"test": test} if test else {})
    parts = {name: read_part(Path(path), text_column, label_column) for name, path in given.items()}
    digests = {name: digest_file(Path(path)) for name, path in given.items()}
    key = short_id(digests, to_dict(config), seed, text_column, label_column, version("recsys"))
    record = place.runs / f"classify-{key}.json"
    found = recorded(record, Classification, lambda done: verify_adapter(place, done.adapter))
    if found is not None:
        report_found(f"classifier {found.adapter}")
        report_epochs(curves.CLASSIFIER, found.history, verdict(found))
        return found

    checkpoint = Checkpoint(place.runs / f"classify-{key}.checkpoint", key)
    run = fit(parts["train"], parts["dev"], config, seed, checkpoint)
    tested = score(run, parts["test"]) if "test" in parts else None
    card = AdapterCard(
        task=CLASSIFICATION,
        base=config.lora.base,
        base_digest=run.classifier.backbone.base_digest,
        pooling=run.classifier.backbone.recorded_pooling,
        settings=to_dict(config) | {"seed": seed},
        training={"history": run.history, "epochs": run.epochs},
        metrics={
            "dev": {"accuracy": run.history[run.epochs - 1]["dev_accuracy"]},
            **({"test": {"accuracy": tested.accuracy}} if tested else {}),
        },
        labels=list(run.classifier.labels),
        data={name: TextFile(digests[name], len(part)) for name, part in parts.items()},
    )
    adapter_id = save_adapter(place, run.classifier.save, card)
    done = Classification(
        adapter_id,
        list(run.classifier.labels),
        run.history,
        run.epochs,
        asdict(tested) if tested else None,
    )
    write_json(record, asdict(done))
    checkpoint.remove()
    report_epochs(curves.CLASSIFIER, done.history, verdict(done))
    return done


@stage("read texts", "read {path}")
def read_part(path: Path, text_column: str, label_column: str) -> LabelledTexts:
    """Read one file of labelled texts."""
    table = read_labelled(path, text_column, label_column)
    return LabelledTexts(table[TEXT].to_list(), table[LABEL].to_list())


@stage("train classifier")
def fit(
    train: LabelledTexts, dev: LabelledTexts, config: ClassifierConfig, seed: int, checkpoint: Checkpoint
) -> ClassifierRun:
    """Train, judge each epoch, keep the best."""
    report = partial(progress.report, "Train classifier")
    return train_classifier(train, dev, config, seed, progress=report, checkpoint=checkpoint)


@stage("test classifier")
def score(run: ClassifierRun, test: LabelledTexts) -> Scores:
    """Return loss and accuracy on the test texts."""
    classifier = run.classifier
    with progress.step("Test classifier"):
        tokens = tokenize(classifier.backbone, test.texts, classifier.max_tokens)
        return classifier.judge(tokens, numbered(test, classifier.labels))


def verdict(done: Classification) -> str:
    """Say what was kept, and how well it tells texts apart."""
    accuracy = done.history[done.epochs - 1]["dev_accuracy"]
    return f"Adapter {done.adapter}: {done.epochs} of {len(done.history)} epochs are kept, dev accuracy {accuracy:.3f}."
