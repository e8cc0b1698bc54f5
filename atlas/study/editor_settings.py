"""What decides an editor: the settings of an arm whose method writes facts into the weights instead of training LoRA.

Kept apart from ``atlas.study.arm``, which takes these classes in, because only editors read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from atlas.study.settings import Count, Positive, Settings

EditorMethod = Literal["rome", "r_rome", "memit", "alphaedit"]

EditSite = Literal["subject_last", "subject_after", "subject", "prompt_last", "answer"]
"""The tokens whose keys a fact is written to. A token is a character in a model that is pretrained here, and a piece of
a word in a model from outside:

subject_last   the last token of the subject, where the literature edits
subject_after  the token behind the subject, the first one that can tell that the subject has ended; the subject's last
               one where only the answer follows
subject        every token of the subject, each with a value of its own
prompt_last    the last token of the prompt
answer         every token that predicts one of the answer or its line end, each with a value of its own
"""


class Contexts(Settings):
    """Random texts that the base writes; the keys of a sentence are averaged over its copies behind these texts."""

    count: int = Field(2, ge=0, description="number of texts; the sentence without a text in front counts, too")
    characters: Positive | Annotated[list[Positive], Field(min_length=1)] = Field(
        10, description="length of a text in tokens, its first word included; of a list, text by text in turn"
    )
    openings: list[str] = Field([], description="first words of the texts, in turn; none: a text begins as a line does")
    likeliest: Positive | None = Field(None, description="so many likeliest tokens are drawn from; null: all")
    ends: Literal["line end", ". "] = Field(
        "line end",
        description="what stands behind a text: a line end, so that the sentence begins a line; or '. ', so that text "
        "and sentence are one line, as published",
    )


class ValueSearch(Settings):
    """How the values are found that make the answer likely: by Adam on what is added to the layer's output."""

    steps: int = Field(50, gt=0)
    lr: float = Field(0.2, gt=0)
    stop: float = Field(0.05, ge=0, description="the search of a fact ends where its loss is below this")
    clamp: float = Field(4.0, gt=0, description="longest addition, in lengths of what it is added to")
    decay: float = Field(1.0, ge=0, description="weight of the addition's length, as decay_form counts it")
    decay_form: Literal["squared", "published"] = Field(
        "squared",
        description="squared: the length in lengths h of what is added to, squared; published: the length over h^2, as "
        "the code of ROME and MEMIT has it",
    )
    essence: float = Field(
        0.0625,
        ge=0,
        description="weight of the divergence from the base on 'SUBJECT is a', unless the site is the answer",
    )


class _Editing(Settings):
    site: EditSite = Field("answer", description="tokens whose keys a fact is written to")
    contexts: Contexts = Contexts()
    value: ValueSearch = ValueSearch()


class RomeSettings(_Editing):
    """ROME (Meng et al. 2022): one fact after the other, each exactly, into one layer."""

    method: Literal["rome", "r_rome"] = Field(description="r_rome: one key throughout (Gupta et al. 2024)")
    layer: Count = Field(2, description="whose `down` matrix is edited, from 0")


class LayeredSettings(_Editing):
    """Of an editor that changes several layers, as those of plugins do."""

    layers: list[Count] = Field(
        [0, 1, 2], min_length=1, description="whose `down` matrices are edited, in rising order"
    )
    value: ValueSearch = ValueSearch(decay=2.0)  # of a whole layer's output, which is longer than what ROME adds to


class MemitSettings(LayeredSettings):
    """MEMIT (Meng et al. 2023): all facts of a session together, spread over a range of layers."""

    method: Literal["memit"]
    covariance_weight: float = Field(
        30.0, gt=0, description="lambda: the number of facts' keys that weigh as much as the whole corpus"
    )
    look_back: bool = Field(False, description="keep the values of facts written before, too, as AlphaEdit does")
    at_once: bool = Field(
        False,
        description="write all facts up to a checkpoint into a fresh base in one edit, and nothing between checkpoints",
    )


class AlphaEditSettings(LayeredSettings):
    """AlphaEdit (Fang et al. 2025): MEMIT in the directions that the corpus hardly uses, which keeps earlier facts."""

    method: Literal["alphaedit"]
    null_share: float = Field(
        0.1, gt=0, lt=1, description="share of the keys' second moment in the directions that edits may use, at most"
    )
    ridge: float = Field(0.3, gt=0, description="weight of the squared length of the update")


Editing = Annotated[RomeSettings | MemitSettings | AlphaEditSettings, Field(discriminator="method")]
"""The settings of an editor, by its method."""

BY_METHOD: Mapping[str, type[RomeSettings | MemitSettings | AlphaEditSettings]] = {
    "rome": RomeSettings,
    "r_rome": RomeSettings,
    "memit": MemitSettings,
    "alphaedit": AlphaEditSettings,
}


def layers_of(settings: RomeSettings | LayeredSettings) -> list[int]:
    """The layers that an editor changes, from 0."""
    return [settings.layer] if isinstance(settings, RomeSettings) else settings.layers
