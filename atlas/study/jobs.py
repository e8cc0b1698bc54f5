"""What a single job depends on, typed, and nothing else: what a spec leaves out reruns nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from atlas.study.arm import Locating
from atlas.study.editor_settings import Editing
from atlas.study.methods import HowTaught, Plugged
from atlas.study.pool_settings import Pool
from atlas.study.recipes import Recipe
from atlas.study.settings import Count, Name, Positive, Rate, Roles, Settings
from atlas.study.tuning import at_rate, rate_of

Device = Literal["cpu", "cuda", "auto"]
Precision = Literal["float32", "bfloat16"]


class Probes(Settings):
    """What is measured at each checkpoint."""

    val_tokens: Positive = Field(
        16384, description="tokens of the base's validation text for its loss, without and with what was taught"
    )
    matrix: Literal["octaves", "all"] = Field(
        "octaves",
        description="sessions after which the retention matrix has all facts taught by then: four an octave (1 to 8, "
        "10, 12, 14, 16, 20, ...), or all sessions; the checkpoints always, and a session's own facts after each",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_characters(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "val_chars" in given:
            raise ValueError(
                "val_chars: the text is counted in tokens now, so the key is val_tokens; a base that is pretrained "
                "here has one a character, so keep the number; models from outside have one for 3 or 4 characters"
            )
        return given


KeySource = Literal["corpus", "sampled"]
SOURCES: Mapping[KeySource, str] = {"corpus": "the corpus", "sampled": "text that the base wrote itself"}


class Keys(Settings):
    """The keys of text that editors must leave alone: their second moment, C in ROME and MEMIT."""

    source: KeySource = Field(
        "corpus",
        description="corpus: the part of base.corpus that the base was trained on; sampled: text that the base writes "
        "itself, which is more general where a model from outside has read more than the corpus",
    )
    characters: int = Field(1 << 18, gt=0, description="tokens of text whose keys are taken, at most; whole windows")


class Tracing(Settings):
    """Causal tracing, which says where the base keeps what it knows."""

    cases: Positive = Field(64, description="things known that are traced, at most")
    samples: Positive = Field(10, description="noises a case")
    window: Positive | None = Field(
        None, description="layers whose feed-forward or attention is put back together; null: a fifth of them"
    )


class MeasureSpec(Settings):
    """What decides the numbers of a base before any teaching, besides pool and base."""

    val_tokens: Positive
    device: Device
    precision: Precision = "float32"


class Needs(Settings):
    """What the arms of a study need of facts, besides the rules that every pool keeps."""

    subjects: bool = Field(False, description="whether an editor writes at the subject")
    paraphrases: Count = Field(0, description="most that a recipe teaches beside a sentence")
    alternatives: bool = Field(False, description="whether facts that the base knows are taught with another answer")


class PoolSpec(Pool):
    """What decides which facts there are, and their roles."""

    context: Positive = Field(256, description="positions of the base; one from outside tells them itself")
    needs: Needs = Needs()


class StreamSpec(Settings):
    """What decides which facts a seed is taught, and when."""

    seed: int
    sessions: Positive
    facts_per_session: Positive
    counterfactual: float | None = Field(None, description="share of facts that contradict the base; null: any")


class RunSpec(HowTaught):
    """All that decides the numbers of one run: an arm and a block of seeds, trained together as lanes."""

    arm: Name
    seeds: list[int] = Field(min_length=1)
    facts_per_session: Positive
    checkpoints: list[Positive]
    targets: Roles
    ranks: list[int] = Field(description="layer by layer")
    alpha: float
    recipe: Recipe
    probes: Probes
    reinit: Roles
    base_seed: int
    base_replica: Positive = Field(1, description="which base is taught, from 1")
    device: Device
    precision: Precision = "float32"

    @property
    def sessions(self) -> int:
        return self.checkpoints[-1]


class LocateSpec(Settings):
    """All that decides where the facts of one run are located, besides its files."""

    run: RunSpec
    locate: Locating


class SearchedSettings(Settings):
    """What candidates of the search that differ in their learning rate alone change in the run of their arm."""

    recipe: Recipe
    ranks: list[int]
    editing: Editing | None = None
    plugged: Plugged | None = None
    rates: list[Rate] = Field([], description="the grid of the recipe's first phase, rising; none: its own rate alone")


class RungSpec(Settings):
    """All that decides what the search does for one arm, up to and with a rung or closing round."""

    run: RunSpec = Field(description="of the first candidate, for the sessions of the last rung")
    settings: dict[Name, SearchedSettings]
    rungs: list[Positive] = Field(description="sessions of each rung and, behind these, of each closing round")
    counts: list[Positive] = Field(description="candidates of each rung; there are none for closing rounds")
    jobs: Positive

    @property
    def round(self) -> int:
        """Which closing round this is, from 1; 0 for a rung."""
        return len(self.rungs) - len(self.counts)

    @property
    def candidates(self) -> list[tuple[str, float | None]]:
        """All candidates: their settings, and the rate, None of an editor."""
        return [
            (name, rate)
            for name, one in self.settings.items()
            for rate in (one.rates if one.rates else [rate_of(one.recipe)])
        ]

    def named(self, name: str, rate: float | None) -> str:
        """What a candidate is called."""
        return f"{name}_{rate:g}" if self.settings[name].rates else name

    def trial(self, name: str, rate: float | None) -> RunSpec:
        """What is run of a candidate at the last rung; ``rate`` is None of an editor."""
        one = self.settings[name]
        changes = {
            "recipe": at_rate(one.recipe, rate),
            "ranks": one.ranks,
            "editing": one.editing,
            "plugged": one.plugged,
        }
        return self.run.model_copy(update=changes)
