"""What answers have brought: events that name the answer behind them, by generation."""

from datetime import datetime

from pydantic import BaseModel, Field

MAX_HOURS = 24 * 366


class GenerationRate(BaseModel):
    """What the answers of one generation have brought."""

    generation: str
    adapter: str
    lists: int = Field(description="Answers that were shown.")
    clicks: int = Field(description="Different items of answers that events name in rec_id.")
    clicked: int = Field(description="Answers with at least one of them.")
    rate: float = Field(description="clicked / lists; 0 where there are none.")
    low: float = Field(description="Of the rate's 95 % interval (Wilson).")
    high: float


class RatesAnswer(BaseModel):
    """The rates of all generations that have answered since, the one that answered last first."""

    since: datetime
    rates: list[GenerationRate]
    unknown: int = Field(description="Events whose rec_id names no answer that is kept, or one that was not shown.")
    unlisted: int = Field(description="Events whose answer did not hold the item, or was for another user.")
