"""What a file of JSON says about stored files: declared fields, whose types are checked when it is read."""

import types
import typing
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from recsys.artifacts import ArtifactError, read_json, refuse_links

Read = TypeVar("Read")
_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", types.NoneType: "null"
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a file of JSON says about stored files: a subclass declares its fields, and a reader checks their types.

    An older file may lack fields that have a default, a newer one may have others. Either is kept as it is, since the
    id of what is stored was made from it: ``to_dict`` returns what was read.

    Attributes:
        further: what the file says beyond the declared fields.
        absent: declared fields that the file does not have.
    """

    further: dict[str, Any] = field(default_factory=dict, repr=False)
    absent: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def read(cls, path: Path, repair: str = "Restore it, or build it again.") -> Self:
        """Read a file.

        Args:
            path: of the file.
            repair: what to do about a file that is not such a record.

        Raises:
            ArtifactError: it is missing or a link, lacks a field, or a field is of another type.
        """
        refuse_links(path)
        try:
            return cls.parsed(read_json(path))
        except TypeError as error:
            raise ArtifactError(f"{path} is not as it was written: {error}. {repair}") from None

    @classmethod
    def parsed(cls, values: Any) -> Self:
        """Return the record that some JSON values are.

        Raises:
            TypeError: they lack a field, or one is of another type; the message says which.
        """
        known = {one.name for one in fields(cls)} - {one.name for one in fields(Record)}
        if not isinstance(values, dict):
            raise TypeError("it holds no object")
        record: Self = _filled(cls, {name: value for name, value in values.items() if name in known}, "")
        further = {name: value for name, value in values.items() if name not in known}
        return replace(record, further=further, absent=frozenset(known - values.keys()))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        values = {name: value for name, value in asdict(self).items() if name not in {*self.absent, "absent"}}
        further: dict[str, Any] = values.pop("further")
        return further | values

    def summary(self) -> dict[str, Any]:
        """Return everything but the digests of files as JSON values."""
        return {name: value for name, value in self.to_dict().items() if name != "files"}


def _filled(kind: type[Read], values: dict[str, Any], place: str) -> Read:
    """Return a dataclass of JSON values.

    Raises:
        TypeError: a field is missing, unknown or of another type; the message says which.
    """
    hints = typing.get_type_hints(kind)
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    for name, one in known.items():
        if name not in values and one.default is MISSING and one.default_factory is MISSING:
            raise TypeError(f"{place}{name} is missing")
    for name in values.keys() - known.keys():
        raise TypeError(f"{place}{name} is unknown")
    return kind(**{name: _typed(hints[name], value, f"{place}{name}") for name, value in values.items()})


def _typed(hint: Any, value: Any, place: str) -> Any:
    """Return a JSON value as what a type hint says.

    Raises:
        TypeError: it is something else.
    """
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = typing.get_args(hint) if union else (hint,)
    for kind in kinds:
        base, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
        if base is Any or (type(value) is base and not inner) or (base, type(value)) == (float, int):
            return value
        if base is typing.Literal and value in inner:
            return value
        if is_dataclass(base) and isinstance(value, dict):
            return _filled(typing.cast(type, base), value, f"{place}.")
        if base is dict and isinstance(value, dict):
            return {name: _typed(inner[1], part, f"{place}.{name}") for name, part in value.items()}
        if base is list and isinstance(value, list):
            return [_typed(inner[0], part, f"{place}[{number}]") for number, part in enumerate(value)]
    wanted = " or ".join(_word(kind) for kind in kinds)
    raise TypeError(f"{place} is {value!r:.60}, not {wanted}")


def _word(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    return _WORDS.get(typing.get_origin(kind) or kind, "an object")
