"""The study, typed: every key of ``config.yaml``, validated, with unknown keys forbidden."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from atlas.errors import AtlasError
from atlas.recipes.model import Recipe
from atlas.recipes.search import Search
from atlas.sections import Name, Place, Positive, Rate, Role, Section, explain, laid_over

Device = Literal["cpu", "cuda", "auto"]


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
    model: Model = Model()
    training: Pretraining = Pretraining()
    max_val_loss: float = Field(1.52, gt=0, description="nats per character; a worse base gets no certificate")


class Probes(Section):
    """What is measured at each checkpoint."""

    foils: Annotated[int, Field(ge=1, le=50)] = Field(50, description="most foils of the ranked metric, per fact")
    val_chars: Positive = Field(65536, description="Shakespeare characters for the loss of the adapted model")
    matrix: Literal["octaves", "all"] = Field(
        "octaves",
        description="sessions after which the retention matrix has all facts taught by then: four an octave (1 to 8, "
        "10, 12, 14, 16, 20, ...), or all sessions; the checkpoints always, and a session's own facts after each",
    )


class Precision(Section):
    """How narrow an interval the study wants; `atlas plan` says how many seeds that takes."""

    contrast: tuple[Name, Name] = Field(("qv", "ffn"), description="the two arms whose difference matters most")
    metric: Literal["recall", "ranked", "recognition", "recognition_net"] = "recall"
    sessions: Positive | None = Field(None, description="checkpoint; null: the last")
    points: float = Field(2.0, gt=0, lt=100, description="half width of the 95% interval, percentage points")


class Guard(Section):
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


class StreamSpec(Section):
    """What decides which facts a seed is taught, and when."""

    seed: int
    sessions: Positive
    facts_per_session: Positive


class ArmBase(Section):
    """How an arm's base differs, on purpose, from the certified one."""

    reinit: list[Role] = Field([], description="roles left at a fresh initialisation in every layer (the confound)")


class Arm(Place):
    """One placement of the adapters, with what else it changes."""

    recipe: dict[str, Any] = Field({}, description="overrides of the study's recipe, same keys")
    base: ArmBase = ArmBase()


class RunSpec(Section):
    """All that decides the numbers of one run: an arm and a block of seeds, trained together as lanes."""

    arm: Name
    seeds: list[int] = Field(min_length=1)
    facts_per_session: Positive
    checkpoints: list[Positive]
    targets: list[Role]
    ranks: list[int] = Field(description="layer by layer")
    alpha: float
    recipe: Recipe
    probes: Probes
    reinit: list[Role]
    base_seed: int
    device: Device

    @property
    def sessions(self) -> int:
        return self.checkpoints[-1]


class RungSpec(Section):
    """All that decides what the search does for one arm, up to and with a rung."""

    run: RunSpec = Field(description="of a trial, but for its recipe, and its sessions: those of the last rung")
    candidates: dict[Name, Recipe]
    rungs: list[Positive] = Field(description="sessions of each rung")
    counts: list[Positive] = Field(description="candidates of each rung")
    jobs: Positive

    def trial(self, candidate: str) -> RunSpec:
        """What is run of a candidate at the last rung."""
        last = self.rungs[-1]
        return self.run.model_copy(update={"recipe": self.candidates[candidate], "checkpoints": [last]})


def _block(entry: int | str) -> int | str:
    seeds_of(entry)
    return entry


SeedEntry = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d+(-\d+)?$")], AfterValidator(_block)
]


