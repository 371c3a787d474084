"""Settings as they are made, read and written: JSON values to frozen dataclasses and back, all faults told at once.

What somebody gives is checked before anything runs: names, types, bounds, choices, and what does not go together. What
lies in a home was checked by the version that wrote it, and is read as it is.
"""

import dataclasses
import difflib
import functools
import json
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union

from recsys.errors import SettingError
from recsys.settings.comments import comments

Config = TypeVar("Config")
SHOWN = 60  # characters of a wrong value
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "null"}


class Settings:
    """Settings of which Prefect refuses a name that does not exist, as ``from_dict`` does, and Python a wrong value."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - an annotation would make a setting of it

    def __post_init__(self) -> None:
        found = [
            fault
            for name, hint in _hints(typing.cast(Any, type(self))).items()
            for fault in _faults(hint, getattr(self, name), f"{type(self).__name__}.{name}")
        ]
        found = found or [f"{type(self).__name__}.{name} {said}" for name, said in self.conflicts()]
        if found:
            raise SettingError(_told(found))

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Yield settings that do not go together: the name of one, and what is wrong with it."""
        yield from ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Return what a form shows: pydantic's schema, each setting with the comment behind it and what it takes.

        A default that is made for each object is written as well: the server takes null for what seems to have none.
        """
        schema: dict[str, Any] = handler(core_schema)
        said, hints = comments(cls), _hints(typing.cast(Any, cls))
        shown_ones = handler.resolve_ref_schema(schema)["properties"]
        for item in dataclasses.fields(typing.cast(Any, cls)):
            if item.default_factory is not dataclasses.MISSING:
                shown_ones[item.name].setdefault("default", _plain(item.default_factory()))
        for name, shown in shown_ones.items():
            shown.setdefault("title", name.replace("_", " ").title())
            takes = "" if _nested(hints[name]) else f"Takes {_wanted(hints[name])}."
            shown.setdefault("description", ". ".join(filter(None, [said.get(name), takes])))
        return schema


LATER: dict[str, Any] = {"left out": None}  # metadata of a setting that came later: None is not written, nor hashed


def to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as JSON values; a setting that came later than others is left out where it is None."""
    values = {item.name: (getattr(config, item.name), item.metadata) for item in dataclasses.fields(config)}
    return {
        name: _plain(value)
        for name, (value, metadata) in values.items()
        if not (value is None and "left out" in metadata)
    }


def from_dict(kind: type[Config], values: dict[str, Any], defaults: Config | None = None) -> Config:
    """Build a dataclass from JSON values that somebody gives, older layouts included.

    Args:
        kind: the dataclass.
        values: by name; nested ones as a dict.
        defaults: what missing settings are taken from; None: the defaults of ``kind``.

    Raises:
        SettingError: a setting of that name does not exist, is missing, or cannot be what it is, alone or beside the
            others. The message names all of them by their whole path, with what they take.
    """
    faults: list[str] = []
    found = _read(kind, values, defaults, "", faults)
    if faults or found is None:
        raise SettingError(_told(faults))
    return found


def from_stored(kind: type[Config], values: dict[str, Any]) -> Config:
    """Build a dataclass from the JSON values that were stored with what was trained by it: bounds came later.

    Raises:
        SettingError: a setting of that name does not exist.
    """
    faults: list[str] = []
    found = _read(kind, values, None, "", faults, stored=True)
    if faults or found is None:
        raise SettingError(_told(faults))
    return found


def read_settings(kind: type[Config], path: Path) -> Config:
    """Read somebody's file of settings.

    Raises:
        SettingError: it is missing or no JSON, said with line and column, or holds what ``from_dict`` refuses.
    """
    try:
        return from_dict(kind, _object(path))
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None


def _object(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file; a name that stands there twice, or NaN, is refused."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise SettingError(f"{twice!r} stands there twice in one object. Keep one of them.")
        return dict(pairs)

    def constant(word: str) -> NoReturn:
        raise SettingError(f"{word} is no number of JSON. Give a finite one.")

    try:
        found = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=once, parse_constant=constant)
    except FileNotFoundError:
        raise SettingError("there is no such file.") from None
    except UnicodeDecodeError as error:
        raise SettingError(f"byte {error.start} is no UTF-8. Save it as UTF-8 text.") from None
    except json.JSONDecodeError as error:
        raise SettingError(f"line {error.lineno}, column {error.colno}: {error.msg}. Settings are JSON.") from None
    except RecursionError:
        raise SettingError("its brackets have no end. Settings are one JSON object.") from None
    if not isinstance(found, dict):
        raise SettingError(f"it holds {_shown(found)}. Settings are one JSON object: {{…}}.")
    return found


