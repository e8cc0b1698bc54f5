"""The study, typed: every key of ``config.yaml``, validated, with unknown keys forbidden."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from atlas.errors import AtlasError
from atlas.metrics import CHOICES
from atlas.phrases import plural
from atlas.study.arm import Arm, check_arm
from atlas.study.base_settings import Base, Model
from atlas.study.jobs import Candidate, Device, Keys, Probes, RungSpec, RunSpec, StreamSpec, Tracing
from atlas.study.model_shape import shape_of
from atlas.study.overlays import narrowed, or_null
from atlas.study.pool_settings import Pool
from atlas.study.recipes import Recipe
from atlas.study.search_space import Search
from atlas.study.settings import Count, Name, Positive, Settings, explain, laid_over


class Precision(Settings):
    """How narrow an interval the study wants; `atlas plan` says how many seeds that takes."""

    contrast: tuple[Name, Name] = Field(("qv", "ffn"), description="the two arms whose difference matters most")
    metric: Literal[CHOICES] = "recall"  # type: ignore[valid-type]
    sessions: Positive | None = Field(None, description="checkpoint; null: the last")
    points: float = Field(2.0, gt=0, lt=100, description="half width of the 95% interval, percentage points")


class Guard(Settings):
    """The mutation suite of `snakemake guard`: honest checkpoints for false alarms, damage for detection."""

    seed: int = 0
    models: list[Model] = Field(
        [
            Model(layers=2, width=64, heads=2, ffn=128, context=64),
            Model(layers=3, width=64, heads=4, ffn=256, context=64),
            Model(layers=4, width=96, heads=4, ffn=192, context=64),
        ],
        min_length=1,
        description="shapes of the honest checkpoints that false alarms are counted on",
    )
    seeds: Positive = Field(12, description="honest trainings of each shape")
    snapshots: list[Positive] = Field(
        [250, 350, 400, 450, 500, 600], min_length=1, description="steps kept of each training; the last one ends it"
    )
    modules: Positive = Field(3, description="modules that each kind of damage is done to")


def _block(entry: int | str) -> int | str:
    seeds_of(entry)
    return entry


SeedEntry = Annotated[Count | Annotated[str, Field(pattern=r"^\d+(-\d+)?$")], AfterValidator(_block)]


class Study(Settings):
    """A whole study: the pool, the base, the recipe and the arms that are compared."""

    results: str = Field("results", description="folder that everything is written to")
    seeds: list[SeedEntry] = Field(["1-8"], min_length=1, description="seeds, or ranges 'a-b' trained as one block")
    lanes: Positive = Field(8, description="most seeds trained together; longer ranges are cut into blocks")
    facts_per_session: Positive = 3
    checkpoints: list[Positive] = Field([30, 100], min_length=1, description="sessions at which all is probed")
    alpha: float = Field(32, gt=0, description="LoRA's alpha: an adapter's output is scaled by alpha / rank")
    device: Device = Field("cpu", description="where runs train; auto: a GPU where there is one")
    pool: Pool = Pool()
    base: Base = Base()
    recipe: Recipe = Recipe.model_validate({})
    probes: Probes = Probes()
    counterfactual: float | None = Field(
        None,
        ge=0,
        le=1,
        description="ask the base first; this share of the facts taught is then of those that it knows, taught with "
        "another answer of the same template. null: nobody asks, facts are taught as they are",
    )
    keys: Keys = Keys()
    trace: Tracing = Tracing()
    only: list[Name] | None = Field(
        None,
        min_length=1,
        description="arms and ablations to keep, in this order, for a study laid on top of another; contrasts with one "
        "that is left out go, too; null: all",
    )
    arms: dict[Name, Arm] = Field(
        min_length=1, description="null in the place of an arm leaves it out, as `only` does", json_schema_extra=or_null
    )
    ablations: dict[Name, Arm] = Field(
        {},
        description="variants of the recipe, each on an arm that is in `arms`, too; null leaves one out",
        json_schema_extra=or_null,
    )
    ablation_checkpoints: list[Positive] | None = Field(
        None, min_length=1, description="checkpoints of the ablations, some of the study's; null: all"
    )
    contrasts: dict[Name, list[tuple[Name, Name]]] = Field(
        {},
        description="families of planned comparisons of two arms; Holm's correction goes over a family; null leaves "
        "one out",
        json_schema_extra=or_null,
    )
    precision: Precision | None = Field(None, description="null: `atlas plan` has nothing to aim at")
    guard: Guard = Guard()
    search: Search = Field(Search(), description="`snakemake search`: recipes by successive halving, arm by arm")

    @model_validator(mode="before")
    @classmethod
    def _without_the_others(cls, given: Any) -> Any:
        return narrowed(given) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _coherent(self) -> Study:
        seeds = self.all_seeds
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise ValueError(f"seeds: seed {twice[0]} is listed twice; every seed may be used once")
        self._check_sessions()
        if both := sorted(self.arms.keys() & self.ablations.keys()):
            raise ValueError(f"{both[0]} is an arm and an ablation; one of the two needs another name")
        for name in (*self.arms, *self.ablations):
            self._check_arm(f"{'arms' if name in self.arms else 'ablations'}.{name}", self.arm(name))
        self._check_contrasts()
        self._check_search()
        return self

    def _check_sessions(self) -> None:
        for key, points in (("checkpoints", self.checkpoints), ("ablation_checkpoints", self.ablation_points)):
            if sorted(set(points)) != points:
                raise ValueError(f"{key}: {points} must rise; write them in order, each once")
        needed, taught = self.sessions * self.facts_per_session, self.pool.most_taught
        if taught is not None and needed > taught:
            raise ValueError(
                f"checkpoints: {plural(self.sessions, 'session')} of {plural(self.facts_per_session, 'fact')} need "
                f"{plural(needed, 'fact')}, pool.taught has {taught}; lower the checkpoints or enlarge the pool"
            )
        if strangers := sorted({*self.ablation_points} - {*self.checkpoints}):
            raise ValueError(
                f"ablation_checkpoints: {strangers[0]} is not among checkpoints {self.checkpoints}; an ablation is "
                "compared with its arm, so it is probed where the arm is"
            )

    def _check_contrasts(self) -> None:
        pairs = [(f"contrasts.{family}", pair) for family, pairs in self.contrasts.items() for pair in pairs]
        if self.precision:
            pairs.append(("precision.contrast", self.precision.contrast))
            if self.precision.sessions not in (None, *self.checkpoints):
                raise ValueError(f"precision.sessions: {self.precision.sessions} is not in {self.checkpoints}")
        for where, (a, b) in pairs:
            if unknown := [name for name in (a, b) if name not in self.arms and name not in self.ablations]:
                raise ValueError(f"{where}: {unknown[0]!r} is neither an arm nor an ablation; name two that are")
            if a == b:
                raise ValueError(f"{where}: {a!r} is compared with itself; name two arms")

    def _check_search(self) -> None:
        search = self.search
        if not search.sweeps:
            return
        if not search.arms:
            raise ValueError("search.arms: none, so nothing would be searched for; name an arm")
        if shared := sorted({*search.seeds} & {*self.all_seeds}):
            raise ValueError(
                f"search.seeds: seed {shared[0]} is one of the study's; tune on seeds that nothing reports"
            )
        if sorted(set(search.rungs)) != search.rungs or search.rungs[-1] > self.sessions:
            raise ValueError(
                f"search.rungs: {search.rungs} must rise, at most to the study's {plural(self.sessions, 'session')}"
            )
        for arm in search.arms:
            self._check_arm(f"search.arms.{arm}", search.arms[arm])
            for name, candidate in search.candidates(arm).items():
                self._check_arm(f"search.sweeps: candidate {name}", candidate)

    def _check_arm(self, where: str, arm: Arm) -> None:
        check_arm(where, arm, self.shape)
        if self.outside and arm.base.reinit:
            raise ValueError(
                f"{where}.base.reinit: the confound is shown on a base that is pretrained here; leave it out"
            )
        if not self.outside and "gate" in arm.targets:
            raise ValueError(f"{where}.targets: the base that is pretrained here has no gate; name other layers")
        try:
            arm.recipe_over(self.recipe)
        except ValidationError as error:
            raise ValueError(f"{where}.recipe.{explain(error)}") from None

    @property
    def outside(self) -> str | None:
        """Where the base is that comes from outside; None where it is pretrained."""
        return self.base.model if isinstance(self.base.model, str) else None

    @cached_property
    def shape(self) -> Model:
        """The shape of the base. AtlasError where it comes from outside, and its config cannot be read."""
        return shape_of(Path(self.outside)) if self.outside else self.base.own

    @property
    def sessions(self) -> int:
        """Sessions that a run has: up to the last checkpoint."""
        return self.checkpoints[-1]

    @property
    def all_seeds(self) -> list[int]:
        return [seed for entry in self.seeds for seed in seeds_of(entry)]

    @property
    def blocks(self) -> dict[str, list[int]]:
        """Block name to seeds. An entry of ``seeds`` never shares a block with another: new entries run alone."""
        cut = [
            seeds[i : i + self.lanes] for seeds in map(seeds_of, self.seeds) for i in range(0, len(seeds), self.lanes)
        ]
        return {f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else str(seeds[0]): seeds for seeds in cut}

    def arm(self, name: str) -> Arm:
        """An arm or ablation by name; KeyError where there is none."""
        return self.arms[name] if name in self.arms else self.ablations[name]

    @property
    def ablation_points(self) -> list[int]:
        """Checkpoints of the ablations."""
        return self.ablation_checkpoints or self.checkpoints

    def stream_spec(self, seed: int) -> StreamSpec:
        return StreamSpec(
            seed=seed,
            sessions=self.sessions,
            facts_per_session=self.facts_per_session,
            counterfactual=self.counterfactual,
        )

    @property
    def tracing(self) -> Tracing:
        """How the base is traced, with the window that its layers ask for."""
        return self.trace.model_copy(update={"window": self.trace.window or max(1, self.shape.layers // 5)})

    def run_spec(self, name: str, block: str) -> RunSpec:
        """The part of the study that one run depends on, and nothing else: what it leaves out reruns nothing."""
        points = self.checkpoints if name in self.arms else self.ablation_points
        return self._run_spec(name, self.arm(name), self.blocks[block], points)

    def _run_spec(self, name: str, arm: Arm, seeds: list[int], checkpoints: list[int]) -> RunSpec:
        return RunSpec(
            arm=name,
            seeds=seeds,
            facts_per_session=self.facts_per_session,
            checkpoints=checkpoints,
            targets=arm.roles,
            ranks=arm.ranks_in(self.shape),
            alpha=self.alpha,
            recipe=arm.recipe_over(self.recipe),
            probes=self.probes,
            reinit=arm.base.reinit,
            base_seed=self.base.seed,
            device=self.device,
            method=arm.method,
            editing=arm.settings,
        )

    def rung_spec(self, arm: str, rung: int) -> RungSpec:
        """The part of the study that a rung of the search depends on; rungs count from 0."""
        search, points = self.search, [self.search.rungs[rung]]
        candidates = search.candidates(arm).items()
        runs = {name: self._run_spec(arm, made, search.seeds, points) for name, made in candidates}
        return RungSpec(
            run=next(iter(runs.values())),
            candidates={
                name: Candidate(recipe=run.recipe, ranks=run.ranks, editing=run.editing) for name, run in runs.items()
            },
            rungs=search.rungs[: rung + 1],
            counts=search.counts()[: rung + 1],
            jobs=search.jobs,
        )

    def recipe_of(self, name: str) -> Recipe:
        """What an arm or ablation trains by."""
        return self.arm(name).recipe_over(self.recipe)


def seeds_of(entry: int | str) -> list[int]:
    """Seeds of one entry: ``5`` is seed 5, ``"1-4"`` is 1, 2, 3, 4. ValueError where a range runs backwards."""
    first, _, last = str(entry).partition("-")
    seeds = list(range(int(first), int(last or first) + 1))
    if not seeds:
        raise ValueError(f"range {entry!r} is empty; write it as first-last")
    return seeds


def study(config: Mapping[str, Any], origin: str = "config.yaml") -> Study:
    """Validate a study. Raises AtlasError, one line that names ``origin`` and the key."""
    try:
        return Study.model_validate(config)
    except ValidationError as error:
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise AtlasError(f"{origin}: {explain(error)}{more}") from None


def load(*paths: Path | str) -> Study:
    """Read a study from YAML files, later ones laid on top as Snakemake's ``--configfile`` does."""
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            merged = laid_over(merged, yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {})
        except FileNotFoundError:
            raise AtlasError(f"{path}: no such file; give the path of a study, such as config.yaml") from None
        except yaml.YAMLError as error:
            raise AtlasError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    return study(merged, origin=" + ".join(map(str, paths)))
