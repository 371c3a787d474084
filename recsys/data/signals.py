"""What an event means: rules by its type and value, the rules that data suggest, and both applied to a table of events.

A rule gives a role (see ``recsys.config.SignalConfig``) and a weight. A target is what lists shall bring and evaluation
asks for; a positive event counts too, by its weight, and leaves its item in the lists; a negative one takes the item
away for good, and its like down, until a later event that counts undoes it; what was only seen is left out of lists and
teaches nothing. The first rule that fits an event speaks for it. An event without a type that no rule fits is a target,
as all events are where there are no rules; one of a type that no rule knows is ignored.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import IGNORED, NEGATIVE, POSITIVE, SEEN, TARGET, ModelConfig, Role, SignalConfig
from recsys.data import columns
from recsys.data.sequences import EventSignals
from recsys.data.snapshot import Snapshot
from recsys.errors import DataError

UNTYPED = "interaction"  # the type of a live event that has none
MOST_WEIGHT = 100.0  # of an event by its value, in weights of its rule
SECONDS_A_DAY = 86_400
_NOBODY = -1

# Names by which shops, players and pages call what people do; the first found has the role.
PURCHASES = ("purchase", "buy", "order", "transaction", "checkout", "conversion", "booking", "subscribe", "download")
PLAYS = ("play", "watch", "listen", "read", "complete", "stream", "view_complete")
LIKES = {"like": 0.6, "favorite": 0.6, "favourite": 0.6, "save": 0.5, "bookmark": 0.5, "wishlist": 0.5, "share": 0.6}
CARTS = {"cart": 0.5, "add_to_cart": 0.5, "addtocart": 0.5, "basket": 0.5, "add_to_basket": 0.5}
LOOKS = {"view": 0.1, "click": 0.1, "look": 0.1, "detail": 0.1, "detail_page_view": 0.1, "visit": 0.1, "open": 0.1}
DISLIKES = ("dislike", "return", "refund", "hide", "block", "thumbs_down", "not_interested", "unlike", "downvote")
NEUTRAL = ("remove_from_cart", "removefromcart", "impression", "shown", "skip")
RATED = 0.3  # what an event says whose rating is neither good nor bad


@dataclass(frozen=True)
class Signals:
    """Rules, and what follows from them for events.

    Attributes:
        rules: in the order in which they are asked; one for events without a type stands behind them.
    """

    rules: tuple[SignalConfig, ...]

    @property
    def roles(self) -> tuple[Role, ...]:
        """The role of each kind of event: of each rule, and of events without a type that no rule fits."""
        return (*(rule.role for rule in self.rules), TARGET)

    @property
    def taking(self) -> tuple[bool, ...]:
        """Whether events of each kind take their item out of the user's lists.

        All do but positive ones, and of these those do as well whose type has targets: a film that was rated has been
        seen, whatever the rating; a product that was looked at may still be bought.
        """
        wanted = {rule.event_type for rule in self.rules if rule.role == TARGET}
        return (*(rule.role != POSITIVE or rule.event_type in wanted for rule in self.rules), True)

    @property
    def names(self) -> tuple[str, ...]:
        """The type of events of each kind."""
        return (*(rule.event_type or UNTYPED for rule in self.rules), UNTYPED)

    def kind(self, event_type: str | None, value: float | None) -> int:
        """Return the kind of one event, -1 where it is ignored."""
        for number, rule in enumerate(self.rules):
            typed = rule.event_type is None or rule.event_type == event_type
            if typed and _within(rule, value):
                return _NOBODY if rule.role == IGNORED else number
        return len(self.rules) if event_type in (None, UNTYPED) else _NOBODY

    def role(self, event_type: str | None, value: float | None) -> Role:
        """Return the role of one event."""
        kind = self.kind(event_type, value)
        return IGNORED if kind == _NOBODY else self.roles[kind]

    def weight(self, kind: int, value: float | None, age_days: float = 0.0) -> float:
        """Return the signed weight of an event of a kind."""
        if kind == len(self.rules):
            return 1.0
        rule = self.rules[kind]
        if rule.role == SEEN:
            return 0.0
        weight = rule.weight
        if rule.per_value is not None and value is not None:
            weight *= min(max(value / rule.per_value, 0.0), MOST_WEIGHT)
        if rule.half_life_days is not None:
            weight *= 0.5 ** (max(age_days, 0.0) / rule.half_life_days)
        return -weight if rule.role == NEGATIVE else weight

    def lives(self, kind: int, age_days: float) -> bool:
        """Tell whether an event of a kind still says something at an age."""
        ttl = None if kind == len(self.rules) else self.rules[kind].ttl_days
        return ttl is None or age_days <= ttl

    def of_history(
        self,
        event_types: Sequence[str | None],
        values: Sequence[float | None],
        times: Sequence[int | None],
        now: int | None = None,
    ) -> tuple[NDArray[np.bool_], EventSignals]:
        """Return which events of one history say something, and what these mean.

        Args:
            event_types: one an event; None: it has none.
            values: likewise.
            times: microseconds since 1970, likewise.
            now: likewise; ages count from it, or from the newest event.
        """
        newest = now if now is not None else max((time for time in times if time is not None), default=0)
        ages = [0.0 if time is None else (newest - time) / (SECONDS_A_DAY * 1e6) for time in times]
        kinds = [self.kind(name, value) for name, value in zip(event_types, values, strict=True)]
        kept = [kind != _NOBODY and self.lives(kind, age) for kind, age in zip(kinds, ages, strict=True)]
        said = [
            (kind, self.weight(kind, value, age))
            for kind, value, age, lives in zip(kinds, values, ages, kept, strict=True)
            if lives
        ]
        weights = np.array([weight for _, weight in said], dtype=np.float32)
        return np.array(kept, dtype=bool), EventSignals(
            np.array([kind for kind, _ in said], dtype=np.int8), weights, self.roles, self.taking, self.names
        )

    def of_events(self, events: pl.DataFrame) -> EventSignals:
        """Return what the events of a snapshot's table mean; the kind of one that is ignored is -1.

        Ages count from the table's newest event.
        """
        number = pl.lit(_NOBODY, pl.Int8)
        typed, value = _column(events, columns.EVENT_TYPE, pl.String), _column(events, columns.VALUE, pl.Float64)
        kind = pl.when(typed.is_null() | (typed == UNTYPED)).then(pl.lit(len(self.rules), pl.Int8)).otherwise(number)
        for place, rule in reversed(list(enumerate(self.rules))):
            fits = _fits(rule, typed, value)
            kind = pl.when(fits).then(pl.lit(_NOBODY if rule.role == IGNORED else place, pl.Int8)).otherwise(kind)
        age = (pl.col(columns.TIMESTAMP).max() - pl.col(columns.TIMESTAMP)).dt.total_seconds() / SECONDS_A_DAY
        found = events.select(kind.alias("kind"), value.alias("value"), age.alias("age"))
        kinds, values, ages = (found[name].to_numpy() for name in ("kind", "value", "age"))
        weights, lives = np.ones(len(kinds), dtype=np.float64), kinds != _NOBODY
        for place, rule in enumerate(self.rules):
            own = kinds == place
            if not own.any():
                continue
            weight = np.full(int(own.sum()), rule.weight)
            if rule.per_value is not None:
                given = np.nan_to_num(values[own] / rule.per_value, nan=1.0)
                weight *= np.clip(given, 0.0, MOST_WEIGHT)
            if rule.half_life_days is not None:
                weight *= 0.5 ** (ages[own] / rule.half_life_days)
            weights[own] = 0.0 if rule.role == SEEN else -weight if rule.role == NEGATIVE else weight
            if rule.ttl_days is not None:
                lives[own] &= ages[own] <= rule.ttl_days
        return EventSignals(
            np.where(lives, kinds, _NOBODY).astype(np.int8),
            weights.astype(np.float32),
            self.roles,
            self.taking,
            self.names,
        )

    def counts(self, events: pl.DataFrame) -> NDArray[np.int64]:
        """Return how many events there are of each kind, (rules + 1,)."""
        kinds = self.of_events(events).kinds
        return np.bincount(kinds[kinds != _NOBODY], minlength=len(self.rules) + 1)

    def check(self, events: pl.DataFrame) -> None:
        """Check the rules against the events that they shall speak for.

        Raises:
            DataError: a rule names a type that no event has, no event fits a rule, or no event is a target.
        """
        types = event_types(events)
        for number, rule in enumerate(self.rules):
            if rule.event_type is not None and rule.event_type not in types:
                near = difflib.get_close_matches(rule.event_type, types, 1)
                there = f"there are {', '.join(sorted(types))}" if types else "events have no type"
                meant = f" Did you mean {near[0]!r}?" if near else ""
                raise DataError(f"signals[{number}] names the event type {rule.event_type!r}; {there}.{meant}")
        counts = self.counts(events)
        for number, rule in enumerate(self.rules):
            if rule.role != IGNORED and not counts[number]:
                raise DataError(f"signals[{number}], {said(rule)}, fits no event. {_values_of(events, rule)}")
        if not any(counts[number] for number, role in enumerate(self.roles) if role == TARGET):
            raise DataError("No event has the role target, so there is nothing to learn to bring. Give one to a type.")


def suggested(events: pl.DataFrame) -> tuple[SignalConfig, ...] | None:
    """Return the rules that types and values of a snapshot's events suggest, or None: all events count the same.

    A few events of each type are enough, as ``Snapshot.kinds`` returns them.

    Known names of types say what people did; where a type's values look like ratings, the upper two fifths of the scale
    are targets and the lower two fifths dislikes. Where no type is known, none is guessed at.
    """
    types = event_types(events)
    if not types or (len(types) == 1 and columns.VALUE not in events.columns):
        return None
    names = {name: name.strip().lower().replace("-", "_").replace(" ", "_") for name in sorted(types)}
    bought = any(plain in PURCHASES for plain in names.values())
    rules: list[SignalConfig] = []
    for name, plain in names.items():
        scale = _scale(events, name)
        if plain in PURCHASES or (plain in PLAYS and not bought):
            rules.append(SignalConfig(TARGET, name))
        elif plain in DISLIKES:
            rules.append(SignalConfig(NEGATIVE, name))
        elif plain in NEUTRAL:
            rules.append(SignalConfig(IGNORED, name))
        elif scale is not None:
            good, bad = scale
            rules.append(SignalConfig(POSITIVE if bought else TARGET, name, at_least=good))
            rules.append(SignalConfig(NEGATIVE, name, below=bad))
            rules.append(SignalConfig(POSITIVE, name, weight=RATED))
        elif (weight := (LIKES | CARTS | LOOKS | dict.fromkeys(PLAYS, RATED)).get(plain)) is not None:
            rules.append(SignalConfig(POSITIVE, name, weight=weight))
        elif len(types) > 1:
            rules.append(SignalConfig(POSITIVE, name, weight=RATED))
    known = {rule.event_type for rule in rules if rule.role in (TARGET, NEGATIVE)}
    if not known:
        return None
    if not any(rule.role == TARGET for rule in rules):  # the strongest of what there is
        best = max((rule for rule in rules if rule.role == POSITIVE), key=lambda rule: rule.weight, default=None)
        if best is None:
            return None
        rules = [replace(rule, role=TARGET, weight=1.0) if rule is best else rule for rule in rules]
    counts = Signals(tuple(rules)).counts(events)
    kept = tuple(rule for rule, count in zip(rules, counts, strict=False) if count or rule.role == IGNORED)
    return kept if any(rule.role == TARGET for rule in kept) else None


def with_signals(snapshot: Snapshot, config: ModelConfig) -> ModelConfig:
    """Return settings with the rules that speak for a snapshot's events: those given, checked, or those suggested.

    Raises:
        DataError: see ``Signals.check``.
    """
    if config.signals is None:
        found = suggested(snapshot.kinds())
        return config if found is None else replace(config, signals=found)
    if config.signals:
        wanted = (columns.EVENT_TYPE, columns.VALUE, columns.TIMESTAMP)
        Signals(config.signals).check(snapshot.events(*(name for name in wanted if name in snapshot.event_schema)))
    return config


def signals_of(config: ModelConfig) -> Signals | None:
    """Return the rules of settings, or None where all events count the same."""
    return Signals(config.signals) if config.signals else None


def event_types(events: pl.DataFrame) -> set[str]:
    """Return the types that events have, but for that of untyped ones."""
    if columns.EVENT_TYPE not in events.columns:
        return set()
    return set(events[columns.EVENT_TYPE].drop_nulls().unique()) - {UNTYPED}


def sentence(rules: Sequence[SignalConfig] | None) -> str:
    """Return what the types and values of events suggest, as people read it; nothing where that is nothing."""
    if not rules:
        return ""
    listed = "; ".join(said(rule) for rule in rules)
    return f"Events mean, unless the setting signals says otherwise: {listed}."


def said(rule: SignalConfig) -> str:
    """Return a rule as people read it: ``rating of at least 4: target``."""
    bounds = [f"of at least {rule.at_least:g}"] if rule.at_least is not None else []
    bounds += [f"below {rule.below:g}"] if rule.below is not None else []
    who = " ".join([rule.event_type or "any type", " and ".join(bounds)]).strip()
    weight = f" with weight {rule.weight:g}" if rule.role in (POSITIVE, NEGATIVE) and rule.weight != 1 else ""
    by_value = f" for each {rule.per_value:g} of the value" if rule.per_value is not None else ""
    life = f", halved in {rule.half_life_days:g} days" if rule.half_life_days is not None else ""
    until = f", for {rule.ttl_days:g} days" if rule.ttl_days is not None else ""
    return f"{who}: {rule.role}{weight}{by_value}{life}{until}"


def _within(rule: SignalConfig, value: float | None) -> bool:
    if rule.at_least is None and rule.below is None:
        return True
    if value is None:
        return False
    return (rule.at_least is None or value >= rule.at_least) and (rule.below is None or value < rule.below)


def _fits(rule: SignalConfig, typed: pl.Expr, value: pl.Expr) -> pl.Expr:
    fits = pl.lit(True) if rule.event_type is None else (typed == rule.event_type).fill_null(False)
    if rule.at_least is not None:
        fits &= (value >= rule.at_least).fill_null(False)
    if rule.below is not None:
        fits &= (value < rule.below).fill_null(False)
    return fits


def _column(events: pl.DataFrame, name: str, dtype: type[pl.DataType]) -> pl.Expr:
    return pl.col(name).cast(dtype) if name in events.columns else pl.lit(None, dtype)


def _scale(events: pl.DataFrame, event_type: str) -> tuple[float, float] | None:
    """Return from where on a type's values are good, and below which they are bad, where they look like ratings.

    Few different values, at whole or half steps, between -1 and 10.
    """
    if columns.VALUE not in events.columns:
        return None
    values = events.filter(pl.col(columns.EVENT_TYPE) == event_type)[columns.VALUE].drop_nulls().unique().sort()
    steps = values.to_numpy()
    if not 2 <= len(steps) <= 21 or steps[0] < -1 or steps[-1] > 10 or np.any(steps * 2 != np.round(steps * 2)):
        return None
    if len(steps) == 2:
        return float(steps[1]), float(steps[1])
    low, high = min(float(steps[0]), 1.0), float(steps[-1])
    width = (high - low) / 4  # of five steps, the lowest at `low`
    return low + 3 * width, low + 2 * width


def _values_of(events: pl.DataFrame, rule: SignalConfig) -> str:
    if columns.VALUE not in events.columns:
        return "Events have no values."
    chosen = events if rule.event_type is None else events.filter(pl.col(columns.EVENT_TYPE) == rule.event_type)
    values = chosen[columns.VALUE].drop_nulls()
    if values.is_empty():
        return "Its events have no values, or a rule before it fits all of them."
    low, high = float(values.to_numpy().min()), float(values.to_numpy().max())
    return f"Values reach from {low:g} to {high:g}; a rule before it may fit all that are left."