def _read(
    kind: type[Config], values: Any, defaults: Config | None, place: str, faults: list[str], stored: bool = False
) -> Config | None:
    """Return a dataclass of JSON values, or None and what is wrong with them."""
    if not isinstance(values, dict):
        faults.append(f"{place or kind.__name__} is {_shown(values)}; it takes an object of settings.")
        return None
    before, hints = len(faults), _hints(typing.cast(Any, kind))
    values = _laid_out(hints, values)
    faults += [_unknown(kind, name, hints, place) for name in sorted(set(values) - set(hints), key=str)]
    standing: dict[str, Any] = {
        item.name: getattr(defaults, item.name) if defaults is not None else _default(item)
        for item in dataclasses.fields(typing.cast(Any, kind))
    }
    for name, hint in hints.items():
        path = f"{place}.{name}" if place else name
        if name not in values:
            if standing[name] is dataclasses.MISSING:
                faults.append(f"{path} is missing; it takes {_wanted(hint)}.")
            continue
        value, nested = values[name], _nested(hint)
        if nested is not None and (value is not None or types.NoneType not in _kinds(hint)):
            inner = standing[name] if isinstance(standing[name], nested) else None
            standing[name] = _read(nested, value, inner, path, faults, stored)
            continue
        listed = _listed(hint)
        if listed is not None and isinstance(value, list | tuple):
            parts = [
                _read(listed, part, None, f"{path}[{number}]", faults, stored) for number, part in enumerate(value)
            ]
            standing[name] = tuple(part for part in parts if part is not None)
            continue
        standing[name] = value = tuple(value) if isinstance(value, list) else value
        if not stored:
            faults += _faults(hint, value, path)
    if len(faults) > before:
        return None
    made = object.__new__(kind)  # all is checked here, with the whole path
    for name, value in standing.items():
        object.__setattr__(made, name, value)
    if isinstance(made, Settings) and not stored:
        faults += [f"{place}.{name} {said}" if place else f"{name} {said}" for name, said in made.conflicts()]
    return made


def _laid_out(hints: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return settings as they are laid out today.

    Those of LoRA once stood beside the others. Only a classifier ever ran with their dropout; it still has it.
    """
    lora = hints.get("lora")
    if lora is None or "lora" in values:
        return values
    moved = set(_hints(lora)) & set(values)
    idle = {"dropout"} - set(hints)
    kept = {name: value for name, value in values.items() if name not in moved | idle}
    return kept | ({"lora": {name: values[name] for name in moved}} if moved else {})


def _faults(hint: Any, value: Any, place: str) -> Iterator[str]:
    """Yield what is wrong with a value, where a hint with bounds says what it may be."""
    fitting = [(base, bounds) for base, bounds in map(_unbound, _kinds(hint)) if _is_a(base, value)]
    inside = [fault for base, _ in fitting for fault in _faults_inside(base, value, place)]
    if inside:
        yield from inside
    elif not any(all(bound.holds(value) for bound in bounds) for _, bounds in fitting):
        choices = [choice for base, _ in map(_unbound, _kinds(hint)) for choice in _choices(base)]
        yield f"{place} is {_shown(value)}; it takes {_wanted(hint)}.{_meant(value, choices)}"


def _faults_inside(kind: Any, value: Any, place: str) -> Iterator[str]:
    """Yield what is wrong with the parts of a list or an object."""
    if isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from _faults(typing.get_args(kind)[0], part, f"{place}[{number}]")
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _faults(typing.get_args(kind)[1], part, f"{place}.{name}")


def _is_a(kind: Any, value: Any) -> bool:
    """Tell whether a value is of a kind: true is no number, and 1.0 no whole one."""
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        return value in typing.get_args(kind)
    if dataclasses.is_dataclass(origin):
        return isinstance(value, typing.cast(type, origin))
    return type(value) is origin or (origin, type(value)) == (float, int)


def _wanted(hint: Any) -> str:
    """Say what a setting takes."""
    words = []
    for kind in _kinds(hint):
        base, bounds = _unbound(kind)
        origin, inner = typing.get_origin(base) or base, typing.get_args(base)
        if origin is Literal:
            words += [json.dumps(choice) for choice in inner]
            continue
        if origin is tuple:
            word = f"a list, each {_wanted(inner[0])}"
        elif origin is dict:
            word = f"an object, each value {_wanted(inner[1])}"
        else:
            word = _WORDS.get(origin, "an object of settings")
        said = " and ".join(filter(None, map(str, bounds)))
        words.append(said if said.startswith("a") and origin is str else f"{word}, {said}" if said else word)
    if len(words) == 1:
        return words[0]
    comma = "," if any("," in word for word in words) else ""
    return f"{', '.join(words[:-1])}{comma} or {words[-1]}"


def _unknown(kind: type, name: Any, hints: dict[str, Any], place: str) -> str:
    where = f"{place}.{name}: " if place else ""
    return f"{where}{kind.__name__} has no setting {name!r}; it has {', '.join(sorted(hints))}.{_meant(name, hints)}"


def _told(faults: list[str]) -> str:
    """Return one message of all faults."""
    if len(faults) == 1:
        return faults[0]
    return "\n".join([f"{len(faults)} settings are wrong:", *(f"- {fault}" for fault in faults)])


def _shown(value: Any) -> str:
    """Return a value as JSON writes it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _meant(value: Any, choices: Iterable[str]) -> str:
    found = difflib.get_close_matches(value, choices, 1) if isinstance(value, str) else []
    return f" Did you mean {found[0]!r}?" if found else ""


def _choices(kind: Any) -> tuple[str, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _unbound(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a kind without its bounds, and the bounds."""
    if typing.get_origin(kind) is not Annotated:
        return kind, ()
    base, *bounds = typing.get_args(kind)
    return base, tuple(bounds)


def _nested(hint: Any) -> Any:
    return next((kind for kind in _kinds(hint) if dataclasses.is_dataclass(kind)), None)


def _listed(hint: Any) -> Any:
    """Return the dataclass that a list holds, or None."""
    lists = (typing.get_args(base) for base, _ in map(_unbound, _kinds(hint)) if typing.get_origin(base) is tuple)
    return next((inner[0] for inner in lists if inner and dataclasses.is_dataclass(inner[0])), None)


def _default(item: "dataclasses.Field[Any]") -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
