"""The flow from a snapshot's texts to a pre-trained adapter, which is kept only where it pays for recommendation."""

from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version

from flows import progress
from flows.forms import Folder, SnapshotId
from flows.reports import report_epochs, report_found
from flows.runs import flow, stage
from flows.runtime import open_home
from flows.work import TRAINING
from recsys.artifacts import short_id, write_json
from recsys.config import ModelConfig, PretrainConfig, to_dict
from recsys.data.signals import signals_of, with_signals
from recsys.data.snapshot import Snapshot, open_snapshot
from recsys.data.text import item_texts
from recsys.evaluation import curves
from recsys.evaluation.held_out import allowed_protocols, make_split
from recsys.home import Home
from recsys.models.checkpoints import Checkpoints
from recsys.models.encoder.backbone import save_lora
from recsys.models.encoder.pretraining import Pretraining, pretrain
from recsys.store.adapters import save_adapter, verify_adapter
from recsys.store.manifests import PRETRAINING, AdapterCard
from recsys.store.records import recorded
from recsys.training.pretrained import Worth, WorthFields, judge_pretraining
from recsys.training.weighing import as_meant

_DEFAULT, _MODEL = PretrainConfig(), ModelConfig()


@dataclass(frozen=True)
class Pretrained:
    """What a pre-training gave.

    Attributes:
        adapter: id of the stored adapter, or None where it does not pay and was not to be kept.
        perplexity: of the held-out texts: ``before`` with the head alone fitted, ``after`` with LoRA too.
        worth: NDCG@10 of text-only towers without and with it, their difference with its interval, and ``pays``.
        history: loss and held-out perplexity by epoch.
        protocol: how validation targets were held out.
        reused: whether it was found done.
    """

    adapter: str | None
    perplexity: dict[str, float]
    worth: WorthFields
    history: list[dict[str, float]]
    protocol: str
    reused: bool = False


@flow("pretrain", TRAINING, about={"snapshot_id": ""})
def pretrain_encoder(
    snapshot_id: SnapshotId,
    home: Folder | None = None,
    config: PretrainConfig = _DEFAULT,
    model: ModelConfig = _MODEL,
    keep: bool = False,
) -> Pretrained:
    """Pre-train the base on the texts of a snapshot by masked-language modelling, and keep it where it pays.

    A pre-training that was killed goes on from its last whole epoch and ends with the same weights.

    Args:
        snapshot_id: id of the snapshot, 16 digits, whose item texts are learnt from; its events judge the outcome.
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        config: settings of the pre-training.
        model: settings of the towers that judge it; its seed is that of everything.
        keep: store the adapter whether or not it pays.

    Raises:
        ArtifactError: there is no such snapshot or base.
        DataError: there are too few texts, or the data allows no protocol.
    """
    place = open_home(home)
    snapshot = open_snapshot(place, snapshot_id)
    model = with_signals(snapshot, model)
    protocol = allowed_protocols(snapshot, model)[0]
    key = short_id(snapshot.id, to_dict(config), to_dict(model), keep, version("recsys"))
    record = place.runs / f"pretrain-{key}.json"
    found = recorded(record, Pretrained, partial(check, place))
    if found is not None:
        report_found(f"the pre-training, {found.adapter or 'of which nothing was kept'}")
        show(found)
        return found

    checkpoints = Checkpoints(place.runs / f"pretrain-{key}", key)
    texts = item_texts(snapshot.items(), config.text)
    run = learn(texts, config, model.seed, checkpoints)
    worth = judge(snapshot, protocol, texts, run, config, model, checkpoints)
    perplexity = {"before": run.before, "after": run.after}
    card = AdapterCard(
        task=PRETRAINING,
        base=config.lora.base,
        base_digest=run.backbone.base_digest,
        pooling=run.backbone.recorded_pooling,
        snapshot=snapshot.id,
        protocol=protocol,
        settings=to_dict(config) | {"seed": model.seed},
        training={"history": run.history, "texts": dict(zip(("learnt", "held_out"), run.texts, strict=True))},
        metrics={"perplexity": perplexity, "worth": worth.to_dict()},
    )
    kept = worth.pays or keep
    adapter_id = save_adapter(place, partial(save_lora, run.backbone), card) if kept else None
    done = Pretrained(adapter_id, perplexity, worth.to_dict(), run.history, protocol)
    write_json(record, asdict(done))
    checkpoints.remove()
    show(done)
    return done


@stage("pre-train")
def learn(texts: list[str], config: PretrainConfig, seed: int, checkpoints: Checkpoints) -> Pretraining:
    """Fit the head alone, then LoRA and head."""
    report = partial(progress.report, "Pre-train BERT")
    return pretrain(texts, config, seed, report, checkpoints.of("head"), checkpoints.of("lora"))


@stage("judge pre-training")
def judge(
    snapshot: Snapshot,
    protocol: str,
    texts: list[str],
    run: Pretraining,
    config: PretrainConfig,
    model: ModelConfig,
    checkpoints: Checkpoints,
) -> Worth:
    """Compare text-only towers over base and over pre-trained vectors on validation targets."""
    sequences = snapshot.sequences(signals=signals_of(model))
    split = as_meant(make_split(sequences, len(texts), protocol, model), sequences, model, progress=progress.report)
    return judge_pretraining(split, texts, run.backbone, config, model, progress.report, checkpoints)


def show(done: Pretrained) -> None:
    """Show the epochs, the head alone as the one before the first, and what became of them."""
    before, after = done.perplexity["before"], done.perplexity["after"]
    said = f"{verdict(done)} Perplexity of held-out texts {before:.1f} before, {after:.1f} after."
    report_epochs(curves.PRETRAINING, [{"epoch": 0.0, "perplexity": before}, *done.history], said)


def verdict(done: Pretrained) -> str:
    """Say whether a pre-training pays, and what became of it."""
    worth = done.worth
    difference = worth["difference"]
    says = (
        f"Validation NDCG@10 of text-only towers ({done.protocol}): {worth['without']:.4f} without, "
        f"{worth['given']:.4f} with, {difference['mean_difference']:+.4f} "
        f"({difference['low']:+.4f} to {difference['high']:+.4f}): "
    )
    if worth["pays"]:
        return f"{says}it pays. Adapter {done.adapter} is kept."
    kept = "nothing is kept" if done.adapter is None else f"adapter {done.adapter} is kept all the same"
    return f"{says}it does not pay; {kept}."


def check(home: Home, done: Pretrained) -> None:
    """Check that the adapter of a recorded pre-training, where one was kept, is still there and whole.

    Raises:
        ArtifactError: it is not.
    """
    if done.adapter is not None:
        verify_adapter(home, done.adapter)
