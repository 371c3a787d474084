"""Generations: what there is, and what serves."""

from typing import Any

from pydantic import BaseModel, Field


class GenerationsAnswer(BaseModel):
    """All generations, and how this worker stands to the current one."""

    serving: str | None = Field(description="What this worker answers from.")
    current: str | None = Field(description="Where the pointer points.")
    problem: str | None = Field(description="Why the current one is not served.")
    generations: list[dict[str, Any]]
