"""What was counted over all events, so that more can be counted beside them."""

from dataclasses import dataclass, field

from recsys.data.repeats import MOST_TYPES, Repeats


@dataclass(frozen=True)
class Counts:
    """Events, those who did them, and what they did them to.

    Attributes:
        rows: events.
        users: different ones.
        pairs: different ones of user and item.
    """

    rows: int = 0
    users: int = 0
    pairs: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.rows + other.rows, self.users + other.users, self.pairs + other.pairs)

    @property
    def repeats(self) -> float:
        """The share of events of an item that the user had before, among those that are not a user's first."""
        following = self.rows - self.users
        return (self.rows - self.pairs) / following if following else 0.0


@dataclass(frozen=True)
class Totals:
    """Counts of all events and by type.

    Attributes:
        all: of all events.
        types: of those of a type; where there are very many types, of the first that came.
    """

    all: Counts = field(default_factory=Counts)
    types: dict[str, Counts] = field(default_factory=dict)

    def __add__(self, other: "Totals") -> "Totals":
        names = {**self.types, **other.types}
        return Totals(
            self.all + other.all,
            {name: self.types.get(name, Counts()) + other.types.get(name, Counts()) for name in names},
        )

    @property
    def repeats(self) -> Repeats | None:
        """How often users came back to what they had before; None: never."""
        if not self.all.repeats:
            return None
        named = sorted(self.types, key=lambda name: (-self.types[name].rows, name))[:MOST_TYPES]
        shares = {name: self.types[name].repeats for name in named}
        return Repeats(self.all.repeats, {name: found for name, found in shares.items() if found})
