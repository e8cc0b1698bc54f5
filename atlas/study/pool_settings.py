"""The pool of facts, as a study asks for it: a section of ``atlas.study.config.Study``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from atlas.study.paths import OwnPath
from atlas.study.settings import Name, Positive, Settings, Share

SHARES = {
    "codes": 456,
    "personal": 356,
    "geography": 253,
    "history": 172,
    "science": 167,
    "biology": 76,
    "language": 30,
    "identity": 10,
}
MOST_TAUGHT = sum(SHARES.values())
MOST_PLACEBO = MOST_TAUGHT // 4
TEACHABLE = 5  # paraphrases of a fact in the tables of Atlas that a recipe may teach


class Pool(Settings):
    """Which facts there are, and how many of them are taught."""

    source: OwnPath | None = Field(
        None, description="own pool (CSV, TSV, JSON, JSONL, Parquet, or a research file); null: the tables of Atlas"
    )
    unfit: Literal["refuse", "skip"] = Field(
        "refuse", description="what becomes of a pool with facts that break a rule: refuse it, or leave them out"
    )
    most_unfit: Share = Field(
        0.2, description="with `unfit: skip`, the share of facts that break a rule above which the pool is refused"
    )
    seed: int = Field(0, description="draws which facts are taught and which serve as placebo")
    taught: Positive | None = Field(
        None, description="facts that streams are drawn from; null: 1520, of an own pool its taught rows (or 4 in 5)"
    )
    placebo: Positive | None = Field(
        None, description="facts never taught; null: 380, of an own pool its placebo rows (or what is left)"
    )
    shares: dict[Name, Positive] = Field(
        SHARES, min_length=1, description="domain shares in the tables of Atlas; an own pool has those of its rows"
    )

    @field_validator("taught", "placebo")
    @classmethod
    def _null_for_the_default(cls, count: int | None, given: ValidationInfo) -> int | None:
        default = {"taught": MOST_TAUGHT, "placebo": MOST_PLACEBO}[given.field_name or ""]
        return None if count == default and not given.data.get("source") else count

    @field_validator("shares")
    @classmethod
    def _largest_first(cls, shares: dict[str, int]) -> dict[str, int]:
        return dict(sorted(shares.items(), key=lambda share: (-share[1], share[0])))

    @model_validator(mode="after")
    def _keys_fit_the_source(self) -> Pool:
        if self.source and self.shares != SHARES:
            raise ValueError("shares: an own pool (source) has the shares of its own rows; remove one of the two keys")
        return self

    @property
    def most_taught(self) -> int | None:
        """Facts to teach, or None where only the rows of an own pool can tell."""
        return self.taught or (None if self.source else MOST_TAUGHT)

    @property
    def most_placebo(self) -> int | None:
        """Placebo facts, one for four taught in the tables of Atlas, or None where only an own pool can tell."""
        return self.placebo or (None if self.source else MOST_PLACEBO)
