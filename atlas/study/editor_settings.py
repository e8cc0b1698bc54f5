"""What decides an editor: the settings of an arm whose method writes facts into the weights instead of training LoRA.

Kept apart from ``atlas.study.arms``, which takes these classes in, because only editors read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from atlas.study.settings import Settings

Site = Literal["subject_last", "subject_after", "subject", "prompt_last", "answer"]
"""Whose keys a fact is written to. The literature edits at the last token of the subject; a token is a character here:

subject_last   the last character of the subject
subject_after  the character behind the subject (a space, as a rule), the first one that knows that the subject ended
subject        every character of the subject, each with a value of its own
prompt_last    the last character of the prompt
answer         every character that predicts one of the answer (the space before it, then the answer), each with a value
               of its own
"""

Layer = Annotated[int, Field(ge=0)]


class Contexts(Settings):
    """Random texts that the base writes; a sentence's keys are averaged over what they are behind these."""

    count: int = Field(2, ge=0, description="texts in front of the sentence, besides none at all")
    characters: int = Field(10, gt=0, description="length of a text; a line end follows it")


class Value(Settings):
    """How the values are found that make the answer likely (Adam on what is added to the layer's output)."""

    steps: int = Field(50, gt=0)
    lr: float = Field(0.2, gt=0)
    stop: float = Field(0.05, ge=0, description="a fact whose loss is below this is left as it is")
    clamp: float = Field(4.0, gt=0, description="longest addition, in lengths of what it is added to")
    decay: float = Field(1.0, ge=0, description="weight of the squared length of the addition, in the same unit")
    essence: float = Field(
        0.0625, ge=0, description="weight of the divergence from the base on 'SUBJECT is a', where the site is in that"
    )


class _Editing(Settings):
    site: Site = Field("answer", description="characters whose keys a fact is written to")
    contexts: Contexts = Contexts()
    value: Value = Value()


class Rome(_Editing):
    """ROME (Meng et al. 2022): one fact after the other, each exactly, into one layer."""

    method: Literal["rome", "r_rome"] = Field(description="r_rome: one key throughout (Gupta et al. 2024)")
    layer: Layer = Field(2, description="whose `down` matrix is edited, from 0")


class _Ranged(_Editing):
    layers: list[Layer] = Field(
        [0, 1, 2], min_length=1, description="whose `down` matrices are edited, in rising order"
    )
    value: Value = Value(decay=2.0)  # of a whole layer's output, which is longer than what ROME adds to


class Memit(_Ranged):
    """MEMIT (Meng et al. 2023): all facts of a session together, spread over a range of layers."""

    method: Literal["memit"]
    covariance_weight: float = Field(
        30.0, gt=0, description="lambda: as many keys of facts as the corpus weighs, all of it"
    )
    look_back: bool = Field(False, description="keys of facts written before keep their values, too, as in AlphaEdit")
    at_once: bool = Field(
        False,
        description="all facts of the run in one edit: at each checkpoint a fresh base and all facts up to then, and "
        "nothing in between",
    )


class AlphaEdit(_Ranged):
    """AlphaEdit (Fang et al. 2025): MEMIT in the directions that the corpus hardly uses, facts written before kept."""

    method: Literal["alphaedit"]
    null_share: float = Field(
        0.1, gt=0, lt=1, description="share of the keys' second moment that the directions free for edits may hold"
    )
    ridge: float = Field(0.3, gt=0, description="weight of the squared length of the update")


Editing = Annotated[Rome | Memit | AlphaEdit, Field(discriminator="method")]
"""The settings of an editor, by its method."""

BY_METHOD: Mapping[str, type[Rome | Memit | AlphaEdit]] = {
    "rome": Rome,
    "r_rome": Rome,
    "memit": Memit,
    "alphaedit": AlphaEdit,
}


def layers_of(settings: Editing) -> list[int]:
    """The layers that an editor changes, from 0."""
    return [settings.layer] if isinstance(settings, Rome) else settings.layers
