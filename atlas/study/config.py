"""The study, typed: every key of ``config.yaml``, validated, with unknown keys forbidden."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from atlas.errors import AtlasError
from atlas.metrics import CHOICES
from atlas.phrases import plural
from atlas.study import strict_yaml
from atlas.study.arm import Arm, check_arm
from atlas.study.arm_sweeps import as_written, swept
from atlas.study.base_settings import Bases, Model
from atlas.study.block_size import ON_A_PROCESSOR, lanes_that_fit, tokens_of_a_step, trained_numbers
from atlas.study.jobs import (
    Device,
    Keys,
    LocateSpec,
    MeasureSpec,
    Needs,
    PoolSpec,
    Precision,
    Probes,
    RungSpec,
    RunSpec,
    SearchedSettings,
    StreamSpec,
    Tracing,
)
from atlas.study.model_shape import shape_of
from atlas.study.overlays import narrowed, or_null
from atlas.study.paths import ResultsPath, misplaced
from atlas.study.place_map import MapCell, PlaceMap
from atlas.study.pool_settings import TEACHABLE, Pool
from atlas.study.recipes import Recipe
from atlas.study.search_space import Search
from atlas.study.settings import BETWEEN, LARGEST_SEED, Name, Positive, Seed, Settings, mistakes
from atlas.study.tuning import Tuned, at_rate, check_tuned, rate_of


class Interval(Settings):
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
    outsiders: Positive = Field(2, description="seeds of the honest trainings of other projects' architectures")
    snapshots: list[Positive] = Field(
        [250, 350, 400, 450, 500, 600], min_length=1, description="steps kept of each training; the last one ends it"
    )
    modules: Positive = Field(3, description="modules that each kind of damage is done to")
    architectures: list[Literal["gpt2", "gpt_neox", "llama", "mistral", "opt", "qwen2", "qwen3"]] = Field(
        ["gpt2", "gpt_neox", "llama", "mistral", "opt", "qwen2", "qwen3"],
        description="other projects' architectures that are damaged, too; takes the extra lm",
    )
    foreign_steps: Positive = Field(700, description="steps of the honest training of each of these")

    @field_validator("snapshots")
    @classmethod
    def _in_order(cls, steps: list[int]) -> list[int]:
        return sorted(set(steps))


MOST_SEEDS = 10_000  # of a range


def _block(entry: int | str) -> int | str:
    seeds_of(entry)
    return entry


SeedEntry = Annotated[Seed | Annotated[str, Field(pattern=r"^\d+(-\d+)?$")], AfterValidator(_block)]


class Study(Settings):
    """A whole study: the pool, the base, the recipe and the arms that are compared."""

    results: ResultsPath = Field("results", description="folder that everything is written to")
    seeds: list[SeedEntry] = Field(
        ["1-8"],
        min_length=1,
        description="seeds, or ranges 'a-b', trained in blocks of up to `lanes`; blocks go to the bases in this order",
    )
    lanes: Positive | Literal["auto"] = Field(
        ON_A_PROCESSOR,
        description="most seeds trained together; longer ranges are cut into blocks. auto: with `device: cuda` as many "
        f"as fit into `gpu_memory`, else {ON_A_PROCESSOR}",
    )
    gpu_memory: float = Field(16, gt=0, description="GiB of the cards that the study is run on, for `lanes: auto`")
    facts_per_session: Positive = 3
    checkpoints: list[Positive] = Field([30, 100], min_length=1, description="sessions at which all is probed")
    alpha: float = Field(32, gt=0, description="LoRA's alpha: an adapter's output is scaled by alpha / rank")
    device: Device = Field("cpu", description="where runs train; auto: a GPU where there is one")
    precision: Precision = Field(
        "float32",
        description="of the products with frozen matrices: bfloat16 is faster where the processor or the GPU has it, "
        "and sums in float32 all the same; what is trained, optimisers, norms, attention and losses are in float32",
    )
    pool: Pool = Pool()
    base: Bases = Bases()
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
    map: PlaceMap | None = Field(
        None,
        description="one place after another at equal budgets of parameters: arms beside those of `arms`, with a table "
        "and a section of the page of their own; null: no map",
    )
    contrasts: dict[Name, list[tuple[Name, Name]]] = Field(
        {},
        description="families of planned comparisons of two arms; p-values are corrected for a family; null leaves "
        "one out",
        json_schema_extra=or_null,
    )
    interval: Interval | None = Field(None, description="null: `atlas plan` has nothing to aim at")
    guard: Guard = Guard()
    search: Search = Field(Search(), description="`snakemake search`: recipes and their learning rates, arm by arm")

    @field_validator("precision", mode="before")
    @classmethod
    def _is_no_interval(cls, given: Any) -> Any:
        if given is None or isinstance(given, Mapping):
            raise ValueError("what `atlas plan` aims at is the key `interval` now; write interval in its place")
        return given

    @model_validator(mode="before")
    @classmethod
    def _without_the_others(cls, given: Any) -> Any:
        return narrowed(swept(given)) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _coherent(self) -> Study:
        if problems := [*self._problems()]:
            raise ValueError("\n".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        """What does not go together, each in a line that starts with its key."""
        seeds = self.all_seeds
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            yield f"seeds: seed {twice[0]} is listed twice; every seed may be used once"
        yield from self._problems_of_sessions()
        yield from self._problems_of_replicas()
        for name in sorted(self.arms.keys() & self.ablations.keys()):
            yield f"ablations.{name}: {name} is an arm and an ablation; one of the two needs another name"
        for kind, arms in (("arms", self.arms), ("ablations", self.ablations)):
            for name, arm in arms.items():
                yield from self._problems_of_arm(f"{kind}.{name}", arm)
        edits = any(arm.edits for arm in (*self.arms.values(), *self.ablations.values(), *self.search.arms.values()))
        if edits and self.keys.characters < self.shape.ffn:
            yield (
                f"keys.characters: found {self.keys.characters:,}, expected at least {self.shape.ffn:,}, as many as "
                "the keys of the base have dimensions, and better ten times that; raise it"
            )
        yield from self._problems_of_contrasts()
        yield from self._problems_of_search()
        yield from self._problems_of_map()

    def _problems_of_sessions(self) -> Iterator[str]:
        for key, points in (("checkpoints", self.checkpoints), ("ablation_checkpoints", self.ablation_checkpoints)):
            if points and sorted(set(points)) != points:
                yield f"{key}: {points} must rise; write them in order, each once"
        needed, taught = self.sessions * self.facts_per_session, self.pool.most_taught
        if taught is not None and needed > taught:
            yield (
                f"checkpoints: {plural(self.sessions, 'session')} of {plural(self.facts_per_session, 'fact')} need "
                f"{plural(needed, 'fact')}, pool.taught has {taught}; lower the checkpoints or enlarge the pool"
            )
        if strangers := sorted({*self.ablation_points} - {*self.checkpoints}):
            yield (
                f"ablation_checkpoints: {strangers[0]} is not among checkpoints {self.checkpoints}; an ablation is "
                "compared with its arm, so it is probed where the arm is"
            )

    def _problems_of_replicas(self) -> Iterator[str]:
        if self.outside and self.base.replicas != 1:
            yield (
                f"base.replicas: {self.base.replicas}, but {self.outside} comes from outside and is one base; leave "
                "the key out, or write 1"
            )
        elif self.counterfactual is not None and len(self.replicas) > 1:
            yield (
                f"counterfactual: what is taught follows what one base knows, but blocks of seeds are dealt over "
                f"{len(self.replicas)}; write base.replicas: 1"
            )

    def _problems_of_contrasts(self) -> Iterator[str]:
        pairs = [(f"contrasts.{family}", pair) for family, pairs in self.contrasts.items() for pair in pairs]
        for family, planned in self.contrasts.items():
            unordered = [frozenset(pair) for pair in planned]
            for a, b in {pair: None for pair in planned if unordered.count(frozenset(pair)) > 1 and pair[0] != pair[1]}:
                yield f"contrasts.{family}: {a!r} and {b!r} are compared twice; name each pair once in a family"
        if self.interval:
            pairs.append(("interval.contrast", self.interval.contrast))
            if self.interval.sessions not in (None, *self.checkpoints):
                yield f"interval.sessions: {self.interval.sessions} is not in {self.checkpoints}; name one of these"
        for where, (a, b) in pairs:
            unknown = [name for name in (a, b) if name not in self.arms and name not in self.ablations]
            for name in dict.fromkeys(unknown):
                yield f"{where}: {name!r} is neither an arm nor an ablation; name two that are"
            if a == b and not unknown:
                yield f"{where}: {a!r} is compared with itself; name two arms"

    def _problems_of_search(self) -> Iterator[str]:
        search = self.search
        if not search.sweeps:
            return
        yield from (f"search.{problem}" for problem in search.problems())
        if shared := sorted({*search.seeds} & {*self.all_seeds}):
            yield f"search.seeds: seed {shared[0]} is one of the study's; tune on seeds that nothing reports"
        if sorted(set(search.rungs)) != search.rungs or search.rungs[-1] > self.sessions:
            yield f"search.rungs: {search.rungs} must rise, at most to the study's {plural(self.sessions, 'session')}"
        for arm in search.arms:
            yield from self._problems_of_arm(f"search.arms.{arm}", search.arms[arm])
            if search.arms[arm].locate:
                yield f"search.arms.{arm}.locate: a search keeps no adapters; leave the key out"
        if not any([*sweep.problems()] for sweep in search.sweeps.values()):
            yield from dict.fromkeys(line for arm in search.arms for line in self._problems_of_candidates(arm))

    def _problems_of_candidates(self, arm: str) -> Iterator[str]:
        alike: dict[str, str] = {}
        for name, (candidate, rates) in self.search.settings(arm).items():
            if problems := [*self._problems_of_arm(f"search.sweeps: candidate {name}", candidate)]:
                yield from problems
                continue
            recipe = candidate.recipe_over(self.recipe)
            if rates and rate_of(recipe) is None:
                yield f"search.sweeps: candidate {name} trains nothing, so it has no learning rate; leave out `rates`"
            elif (other := alike.setdefault(f"{candidate.settings} {at_rate(recipe, *rates[:1])}", name)) != name:
                yield (
                    f"search.sweeps: candidates {other} and {name} are the same; vary another key, or leave one out "
                    "(`rates` is the learning rate of the first phase)"
                )

    def _problems_of_arm(self, where: str, arm: Arm) -> Iterator[str]:
        yield from check_arm(where, arm, self.shape)
        if self.outside and arm.base.reinit:
            yield f"{where}.base.reinit: the confound is shown on a base that is pretrained here; leave it out"
        if not self.outside and "gate" in arm.targets:
            yield f"{where}.targets: the base that is pretrained here has no gate; name other layers"
        try:
            recipe = arm.recipe_over(self.recipe)
        except ValidationError as error:
            yield from (f"{where}.recipe.{mistake}" for mistake in mistakes(error))
            return
        if not self.pool.source and recipe.paraphrases > TEACHABLE:
            yield (
                f"{where}.recipe.paraphrases: {recipe.paraphrases}, but of those of a fact of Atlas {TEACHABLE} may be "
                "taught, the others are held out; teach fewer"
            )
        if arm.lr is not None and rate_of(recipe) is None and not arm.edits:
            yield f"{where}.lr: the arm trains nothing, so it has no learning rate; leave the key out"
        if arm.tuned:
            yield from check_tuned(f"{where}.tuned", arm.tuned, recipe, self.all_seeds)

    def _problems_of_map(self) -> Iterator[str]:
        if self.map is None:
            return
        yield from (f"map.{problem}" for problem in self.map.problems(self.shape, self.recipe))
        if not self.outside and "gate" in self.map.roles:
            yield "map.roles: the base that is pretrained here has no gate; name other layers"
        names = {cell.arm for cell in self.map.cells(self.shape)}
        for kind, arms in (("arms", self.arms), ("ablations", self.ablations)):
            for name in sorted(names & arms.keys()):
                yield f"{kind}.{name}: the map has an arm of this name; give yours another"

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

    @cached_property
    def lanes_of_a_block(self) -> int:
        """Most seeds of a block. With ``lanes: auto`` as many as a GPU holds of every arm, where the study asks for it:
        ``device: auto`` may have to do with a processor."""
        if self.lanes != "auto":
            return self.lanes
        if self.device != "cuda":
            return ON_A_PROCESSOR
        return min(
            lanes_that_fit(
                self.gpu_memory,
                self.shape,
                tokens_of_a_step(arm.recipe_over(self.recipe), self.facts_per_session, bool(self.outside)),
                trained_numbers(arm.roles, arm.ranks_in(self.shape), self.shape),
            )
            for arm in (*self.arms.values(), *self.ablations.values(), *self.mapped.values())
        )

    @property
    def blocks(self) -> dict[str, list[int]]:
        """Block name to seeds. An entry of ``seeds`` never shares a block with another: new entries run alone."""
        by_first = sorted(self._blocks_as_written.items(), key=lambda block: block[1])
        return dict(by_first)  # whichever entry is written first, tables list the runs in one order

    @cached_property
    def _blocks_as_written(self) -> dict[str, list[int]]:
        lanes = self.lanes_of_a_block
        cut = [seeds[i : i + lanes] for seeds in map(seeds_of, self.seeds) for i in range(0, len(seeds), lanes)]
        return {f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else str(seeds[0]): seeds for seeds in cut}

    @property
    def first_block(self) -> str:
        """The block that is written first, which entries that are added behind leave first."""
        return next(iter(self._blocks_as_written))

    @cached_property
    def replica_of(self) -> dict[str, int]:
        """Block name to the base that it is taught on, from 1: dealt in turn, in the order of ``seeds`` as written, so
        that an entry added behind leaves all blocks before it on theirs.
        """
        return {block: at % self.base.replicas + 1 for at, block in enumerate(self._blocks_as_written)}

    @property
    def replicas(self) -> list[int]:
        """The bases that blocks are taught on: as many as ``base.replicas`` says, or as there are blocks."""
        return sorted({*self.replica_of.values()})

    @property
    def cells(self) -> list[MapCell]:
        """The places of the map at their budgets, those that no rank fits among them."""
        return self.map.cells(self.shape) if self.map else []

    @cached_property
    def mapped(self) -> dict[str, Arm]:
        """The arms of the map."""
        return self.map.arms(self.shape, self.recipe) if self.map else {}

    def arm(self, name: str) -> Arm:
        """An arm, ablation or arm of the map by name; KeyError where there is none."""
        return {**self.mapped, **self.ablations, **self.arms}[name]

    @property
    def ablation_points(self) -> list[int]:
        """Checkpoints of the ablations."""
        return self.ablation_checkpoints or self.checkpoints

    @property
    def pool_spec(self) -> PoolSpec:
        """The part of the study that decides the pool. The facts of Atlas have all that an arm may need, so that which
        arms there are decides nothing there."""
        own = self.pool.source is not None
        arms = [*self.arms.values(), *self.ablations.values(), *self.mapped.values()] if own else []
        needs = Needs(
            subjects=any("subject" in str(told.model_dump().get("site")) for arm in arms if (told := arm.settings)),
            paraphrases=max((arm.recipe_over(self.recipe).paraphrases for arm in arms if not arm.edits), default=0),
            alternatives=own and self.counterfactual is not None,
        )
        given = {} if self.outside else {"context": self.shape.context}
        return PoolSpec(**self.pool.model_dump(), **given, needs=needs)

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
        points = self.ablation_points if name in self.ablations else self.checkpoints
        return self._run_spec(name, self.arm(name), self.blocks[block], self.replica_of[block], points)

    @property
    def located(self) -> list[str]:
        """The arms and ablations that ask where their facts sit."""
        return [name for name in (*self.arms, *self.ablations) if self.arm(name).locate]

    def locate_spec(self, name: str, block: str) -> LocateSpec:
        """The part of the study that decides where the facts of one run are located; the run depends on none of it but
        its own spec. KeyError where the arm does not ask."""
        if (locate := self.arm(name).locate) is None:
            raise KeyError(name)
        return LocateSpec(run=self.run_spec(name, block), locate=locate)

    def _run_spec(self, name: str, arm: Arm, seeds: list[int], replica: int, checkpoints: list[int]) -> RunSpec:
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
            base_replica=replica,
            device=self.device,
            precision=self.precision,
            method=arm.method,
            editing=None if arm.plugged else arm.settings,
            plugged=arm.plugged,
        )

    @property
    def measure_spec(self) -> MeasureSpec:
        """The part of the study that decides what is measured of a base before any teaching."""
        return MeasureSpec(val_tokens=self.probes.val_tokens, device=self.device, precision=self.precision)

    def rung_spec(self, arm: str, rung: int) -> RungSpec:
        """The part of the study that a rung of the search depends on; rungs, and closing rounds behind them, count from
        0."""
        search, lengths = self.search, self.search.lengths(arm)[: rung + 1]
        runs = {
            name: (self._run_spec(arm, made, search.seeds, 1, lengths[-1:]), rates)
            for name, (made, rates) in search.settings(arm).items()
        }
        return RungSpec(
            run=next(iter(runs.values()))[0],
            settings={
                name: SearchedSettings(
                    recipe=run.recipe, ranks=run.ranks, editing=run.editing, plugged=run.plugged, rates=rates
                )
                for name, (run, rates) in runs.items()
            },
            rungs=lengths,
            counts=search.counts()[: rung + 1],
            jobs=search.jobs_of(rung),
        )

    @property
    def tuned(self) -> dict[str, Tuned]:
        """The arms that were tuned, and how."""
        return {name: arm.tuned for name, arm in self.arms.items() if arm.tuned}

    def recipe_of(self, name: str) -> Recipe:
        """What an arm, an ablation or an arm of the map trains by."""
        return self.arm(name).recipe_over(self.recipe)


def seeds_of(entry: int | str) -> list[int]:
    """Seeds of one entry: ``5`` is seed 5, ``"1-4"`` is 1, 2, 3, 4. ValueError where a range runs backwards."""
    first, _, last = str(entry).partition("-")
    low, high = int(first), int(last or first)
    if low > high:
        raise ValueError(f"range {entry!r} is empty; write it as first-last")
    if high - low >= MOST_SEEDS or high > LARGEST_SEED:
        raise ValueError(f"range {entry!r} is too large; expected at most {MOST_SEEDS:,} seeds up to {LARGEST_SEED}")
    return list(range(low, high + 1))


def study(given: Mapping[str, Any], files: Sequence[Path | str] = (), origin: str = "config.yaml") -> Study:
    """Validate a study that was read from files, later ones on top, with what a command line lays over them.

    What later files add comes last, as in ``load``: Snakemake puts it first, and tables and charts go by that order.

    Raises AtlasError: every mistake with its key, file and line, or ``--config`` where no file says so; with ``origin``
    where there are no files.
    """
    inside = [os.path.relpath(path) for path in files]  # Snakemake's are absolute
    documents = [
        strict_yaml.read(path if near.startswith("..") else near) for path, near in zip(files, inside, strict=True)
    ]
    return _checked(strict_yaml.in_order_of(strict_yaml.merged(documents), given), documents, origin)


def load(*paths: Path | str) -> Study:
    """Read a study from YAML files, later ones laid on top as Snakemake's ``--configfile`` does."""
    documents = [strict_yaml.read(path) for path in paths]
    return _checked(strict_yaml.merged(documents), documents, " + ".join(map(str, paths)))


