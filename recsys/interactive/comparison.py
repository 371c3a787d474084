"""Two adapters on the same people: what both were asked, how sure the difference is, and lists side by side.

What is compared is what they made, their newest generations, on the targets that both held out: a user and an item that
neither had learnt from when it was measured. Users are matched by their hashes, so that snapshots may differ.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from recsys.artifacts import digest
from recsys.data.columns import ITEM_ID, TITLE, USER_ID
from recsys.errors import SettingError
from recsys.evaluation.bootstrap import Interval, paired_bootstrap
from recsys.evaluation.report import OURS
from recsys.home import Home, Place
from recsys.publishing.binding import SLICE
from recsys.publishing.held_out import protocol_of, read_table
from recsys.remote.following import reached
from recsys.store.adapters import list_adapters, read_card
from recsys.store.generations import newest_with, read_generation
from recsys.store.names import ADAPTER, meant

FIRST, SECOND = "first", "second"
LISTED = 5  # items of an example


@dataclass(frozen=True)
class Slice:
    """Two adapters on a slice of the targets that both held out.

    Attributes:
        name: ``total``, or a slice that the targets are in for both.
        targets: how many.
        first: mean NDCG@10 of the first.
        second: of the second.
        interval: the second minus the first, with its paired bootstrap interval.
    """

    name: str
    targets: int
    first: float
    second: float
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {"slice": self.name, "targets": self.targets, FIRST: self.first, SECOND: self.second} | {
            "difference": self.interval.mean_difference, "low": self.interval.low, "high": self.interval.high
        }  # fmt: skip


@dataclass(frozen=True)
class SideBySide:
    """Two adapters on what both held out.

    Attributes:
        generations: that were compared, one of each.
        held_out: how many targets each held out.
        slices: all of them that have targets, the total first.
        shared: ``user_id`` (hashed), ``item_id``, ``first`` and ``second``: NDCG@10 of each target; sorted.
    """

    generations: tuple[str, str]
    held_out: tuple[int, int]
    slices: tuple[Slice, ...]
    shared: pl.DataFrame


def generations_of(home: Home, first: str, second: str) -> tuple[str, str]:
    """Return the newest generation that each of two adapters has made, or a training that took it as it is.

    Raises:
        ArtifactError: there is no such adapter.
        SettingError: one has made none.
    """
    return _generation_of(home, first), _generation_of(home, second)


def measure(home: Home, first: str, second: str) -> SideBySide:
    """Compare what two adapters made by NDCG@10 on the targets that both held out.

    Args:
        home: where state lives.
        first: id of an adapter.
        second: of another.

    Raises:
        ArtifactError: there is no such adapter, or its generation is broken.
        SettingError: nothing can be compared; the message says why.
    """
    made = generations_of(home, first, second)
    protocols = [protocol_of(home, generation) for generation in made]
    if protocols[0] != protocols[1]:
        raise SettingError(
            f"Adapter {first} was measured by the protocol {protocols[0]}, {second} by {protocols[1]}: their figures "
            "stand for different questions. Train the one by the other's protocol."
        )
    tables, manifests = [], []
    for generation in made:
        _, manifest = read_generation(home, generation)
        table = read_table(home, generation)
        parts = [name for name in table.columns if name.startswith(SLICE)]
        tables.append(table.select(USER_ID, ITEM_ID, OURS, *parts))
        manifests.append(manifest)
    one, other = tables
    both = one.join(other, on=[USER_ID, ITEM_ID], suffix=SECOND).sort(USER_ID, ITEM_ID)
    if both.is_empty():
        raise SettingError(
            f"Adapters {first} and {second} held out no target in common ({len(one):,} and {len(other):,}), so that "
            "nothing tells which is better. Train the one on the other's snapshot, by the same protocol."
        )
    config = manifests[0].config
    ours, theirs = both[OURS].to_numpy(), both[f"{OURS}{SECOND}"].to_numpy()
    chosen = {"total": np.full(len(both), True)}
    for name in (name for name in one.columns if name.startswith(SLICE) and name in other.columns):
        chosen[name.removeprefix(SLICE)] = both[name].to_numpy() & both[f"{name}{SECOND}"].to_numpy()
    slices = tuple(
        Slice(
            name, int(rows.sum()), float(ours[rows].mean()), float(theirs[rows].mean()),
            paired_bootstrap(theirs[rows], ours[rows], config.evaluation.bootstrap_samples, config.seed),
        )
        for name, rows in chosen.items() if rows.any()
    )  # fmt: skip
    shared = both.select(USER_ID, ITEM_ID, pl.col(OURS).alias(FIRST), pl.col(f"{OURS}{SECOND}").alias(SECOND))
    return SideBySide(made, (len(one), len(other)), slices, shared)


def side_by_side(first: str, second: str, *, home: Place = None) -> pl.DataFrame:
    """Compare two adapters by NDCG@10 on the targets that both held out, slice by slice.

    >>> import recsys
    >>> one = recsys.adapters()["adapter"][0]
    >>> recsys.side_by_side(one, one).select("slice", "difference", "low", "high").row(0)
    ('total', 0.0, 0.0, 0.0)

    Args:
        first: id or alias of an adapter.
        second: of another.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.

    Returns:
        ``slice``, how many ``targets``, ``first`` and ``second``, and ``difference``: the second minus the first, from
        ``low`` to ``high`` (95 %, paired bootstrap over the targets).

    Raises:
        ArtifactError: there is no such adapter.
        SettingError: they have no target in common, or one has made no generation.
    """
    place = reached(home)
    found = measure(place, *(meant(place, ADAPTER, name) for name in (first, second)))
    return pl.DataFrame([one.to_dict() for one in found.slices])


def telling(
    found: SideBySide, people: Iterable[str], users: int, has_history: Callable[[str], bool]
) -> dict[str, dict[str, Any]]:
    """Return whom two adapters differ about the most, those who win and those who lose by turns, each with the target.

    Args:
        found: what was measured.
        people: ids of users whom both know.
        users: how many at most.
        has_history: whether something is known of one; of who is forgotten nothing is.

    Returns:
        A row of ``SideBySide.shared`` by user id.
    """
    names = {digest(user.encode()): user for user in people}
    apart = found.shared.with_columns(by=pl.col(SECOND) - pl.col(FIRST)).sort("by", USER_ID, ITEM_ID)
    rows = list(apart.iter_rows(named=True))
    turns = [row for pair in zip(rows[::-1], rows, strict=True) for row in pair]  # the most won, the most lost, …
    told: dict[str, dict[str, Any]] = {}
    for row in turns:
        user = names.get(row[USER_ID])
        if len(told) == users:
            break
        if user is not None and user not in told and has_history(user):
            told[user] = row
    return told


def examples(first: str, second: str, *, users: int = 3, home: Place = None) -> pl.DataFrame:
    """Return a few people's lists by two adapters: of those for whom the held-out item tells them apart the most.

    Args:
        first: id or alias of an adapter.
        second: of another.
        users: how many people; those who win and those who lose by turns.
        home: the folder of all state; None: RECSYS_HOME, else ``.recsys`` in the working folder.

    Returns:
        ``user_id``, ``held_out``: the title of what was held out; ``first_ndcg`` and ``second_ndcg`` on it; ``rank``
        from 1, and the titles that the ``first`` and the ``second`` offer there now, null where a list is shorter.

    Raises:
        ArtifactError, SettingError: as ``side_by_side``.
    """
    from recsys.interactive.generation import load  # brings torch, which figures have no use for

    place = reached(home)
    found = measure(place, *(meant(place, ADAPTER, name) for name in (first, second)))
    loaded = [load(generation, home=place, progress=False) for generation in found.generations]
    known = set(loaded[0].users) & set(loaded[1].users)
    told = telling(found, known, users, lambda user: bool(loaded[0].history(user)))
    titles = dict(loaded[0].items.select(ITEM_ID, TITLE).iter_rows())
    lists = [one.recommend(list(told), k=LISTED) for one in loaded]
    listed = [
        {(user, rank): title for user, rank, title in one.select(USER_ID, "rank", TITLE).iter_rows()} for one in lists
    ]
    table = [
        {
            USER_ID: user, "held_out": titles.get(row[ITEM_ID], row[ITEM_ID]), "first_ndcg": row[FIRST],
            "second_ndcg": row[SECOND], "rank": rank, FIRST: listed[0].get((user, rank)),
            SECOND: listed[1].get((user, rank)),
        }
        for user, row in told.items() for rank in range(1, LISTED + 1)
    ]  # fmt: skip
    words = dict.fromkeys((USER_ID, "held_out", FIRST, SECOND), pl.String)
    kinds: dict[str, Any] = {**words, "first_ndcg": pl.Float64, "second_ndcg": pl.Float64, "rank": pl.Int64}
    order = (USER_ID, "held_out", "first_ndcg", "second_ndcg", "rank", FIRST, SECOND)
    return pl.DataFrame(table, schema={name: kinds[name] for name in order})


def _generation_of(home: Home, adapter: str) -> str:
    task = read_card(home, adapter).task  # or there is no such adapter, which it says
    found = newest_with(home, adapter, *_fitted_on(home, adapter))
    if found is None:
        raise SettingError(
            f"No generation was made with adapter {adapter} ({task}), so that it has ranked nothing. "
            f"`recsys train --adapter {adapter}` makes one."
        )
    return found


def _fitted_on(home: Home, adapter: str) -> list[str]:
    """Return what trainings that took an adapter as it is have made of it: it has the same weights of BERT."""
    return [
        card.id
        for card in list_adapters(home)
        if card.parent == adapter and card.settings.get("adapter", {}).get("rounds") == 0
    ]
