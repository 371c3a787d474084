"""The forms: every setting is described and bounded in what the server knows, and it refuses what does not fit."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.utilities.schema_tools.validation import validate

import flows
from flows.forms import close_forms
from flows.pipeline import pipeline
from flows.tune import tune_settings
from recsys.config import LoraConfig
from recsys.settings.comments import comments

Schema = dict[str, Any]
ANY_NUMBER = {"SignalConfig.at_least", "SignalConfig.below"}  # of the events' own values
DEPLOYMENTS = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
TEXTS = ("a", "0123456789abcdef", "2026-03-01", "a/b", "10.0.0.1:6379")  # one of which any pattern takes
WRONG_TEXTS = ("", "  ", "x" * 100_000)


def all_flows() -> dict[str, Flow[..., Any]]:
    """Every flow that there is, by name."""
    names = [one.name for one in pkgutil.iter_modules(flows.__path__, "flows.") if one.name != "flows.commands"]
    found = [value for name in names for value in vars(importlib.import_module(name)).values()]
    return {one.name: one for one in found if isinstance(one, Flow)}


def objects() -> Iterator[tuple[str, Schema, bool]]:
    """Yield every object of every form: its name, its schema, and whether it is the whole form."""
    for name, flow in all_flows().items():
        schema = flow.parameters.model_dump_for_openapi()
        yield name, schema, True
        for kind, definition in schema.get("definitions", {}).items():
            if "properties" in definition:
                yield kind, definition, False


def leaves(schema: Schema) -> Iterator[Schema]:
    """Yield the schemas of what a value is: of each choice, and of what lists and maps hold."""
    inner = [*schema.get("anyOf", []), schema.get("items"), schema.get("additionalProperties")]
    nested = [one for one in inner if isinstance(one, dict)]
    yield from (leaf for one in nested for leaf in leaves(one))
    if not nested:
        yield schema


def test_every_setting_of_every_form_is_described() -> None:
    found = {f"{kind}.{name}": one for kind, schema, _ in objects() for name, one in schema["properties"].items()}
    assert {"pipeline.events", "train.snapshot_id", "LoraConfig.rank", "TuneConfig.trials"} <= set(found)
    assert [path for path, one in found.items() if not one.get("description", "Takes").partition("Takes")[0]] == []
    assert [path for path, one in found.items() if "$ref" not in one and not one.get("title")] == []
    nullable = {path: one["description"] for path, one in found.items() if {"type": "null"} in one.get("anyOf", [])}
    assert [path for path, said in nullable.items() if "None:" not in said and "empty:" not in said] == []


def test_every_value_of_every_form_is_bounded() -> None:
    for kind, schema, whole in objects():
        assert whole or schema["additionalProperties"] is False, kind
        for name, one in schema["properties"].items():
            path = f"{kind}.{name}"
            for leaf in leaves(one):
                assert {"type", "$ref"} & set(leaf), f"{path} takes anything"
                if leaf.get("type") in ("integer", "number"):
                    assert {"minimum", "exclusiveMinimum"} & set(leaf) or path in ANY_NUMBER, path
                if leaf.get("type") == "string":
                    assert {"pattern", "enum"} & set(leaf), f"{path} takes any text"


def test_a_description_is_the_comment_behind_the_field() -> None:
    """Written once; longer ones too, which stand on lines of their own in brackets."""
    found = {kind: schema["properties"] for kind, schema, _ in objects()}
    assert comments(LoraConfig)["rank"] == "of the two matrices that are learnt beside each layer"
    assert found["LoraConfig"]["rank"]["description"] == (
        "of the two matrices that are learnt beside each layer. Takes a whole number, at least 1."
    )
    assert "`" not in str([one["description"] for one in found["TextConfig"].values()])
    assert found["ModelConfig"]["signals"]["description"].startswith("what events mean; None: as their types")
    assert "#" not in str([one["description"] for one in found["EvaluationConfig"].values()])


def test_a_class_without_a_source_has_no_comments() -> None:
    assert comments(type("Made", (), {})) == {}


@pytest.fixture(scope="module")
def client(prefect_server: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def deployed(client: SyncPrefectClient, flow: Flow[..., Any]) -> UUID:
    """Deploy a flow as `prefect deploy` does, for nobody to run."""
    schema = flow.parameters.model_dump_for_openapi()
    return client.create_deployment(client.create_flow(flow), f"form-{uuid4()}", parameter_openapi_schema=schema)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"adapter": {"lora": {"rank": -5}}}, "-5 is less than the minimum of 1"),
        ({"tower": {"dropout": 7}}, "7 is greater than or equal to the maximum of 1"),
        ({"evaluation": {"protocols": []}}, "should be non-empty|too short"),
        ({"evaluation": {"protocols": ["temporal", "temporal"]}}, "non-unique"),
        ({"evaluation": {"protocols": ["temprol"]}}, "'temprol' is not one of"),
        ({"towr": {"heads": 2}}, "'towr' was unexpected"),
        ({"signals": [{"role": "liked"}]}, "'liked' is not one of"),
        ({"seed": "1"}, "'1' is not of type 'integer'"),
    ],
)
def test_what_does_not_fit_is_refused_before_there_is_a_run(
    client: SyncPrefectClient, model: dict[str, Any], told: str
) -> None:
    deployment = deployed(client, pipeline)
    with pytest.raises(httpx.HTTPStatusError, match="409") as refused:
        client.create_flow_run_from_deployment(deployment, parameters={"model": model})
    assert re.search(told, refused.value.response.json()["detail"])
    assert client.create_flow_run_from_deployment(deployment, parameters={"model": {"seed": 3}})


def test_a_parameter_that_does_not_exist_is_refused_where_a_deployment_is_closed(client: SyncPrefectClient) -> None:
    deployment = deployed(client, tune_settings)
    given = {"snapshot_id": "0123456789abcdef", "serach": {"trials": 2}}
    assert client.create_flow_run_from_deployment(deployment, parameters=given)  # Prefect's own schemas are open
    close_forms(client, [deployment])
    with pytest.raises(httpx.HTTPStatusError, match="409") as refused:
        client.create_flow_run_from_deployment(deployment, parameters=given)
    assert "'serach' was unexpected" in refused.value.response.json()["detail"]


def deployed_flow(entrypoint: str) -> Flow[..., Any]:
    """Return the flow of a deployment."""
    path, name = entrypoint.split(":")
    flow: Flow[..., Any] = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    return flow


def resolved(schema: Schema, definitions: Schema) -> Schema:
    """Return the definition that a reference stands for, or the schema itself."""
    return definitions[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def fitting(schema: Schema, definitions: Schema) -> Any:
    """Return a value that fits, with what is required and nothing else."""
    one = resolved(next(leaf for leaf in alternatives(schema) if leaf.get("type") != "null"), definitions)
    if "enum" in one:
        return one["enum"][0]
    if one["type"] == "object":
        inner = one.get("properties", {})
        return {name: fitting(inner[name], definitions) for name in one.get("required", [])}
    if one["type"] == "array":
        return [fitting(one["items"], definitions)]
    if one["type"] == "string":
        return next(text for text in TEXTS if re.search(one["pattern"], text))
    return {"boolean": True}.get(one["type"], one.get("minimum", one.get("exclusiveMinimum", 0) + 0.5))


def alternatives(schema: Schema) -> list[Schema]:
    """Return the schemas of which a value fits one."""
    found: list[Schema] = schema.get("anyOf", schema.get("allOf", [schema]))
    return found


def wrong(schema: Schema, definitions: Schema) -> Iterator[Any]:
    """Yield values that do not fit a schema, of each of its bounds one, down to the deepest setting."""
    choices = [resolved(one, definitions) for one in alternatives(schema)]
    if {"type": "null"} not in choices:
        yield None
    for one in choices:
        kind = one.get("type")
        if kind in ("integer", "number"):
            if "minimum" in one:
                yield one["minimum"] - 1
            if "exclusiveMinimum" in one:
                yield one["exclusiveMinimum"]
            if "maximum" in one:
                yield one["maximum"] + 1
            yield "many"
        elif kind == "string":
            yield from WRONG_TEXTS
            yield 7
        elif kind == "boolean":
            yield "perhaps"
        elif kind == "array":
            yield from ([value] for value in wrong(one["items"], definitions))
            if one.get("minItems"):
                yield []
        elif kind == "object":
            yield "nothing"
            for inner in (one.get("additionalProperties") and [one["additionalProperties"]]) or []:
                yield from ({"a": value} for value in wrong(inner, definitions))
            if "properties" in one:
                full = fitting(one, definitions)
                yield {**full, "no such name": 1}
                for name, inner in one["properties"].items():
                    yield from ({**full, name: value} for value in wrong(inner, definitions))


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["name"])
def test_a_form_takes_nothing_beyond_a_bound_however_deep_it_lies(deployment: dict[str, Any]) -> None:
    """By the server's own check, over all that is deployed, whoever adds to it."""
    schema = deployed_flow(deployment["entrypoint"]).parameters.model_dump_for_openapi()
    definitions = schema.get("definitions", {})
    full = {name: fitting(schema["properties"][name], definitions) for name in schema.get("required", [])}

    assert validate(full | deployment.get("parameters", {}), schema) == []
    tried = 0
    for name, one in schema["properties"].items():
        assert validate(full | {name: fitting(one, definitions)}, schema) == []
        for value in wrong(one, definitions):
            tried += 1
            assert validate(full | {name: value}, schema), f"{name} takes {str(value)[:200]}"
    assert tried >= 3 * len(schema["properties"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["name"])
def test_the_server_refuses_a_typo_in_any_form_and_says_where(
    client: SyncPrefectClient, deployment: dict[str, Any]
) -> None:
    flow = deployed_flow(deployment["entrypoint"])
    schema = flow.parameters.model_dump_for_openapi()
    definitions, made = schema.get("definitions", {}), deployed(client, flow)
    close_forms(client, [made])
    full = {name: fitting(schema["properties"][name], definitions) for name in schema.get("required", [])}
    nested = [name for name, one in schema["properties"].items() if "properties" in resolved(one, definitions)]
    tried = [{"hoem": "/data"}, {"home": ""}, *({name: {"no such name": 1}} for name in nested)]
    for parameters, told in zip(tried, ("hoem", "home", *["no such name"] * len(nested)), strict=True):
        with pytest.raises(httpx.HTTPStatusError, match="409") as refused:
            client.create_flow_run_from_deployment(made, parameters=full | parameters)
        assert told in refused.value.response.json()["detail"]


@pytest.mark.parametrize(
    ("until", "fits"),
    [
        ("2026-03-01", True), ("2026-03-01T00:00Z", True), ("2026-03-01 23:59:59.5+02:00", True), ("2024-02-29", True),
        ("2026-02-30", False), ("2026-13-01", False), ("2026-03-01T25:00Z", False), ("2026-03-01 or so", False),
        ("yesterday", False), ("01.03.2026", False), ("", False),
    ],
)  # fmt: skip
def test_a_date_that_no_calendar_has_is_refused(until: str, fits: bool) -> None:
    schema = deployed_flow("flows/monitor.py:monitor_served").parameters.model_dump_for_openapi()
    assert (validate({"until": until}, schema) == []) is fits