def _checked(given: Mapping[str, Any], documents: Sequence[strict_yaml.Document], origin: str) -> Study:
    found = [mistake for document in documents for mistake in document.mistakes]
    try:
        loaded = Study.model_validate(given)
        said = [f"results: {problem}" for problem in misplaced(loaded.results)]
        if not found and not said:
            return loaded
    except ValidationError as error:
        said = as_written([*mistakes(error), *_besides(error, given)], given)
    raise AtlasError(
        BETWEEN.join([*found, *(strict_yaml.placed(mistake, given, documents, origin) for mistake in said)])
    )


def _besides(error: ValidationError, given: Mapping[str, Any]) -> list[str]:
    """Mistakes that others hide: what does not go together, where all else is unknown keys and keys of arms."""
    rest, wrong = dict(given), set[tuple[str, ...]]()
    for one in error.errors():
        unknown = one["type"] == "extra_forbidden"
        keys = one["loc"] if unknown else one["loc"][:3]
        if not unknown and (len(keys) < 3 or keys[0] not in ("arms", "ablations")):
            return []
        wrong.add(tuple(map(str, keys[:2])))
        inside = rest
        for key in keys[:-1]:
            if not isinstance(inside.get(key), Mapping):  # type: ignore[arg-type]
                return []
            inside[key] = inside = dict(inside[key])  # type: ignore[index]
        inside.pop(keys[-1], None)  # type: ignore[arg-type]
    try:
        Study.model_validate(rest)
    except ValidationError as others:
        return [line for line in mistakes(others) if tuple(line.partition(": ")[0].split(".")[:2]) not in wrong]
    return []
