"""Kubernetes' own types, and the manifests of `infra/kubernetes`, whole or as kustomize puts them together."""

import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = Path(__file__).parents[2] / "infra" / "kubernetes"
OVERLAYS = ("small", "production")
Manifest = dict[str, Any]


def _types(group_version: str) -> types.ModuleType:
    """Return the module of an API's types, which are generated from Kubernetes' OpenAPI document.

    They are made for a client that is not installed, of which they take three names that the standard library has.
    """
    if "lightkube.core.schema" not in sys.modules:
        stand_in = types.ModuleType("lightkube.core.schema")
        vars(stand_in).update(dataclass=dataclass, field=field, DictMixin=object)
        sys.modules |= {"lightkube.core": types.ModuleType("lightkube.core"), "lightkube.core.schema": stand_in}
    group, _, version = group_version.rpartition("/")
    return import_module(f"lightkube.models.{group.removesuffix('.k8s.io').partition('.')[0] or 'core'}_{version}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def wrong(manifest: Manifest, part: bool = False) -> list[str]:
    """Return what of a manifest does not fit its type: fields that there are not, that are lacking, or of another type.

    Args:
        manifest: with ``apiVersion`` and ``kind``.
        part: whether it is a patch, which may lack what is needed, and has null for what it takes away.
    """
    kind = getattr(_types(manifest["apiVersion"]), manifest["kind"])
    return list(_wrong(kind, manifest, manifest["kind"], part))


def _wrong(kind: Any, value: Any, place: str, part: bool) -> Iterator[str]:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        wanted = [one for one in inner if one is not type(None)]
        if value is None and len(wanted) < len(inner):
            return
        found = [list(_wrong(one, value, place, part)) for one in wanted]
        if all(found):  # it fits none of them
            yield from found[0]
    elif value is None and part:
        return
    elif is_dataclass(kind):
        if not isinstance(value, Mapping):
            yield f"{place} is {value!r}, not an object"
            return
        known = {one.name.removesuffix("_"): one for one in fields(kind)}
        yield from (f"{place}.{name} is unknown" for name in value.keys() - known.keys())
        for name, one in known.items():
            if name in value:
                yield from _wrong(_hints(typing.cast(type, kind))[one.name], value[name], f"{place}.{name}", part)
            elif not part and one.default is MISSING and one.default_factory is MISSING:
                yield f"{place}.{name} is missing"
    elif origin is list:
        if not isinstance(value, list):
            yield f"{place} is {value!r}, not a list"
            return
        for number, one in enumerate(value):
            yield from _wrong(inner[0], one, f"{place}[{number}]", part)
    elif origin is dict:
        for name, one in value.items():
            yield from _wrong(inner[1], one, f"{place}.{name}", part)
    elif isinstance(kind, type) and kind is not object and not _is(kind, value):
        yield f"{place} is {value!r}, not {kind.__name__}"


def _is(kind: type, value: Any) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, kind)


def documents(path: Path) -> list[Manifest]:
    """Return the manifests of a file."""
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


def written() -> Iterator[tuple[Path, Manifest, bool]]:
    """Yield every manifest of the folder that Kubernetes itself has a type for, and whether it is a patch."""
    for folder in (KUBERNETES / name for name in ("base", *OVERLAYS, "restore")):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        patches = {one["path"] for one in kustomization.get("patches", [])}
        for path in sorted(folder.glob("*.yaml")):
            if path.name != "kustomization.yaml":
                for one in documents(path):
                    yield path, one, path.name in patches


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the pod templates of some manifests by the name of what makes them."""
    found = {}
    for one in manifests:
        spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one.get("spec", {})
        if "template" in spec:
            found[one["metadata"]["name"]] = spec["template"]
    return found
