"""What a study is made from, typed: the pool of facts and the base; sections of ``atlas.config.Study``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from atlas.errors import AtlasError
from atlas.sections import Name, Positive, Rate, Section

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


class Pool(Section):
    """Which facts there are, and how many of them are taught."""

    source: str | None = Field(
        None, description="own pool (CSV, JSONL, Parquet; JSON of CounterFact or zsRE); null: the tables of Atlas"
    )
    unfit: Literal["refuse", "skip"] = Field(
        "refuse", description="what becomes of an own pool with facts that break a rule: refuse it, or leave them out"
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

    @model_validator(mode="after")
    def _keys_fit_the_source(self) -> Pool:
        if self.source and self.shares != SHARES:
            raise ValueError("shares: an own pool (source) has the shares of its own rows; remove one of the two keys")
        if self.unfit == "skip" and not self.source:
            raise ValueError("unfit: the tables of Atlas have no facts to skip; name an own pool in source")
        return self

    @property
    def most_taught(self) -> int | None:
        """Facts to teach, or None where only the rows of an own pool can tell."""
        return self.taught or (None if self.source else sum(SHARES.values()))

    @property
    def most_placebo(self) -> int | None:
        """Placebo facts, one for four taught in the tables of Atlas, or None where only an own pool can tell."""
        return self.placebo or (None if self.source else sum(SHARES.values()) // 4)


class Model(Section):
    """Shape of the OPT-like decoder that is pretrained."""

    layers: Positive = 4
    width: Positive = 128
    heads: Positive = 4
    ffn: Positive = 512
    context: Positive = Field(256, description="positions")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Model:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class Pretraining(Section):
    """How the base is pretrained."""

    steps: Positive = 1000
    batch: Positive = Field(16, description="windows of the whole context a step")
    lr: Rate = Field(3e-3, description="peak rate of AdamW (embeddings, norms, biases)")
    matrix_lr: Rate = Field(2e-2, description="peak rate of Muon (matrices inside the layers)")
    warmup: float = Field(0.02, ge=0, le=1, description="share of the steps with a rising rate")
    decay: float = Field(0.7, ge=0, le=1, description="share of the steps, at the end, with a falling rate")
    weight_decay: float = Field(0.1, ge=0, description="of the matrices")


class Base(Section):
    """The frozen model that adapters are attached to."""

    corpus: str = Field("shakespeare", description="'shakespeare' (fetched, hash-checked) or a text file")
    validation: float = Field(0.05, gt=0, lt=0.5, description="share of the corpus, from its end, for validation")
    seed: int = 0
    model: Model | str = Field(
        Model(),
        description="shape of the decoder that is pretrained; or a language model to take as it is: a folder of "
        "transformers (config.json, safetensors, tokenizer.json) or a GGUF file",
    )
    training: Pretraining = Pretraining()
    max_val_loss: float = Field(1.52, gt=0, description="nats per character; a worse base gets no certificate")

    @property
    def own(self) -> Model:
        """The shape of the model that is pretrained. AtlasError where the model comes from outside."""
        if isinstance(self.model, str):
            raise AtlasError(f"base.model: {self.model} comes from outside; this takes a model that is pretrained here")
        return self.model