class Study(Section):
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
    arms: dict[Name, Arm] = Field(min_length=1)
    ablations: dict[Name, Arm] = Field({}, description="variants of the recipe, each on an arm that is in `arms`, too")
    ablation_checkpoints: list[Positive] | None = Field(
        None, min_length=1, description="checkpoints of the ablations, some of the study's; null: all"
    )
    contrasts: dict[Name, list[tuple[Name, Name]]] = Field(
        {}, description="families of planned comparisons of two arms; Holm's correction goes over a family"
    )
    precision: Precision | None = Field(None, description="null: `atlas plan` has nothing to aim at")
    guard: Guard = Guard()
    search: Search = Field(Search(), description="`snakemake search`: recipes by successive halving, arm by arm")

    @model_validator(mode="after")
    def _coherent(self) -> Study:
        self._check_seeds()
        self._check_sessions()
        if both := sorted(self.arms.keys() & self.ablations.keys()):
            raise ValueError(f"{both[0]} is an arm and an ablation; one of the two needs another name")
        for name in (*self.arms, *self.ablations):
            self._check_arm(name)
        self._check_contrasts()
        self._check_search()
        return self

    def _check_seeds(self) -> None:
        seeds = self.all_seeds
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise ValueError(f"seeds: seed {twice[0]} is listed twice; every seed may be used once")

    def _check_sessions(self) -> None:
        for key, points in (("checkpoints", self.checkpoints), ("ablation_checkpoints", self.ablation_points)):
            if sorted(set(points)) != points:
                raise ValueError(f"{key}: {points} must rise; write them in order, each once")
        needed, taught = self.sessions * self.facts_per_session, self.pool.most_taught
        if taught is not None and needed > taught:
            raise ValueError(
                f"checkpoints: {self.sessions} sessions of {self.facts_per_session} facts need {needed} facts, "
                f"pool.taught has {taught}; lower the checkpoints or enlarge the pool"
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
        for arm, place in search.arms.items():
            self._check_place(f"search.arms.{arm}", place)
        if shared := sorted({*search.seeds} & {*self.all_seeds}):
            raise ValueError(
                f"search.seeds: seed {shared[0]} is one of the study's; tune on seeds that nothing reports"
            )
        if sorted(set(search.rungs)) != search.rungs or search.rungs[-1] > self.sessions:
            raise ValueError(f"search.rungs: {search.rungs} must rise, at most to the study's {self.sessions} sessions")
        for name, recipe in search.candidates.items():
            try:
                Recipe.model_validate(recipe)
            except ValidationError as error:
                raise ValueError(f"search.sweeps: candidate {name}: {explain(error)}") from None

    def _check_arm(self, name: str) -> None:
        where = f"{'arms' if name in self.arms else 'ablations'}.{name}"
        self._check_place(where, self.arm(name))
        try:
            self.recipe_of(name)
        except ValidationError as error:
            raise ValueError(f"{where}.recipe.{explain(error)}") from None

    def _check_place(self, where: str, place: Place) -> None:
        model = self.base.model
        ranks = place.layer_ranks(model.layers)
        if len(ranks) != model.layers:
            raise ValueError(f"{where}.ranks: {len(ranks)} ranks for {model.layers} layers; give one a layer")
        for rank in ranks:
            if not 0 <= rank <= model.width:
                raise ValueError(f"{where}.ranks: rank {rank} is impossible; expected 0 to {model.width} (the width)")
        if not any(ranks):
            raise ValueError(f"{where}.ranks: all ranks are 0, so nothing would be trained; give a layer a rank")
        if len(set(place.targets)) != len(place.targets):
            raise ValueError(f"{where}.targets: {place.targets} names a role twice")

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
        return StreamSpec(seed=seed, sessions=self.sessions, facts_per_session=self.facts_per_session)

    def run_spec(self, name: str, block: str) -> RunSpec:
        """The part of the study that one run depends on, and nothing else: what it leaves out reruns nothing."""
        points = self.checkpoints if name in self.arms else self.ablation_points
        return self._run_spec(name, self.arm(name), self.recipe_of(name), self.blocks[block], points)

    def _run_spec(self, name: str, arm: Arm, recipe: Recipe, seeds: list[int], checkpoints: list[int]) -> RunSpec:
        return RunSpec(
            arm=name,
            seeds=seeds,
            facts_per_session=self.facts_per_session,
            checkpoints=checkpoints,
            targets=arm.targets,
            ranks=arm.layer_ranks(self.base.model.layers),
            alpha=self.alpha,
            recipe=recipe,
            probes=self.probes,
            reinit=arm.base.reinit,
            base_seed=self.base.seed,
            device=self.device,
        )

    def rung_spec(self, arm: str, rung: int) -> RungSpec:
        """The part of the study that a rung of the search depends on; rungs count from 0."""
        search = self.search
        candidates = {name: Recipe.model_validate(recipe) for name, recipe in search.candidates.items()}
        first = next(iter(candidates.values()))
        points = [search.rungs[rung]]
        return RungSpec(
            run=self._run_spec(arm, Arm(**search.arms[arm].model_dump()), first, search.seeds, points),
            candidates=candidates,
            rungs=search.rungs[: rung + 1],
            counts=search.counts()[: rung + 1],
            jobs=search.jobs,
        )

    def recipe_of(self, name: str) -> Recipe:
        """The study's recipe with the arm's overrides laid over it, key by key, or over a preset that the arm names."""
        own = self.arm(name).recipe
        fresh = own.get("preset", self.recipe.preset) != self.recipe.preset
        return Recipe.model_validate(own if fresh else laid_over(self.recipe.model_dump(), own))


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
