"""Texts to labels: requests and answers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from recsys_client.schemas.fields import Request
from recsys_client.schemas.recommend import Adapter
from recsys_client.schemas.texts import MAX_TEXT, MAX_TEXTS


class ClassifyRequest(Request):
    """Texts to classify."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["I cannot log in since this morning"]}]})

    texts: list[Annotated[str, StringConstraints(max_length=MAX_TEXT)]] = Field(
        fail_fast=True, min_length=1, max_length=MAX_TEXTS
    )
    adapter: Adapter = Field(None, description="A classifier, as GET /v1/adapters shows it; the newest by default.")


class Classified(BaseModel):
    """What one text is."""

    label: str = Field(description="The likeliest; of two as likely the first in the order of the labels.")
    probabilities: dict[str, float] = Field(description="Of all labels; they sum to 1.")


class ClassifyAnswer(BaseModel):
    """One result a text, in the order of the request."""

    results: list[Classified]
    adapter: str
    took_ms: float
