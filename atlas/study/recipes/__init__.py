"""A recipe, typed: what a session trains, phase by phase.

A preset is a file beside this module, ``NAME.yaml``; what a study says of a recipe is laid over its preset, key by key.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from atlas.study import strict_yaml
from atlas.study.settings import Count, Name, Positive, Rate, Settings, Share, laid_over

FOLDER = Path(__file__).parent
PRESETS = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


class Rehearsal(Settings):
    """Which stored facts a phase trains beside the session's new ones."""

    choice: Literal["weakest", "due", "random"] = Field(
        "weakest",
        description="weakest: those of the greatest loss, as far as it is known; due: of the greatest loss times the "
        "time since it was measured, so that what is known well comes seldom, and all have their turn",
    )
    facts: Positive = Field(9, description="K, stored facts; fewer where fewer are stored")
    unseen: Share = Field(
        0.0, description="share of K that goes to those not looked at for longest instead, so that all have their turn"
    )
    every: Positive | None = Field(
        None, description="steps after which they are chosen anew, by what training showed; null: once a session"
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Rehearsal:
        if self.choice == "due" and self.unseen:
            raise ValueError("unseen: with `choice: due` all have their turn anyway; leave the key out, or write 0")
        return self


class Early(Settings):
    """More steps while few facts are known: they are cheap then, and the adapter has all of its way to go."""

    steps: Positive = Field(description="most steps")
    shown: Positive = Field(description="steps times facts known by then, the new ones included, that are enough")


class Optimiser(Settings):
    """How gradients become steps."""

    kind: Literal["adam", "sgd"] = "adam"
    memory: Literal["phase", "run"] = Field(
        "phase", description="phase: means of gradients begin anew; run: they are kept from session to session"
    )
    momentum: Share = Field(0.9, description="beta 1 of Adam, momentum of SGD")
    variance: Share = Field(0.999, description="beta 2 of Adam")


class Anchor(Settings):
    """A pull on the adapter, added to the loss: weight times its squared distance from somewhere."""

    weight: float = Field(gt=0)
    to: Literal["start", "zero"] = Field("start", description="where the phase began, or no adapter at all")
    by: Literal["distance", "importance"] = Field(
        "distance",
        description="importance: each parameter counts by the squared gradients of the facts taught so far (elastic "
        "weight consolidation, online)",
    )
    memory: Share = Field(1.0, description="what is kept of the importance from session to session")


class Until(Settings):
    """When a lane's phase ends before its steps do: once the facts of the phase are known, each in its turn."""

    facts: Literal["all", "new"] = Field("all", description="new: the stored ones that are rehearsed do not count")
    recalled: bool = Field(True, description="every token of the answer is the likeliest")
    loss: float | None = Field(None, gt=0, description="and the answer costs at most so many nats a token")


class TextMix(Settings):
    """Windows of the base's own training text, trained beside the facts so that the base is not forgotten."""

    windows: Positive = Field(1, description="a step")
    characters: Positive = Field(64, description="tokens of a window (characters, of the base that is pretrained here)")
    toward: Literal["text", "base"] = Field(
        "text",
        description="what predictions are pulled toward; text: the token that follows; base: the base's predictions",
    )
    weight: float = Field(1.0, gt=0, description="of their mean loss, beside that of the facts")


class Phase(Settings):
    """Some steps on a copy of the adapter; then adapter <- (1 - blend) adapter + blend copy."""

    new: bool = Field(True, description="whether the session's facts take part")
    rehearsal: Rehearsal | None = None
    batch: Positive | None = Field(None, description="facts a step, in random order; null: all of the phase")
    steps: Positive | None = Field(None, description="most steps; give this or epochs")
    epochs: Positive | None = Field(None, description="passes over the facts of the phase")
    early: Early | None = Field(None, description="more steps than these while few facts are known")
    until: Until | None = None
    lr: Rate = 1e-3
    schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="falls to 0 over the most steps")
    optimiser: Optimiser = Optimiser()
    anchor: Anchor | None = None
    text: TextMix | None = None
    blend: Share = Field(1.0, description="beta")

    @model_validator(mode="after")
    def _has_a_length(self) -> Phase:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a phase has either steps or epochs; give one of the two and set the other to null")
        if self.early and self.early.steps < (self.steps or self.early.steps + 1):
            had = f"steps: {self.steps}" if self.steps else "no steps but epochs"
            raise ValueError(
                f"early.steps: found {self.early.steps} with {had}, expected at least as many as steps; raise it, or "
                "write early: null"
            )
        if not self.new and self.rehearsal is None and self.text is None:
            raise ValueError("the phase trains nothing: neither new nor stored facts; leave the phase out (null)")
        return self


class Recipe(Settings):
    """Test-time training of one session, as phases in order."""

    preset: Name = Field(
        "essay", description=f"fills the keys that are left out: {', '.join(PRESETS)}; or a name of your own"
    )
    loss: Literal["sentence", "answer"] = Field("sentence", description="tokens that the loss is taken over")
    weakness: Literal["loss", "worst"] = Field(
        "loss", description="what makes a stored fact weak: its loss, or that of the answer's least likely token"
    )
    paraphrases: Count = Field(
        0, description="paraphrases taught beside each sentence; probes ask the last ones, which are never taught"
    )
    mixed: bool = Field(
        False,
        description="the taught paraphrases rotate from fact to fact, so that each is held out for some facts",
    )
    clip: float = Field(1.0, gt=0, description="largest gradient norm of a lane")
    budget: Count | None = Field(
        36,
        description="facts measured after a session to know the weakest, beside those that it trained; null: all, the "
        "exact choice",
    )
    phases: dict[Name, Phase | None] = Field(description="in this order; null leaves one of the preset out")

    @model_validator(mode="before")
    @classmethod
    def _over_its_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name = given.get("preset", "essay")
        if name in PRESETS:
            return {**laid_over(preset(name), given), "preset": name}
        if "phases" not in given:
            raise ValueError(
                f"preset {name!r} is none of {', '.join(PRESETS)}; name one of them, or give the phases of your own"
            )
        return given

    def with_overrides(self, own: dict[str, Any]) -> Recipe:
        """This recipe with keys of another laid over it, or over a preset that those name."""
        fresh = own.get("preset", self.preset) != self.preset
        return Recipe.model_validate(own if fresh else laid_over(self.model_dump(), own))

    @property
    def active(self) -> dict[str, Phase]:
        """The phases that are not left out, in order."""
        return {name: phase for name, phase in self.phases.items() if phase}

    @property
    def chooses_by_losses(self) -> bool:
        """Whether any phase chooses stored facts by their losses, or by when those were measured last."""
        choices = [phase.rehearsal for phase in self.active.values() if phase.rehearsal]
        return any(choice.choice != "random" or choice.unseen for choice in choices)


@cache
def preset(name: str) -> dict[str, Any]:
    """What a preset says, as in its file. KeyError where there is none."""
    if name not in PRESETS:
        raise KeyError(name)
    values: dict[str, Any] = strict_yaml.load(FOLDER / f"{name}.yaml")
    return values
