"""Every setting is checked where it is made and where it is read, by Python, by our files and by Prefect's forms."""

import dataclasses
import json
import math
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from recsys import config
from recsys.config import (
    CategoryConfig,
    ClassifierConfig,
    EvaluationConfig,
    GateConfig,
    IngestConfig,
    LoraConfig,
    ModelConfig,
    MonitorConfig,
    PairsConfig,
    PretrainConfig,
    ReviewConfig,
    Settings,
    SignalConfig,
    TextConfig,
    TowerConfig,
    TuneConfig,
    from_dict,
    from_stored,
    read_settings,
    to_dict,
)
from recsys.errors import SettingError
from recsys.settings.bounds import Bound

ROOTS = (
    ModelConfig,
    IngestConfig,
    PretrainConfig,
    PairsConfig,
    ClassifierConfig,
    TuneConfig,
    GateConfig,
    MonitorConfig,
)
ID = "0123456789abcdef"
FULL = {
    IngestConfig: IngestConfig(reviews=ReviewConfig(ID), categories=CategoryConfig(ID)),
    ModelConfig: ModelConfig(signals=(SignalConfig("target"),)),
}


def paths(kind: Any, place: tuple[str, ...] = ()) -> typing.Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every setting below a dataclass and its hint."""
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        kinds = [one for one in (hint, *typing.get_args(hint)) if isinstance(one, type)]
        nested = [one for one in kinds if dataclasses.is_dataclass(one)]
        if nested:
            yield from paths(nested[0], (*place, name))
        else:
            yield (*place, name), hint


def within(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value


SETTINGS = [(root, path, hint) for root in ROOTS for path, hint in paths(root)]
NAMED = [".".join((root.__name__, *path)) for root, path, _ in SETTINGS]


@pytest.mark.parametrize(("root", "path", "hint"), SETTINGS, ids=NAMED)
def test_no_setting_takes_what_is_of_another_type(root: Any, path: tuple[str, ...], hint: Any) -> None:
    defaults = FULL[IngestConfig] if root is IngestConfig else root()
    optional = type(None) in typing.get_args(hint)
    for wrong in ([{}], *(() if optional else (None,))):
        with pytest.raises(SettingError, match=f"^{'.'.join(path)}"):
            from_dict(root, within(path, wrong), defaults)


@pytest.mark.parametrize(("root", "path", "hint"), SETTINGS, ids=NAMED)
def test_every_number_has_a_bound_which_the_form_has_too(root: Any, path: tuple[str, ...], hint: Any) -> None:
    base = next(one for one in (hint, *typing.get_args(hint)) if one is not type(None))
    if "int" not in str(base) and "float" not in str(base):
        return
    bounds = [part for part in typing.get_args(base) if isinstance(part, Bound)] or [
        part for one in typing.get_args(base) for part in typing.get_args(one) if isinstance(part, Bound)
    ]
    assert len(bounds) == 1
    low = bounds[0].at_least if bounds[0].at_least is not None else bounds[0].above
    assert low is not None
    form = TypeAdapter(root)
    for wrong in (low - 1, True, "8", math.nan, math.inf):
        with pytest.raises(SettingError, match=f"^{'.'.join(path)} is "):
            from_dict(root, within(path, wrong), FULL[IngestConfig] if root is IngestConfig else None)
        if root is not IngestConfig:
            with pytest.raises(ValidationError):
                form.validate_python(within(path, wrong))


def test_all_that_is_wrong_is_told_at_once_by_its_whole_path() -> None:
    given = {
        "adapter": {"lora": {"rank": "eight", "targets": [], "alfa": 1}, "pretrained": "newest"},
        "tower": {"heads": 3, "epochs": 1.0},
        "evaluation": {"protocols": ["temporl"]},
        "sede": 1,
        "text": None,
    }
    with pytest.raises(SettingError) as told:
        from_dict(ModelConfig, given)
    assert str(told.value).splitlines() == [
        "8 settings are wrong:",
        "- ModelConfig has no setting 'sede'; it has adapter, evaluation, experts, resume, seed, signals, text, tower. "
        "Did you mean 'seed'?",
        "- text is null; it takes an object of settings.",
        "- adapter.lora.alfa: LoraConfig has no setting 'alfa'; it has alpha, base, rank, rslora, targets. "
        "Did you mean 'alpha'?",
        '- adapter.lora.rank is "eight"; it takes a whole number, at least 1.',
        "- adapter.lora.targets is []; it takes a list, each a text of up to 4,096 characters that is not blank, at "
        "least 1 and none twice.",
        '- adapter.pretrained is "newest"; it takes an id of 16 hexadecimal digits or null.',
        "- tower.epochs is 1.0; it takes a whole number, at least 1, or null.",
        '- evaluation.protocols[0] is "temporl"; it takes "leave-one-out", "temporal" or "cold-items". '
        "Did you mean 'temporal'?",
    ]


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (ModelConfig, {"tower": {"heads": 3}}, "^tower.heads is 3, which does not divide dimensions, 128"),
        (ModelConfig, {"evaluation": {"test_share": 0.95}}, "^evaluation.test_share is 0.95 beside validation_share"),
        (PretrainConfig, {"lora": {"targets": ["all-linear", "query"]}}, "^lora.targets names layers beside"),
        (EvaluationConfig, {"protocols": ["temporal", "temporal"]}, "^protocols is .* none twice"),
        (TextConfig, {"fields": ["title", 3]}, r"^fields\[1\] is 3; it takes a text"),
        (IngestConfig, {"reviews": {}}, "^reviews.adapter is missing; it takes a text"),
        (IngestConfig, {"item_columns": {"title": 3}}, "^item_columns.title is 3; it takes a text"),
        (ModelConfig, ["seed"], r'^ModelConfig is \["seed"\]; it takes an object'),
        (ModelConfig, {"adapter": {"rank": 0}}, "^adapter.lora.rank is 0"),  # where LoRA's settings once stood
    ],
)
def test_what_does_not_go_together_is_refused(kind: Any, given: Any, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        from_dict(kind, given)


def test_python_is_told_where_it_makes_them() -> None:
    with pytest.raises(SettingError, match=r"LoraConfig.rank is -1; it takes a whole number, at least 1\."):
        LoraConfig(rank=-1)
    with pytest.raises(SettingError, match=r"TowerConfig\.heads is 3"):
        dataclasses.replace(TowerConfig(), heads=3)
    with pytest.raises(SettingError, match=r"ModelConfig\.adapter is .*object of settings"):
        ModelConfig(adapter={"rounds": 3})  # type: ignore[arg-type]


def test_what_was_stored_before_there_were_bounds_is_read() -> None:
    old = {"tower": {"heads": 3, "epochs": 0}, "adapter": {"rank": -1, "targets": []}}
    found = from_stored(ModelConfig, old)
    assert (found.tower.heads, found.tower.epochs, found.adapter.lora.targets) == (3, 0, ())
    assert from_stored(ModelConfig, to_dict(found)) == found
    with pytest.raises(SettingError, match="no setting 'head'"):
        from_stored(ModelConfig, {"tower": {"head": 3}})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"seed": 1,\n "tower": }', "line 2, column 11: Expecting value"),
        (b"", "line 1, column 1"),
        (b'{"seed": 1, "seed": 2}', "'seed' stands there twice"),
        (b'{"tower": {"dropout": NaN}}', "NaN is no number"),
        (b'{"adapter": {"learning_rate": 1e999}}', "adapter.learning_rate is Infinity"),
        (b"\xff", "byte 0 is no UTF-8"),
        (b"[" * 100_000, "its brackets have no end"),
        (b"[1]", r"it holds \[1\]. Settings are one JSON object"),
        (None, "there is no such file"),
    ],
)
def test_a_file_that_cannot_be_read_says_where(content: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match=f"{path}: {told}"):
        read_settings(ModelConfig, path)
    path.write_text("\ufeff" + json.dumps({"seed": 3}))
    assert read_settings(ModelConfig, path) == ModelConfig(seed=3)


def test_all_settings_are_read_by_somebody_s_command() -> None:
    """A dataclass of settings that no root holds would be checked by nobody."""
    made = [FULL.get(root) or root() for root in ROOTS]
    held = {type(part) for one in made for part in parts(one)}
    assert held == {one for one in vars(config).values() if isinstance(one, type) and issubclass(one, Settings)} - {
        Settings
    }


def parts(given: Any) -> typing.Iterator[Any]:
    yield given
    for item in dataclasses.fields(given):
        value = getattr(given, item.name)
        for one in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(one):
                yield from parts(one)
