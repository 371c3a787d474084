"""The forms: every setting is described and bounded in what the server knows, and it refuses what does not fit."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client

import flows
from flows.forms import close_forms
from flows.pipeline import pipeline
from flows.tune import tune_settings
from recsys.config import LoraConfig
from recsys.settings.comments import comments

Schema = dict[str, Any]
ANY_NUMBER = {"SignalConfig.at_least", "SignalConfig.below"}  # of the events' own values
ANY_TEXT = {"type": "string"}


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
