"""The study, typed: every key of ``config.yaml``, validated, with unknown keys forbidden."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from atlas.errors import AtlasError

Role = Literal["q", "k", "v", "o", "up", "down"]
Device = Literal["cpu", "cuda", "auto"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", description="lower-case letters, digits and underscores")]
Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A part of the study: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Fast(Section):
    """Phase A: a copy of the adapter learns the new facts only, fast."""

    steps: Positive = 20
    lr: Rate = 3e-3


class Slow(Section):
    """Phase C: the adapter consolidates new and rehearsed facts, slowly, held near where the phase began."""

    epochs: Positive = 3
    batch: Positive = Field(3, description="facts a step")
    lr: Rate = 1e-3
    anchor: float = Field(0.01, ge=0, description="weight of the squared distance from the blended adapter")


class Rehearsal(Section):
    """Which stored facts are trained again beside the new ones."""

    choice: Literal["weakest", "random", "none"] = "weakest"
    facts: Annotated[int, Field(ge=0)] = Field(9, description="K, stored facts a session")
    budget: Annotated[int, Field(ge=0)] | None = Field(
        36, description="stored facts measured a session to know the weakest; null: all of them, the exact choice"
    )


class Recipe(Section):
    """Test-time training of one session. Preset ``essay``: copy and train fast, blend, consolidate slowly."""

    preset: Literal["essay"] = "essay"
    loss: Literal["sentence", "answer"] = Field("sentence", description="characters that the loss is taken over")
    fast: Fast | None = Field(Fast(), description="null: a single phase, no copy and no blend")
    blend: float = Field(0.5, ge=0, le=1, description="beta: adapter <- (1 - beta) adapter + beta copy")
    slow: Slow | None = Field(Slow(), description="null: no consolidation; with fast null, too, nothing is taught")
    rehearsal: Rehearsal = Rehearsal()
    clip: float = Field(1.0, gt=0, description="largest gradient norm of a lane")


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


class Arm(Section):
    """One placement of the adapters, with what else it changes."""

    targets: list[Role] = Field(min_length=1, description="linear layers that get an adapter")
    ranks: int | list[int] = Field(32, description="rank, for all layers or layer by layer; 0 leaves a layer out")
    recipe: dict[str, Any] = Field({}, description="overrides of the study's recipe, same keys")
    base: ArmBase = ArmBase()

    def layer_ranks(self, layers: int) -> list[int]:
        """Ranks layer by layer, shape (layers,)."""
        return [self.ranks] * layers if isinstance(self.ranks, int) else list(self.ranks)


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
    recipe: Recipe = Recipe()
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

    @model_validator(mode="after")
    def _coherent(self) -> Study:
        self._check_seeds()
        self._check_sessions()
        if both := sorted(self.arms.keys() & self.ablations.keys()):
            raise ValueError(f"{both[0]} is an arm and an ablation; one of the two needs another name")
        for name in (*self.arms, *self.ablations):
            self._check_arm(name)
        self._check_contrasts()
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

    def _check_arm(self, name: str) -> None:
        arm, model = self.arm(name), self.base.model
        where = f"{'arms' if name in self.arms else 'ablations'}.{name}"
        ranks = arm.layer_ranks(model.layers)
        if len(ranks) != model.layers:
            raise ValueError(f"{where}.ranks: {len(ranks)} ranks for {model.layers} layers; give one a layer")
        for rank in ranks:
            if not 0 <= rank <= model.width:
                raise ValueError(f"{where}.ranks: rank {rank} is impossible; expected 0 to {model.width} (the width)")
        if not any(ranks):
            raise ValueError(f"{where}.ranks: all ranks are 0, so nothing would be trained; give a layer a rank")
        if len(set(arm.targets)) != len(arm.targets):
            raise ValueError(f"{where}.targets: {arm.targets} names a role twice")
        try:
            self.recipe_of(name)
        except ValidationError as error:
            raise ValueError(f"{where}.recipe.{explain(error)}") from None

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
        arm = self.arm(name)
        return RunSpec(
            arm=name,
            seeds=self.blocks[block],
            facts_per_session=self.facts_per_session,
            checkpoints=self.checkpoints if name in self.arms else self.ablation_points,
            targets=arm.targets,
            ranks=arm.layer_ranks(self.base.model.layers),
            alpha=self.alpha,
            recipe=self.recipe_of(name),
            probes=self.probes,
            reinit=arm.base.reinit,
            base_seed=self.base.seed,
            device=self.device,
        )

    def recipe_of(self, name: str) -> Recipe:
        """The study's recipe with the arm's overrides merged in, key by key."""
        return Recipe.model_validate(_merged(self.recipe.model_dump(), self.arm(name).recipe))


def seeds_of(entry: int | str) -> list[int]:
    """Seeds of one entry: ``5`` is seed 5, ``"1-4"`` is 1, 2, 3, 4. ValueError where a range runs backwards."""
    first, _, last = str(entry).partition("-")
    seeds = list(range(int(first), int(last or first) + 1))
    if not seeds:
        raise ValueError(f"range {entry!r} is empty; write it as first-last")
    return seeds


def _merged(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; a mapping laid over null starts from nothing, so defaults fill it."""
    result = dict(values)
    for key, value in overrides.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if nested else value
    return result


def explain(error: ValidationError) -> str:
    """Say the first problem of a validation error in one line: key, what was found, what is wrong with it."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if not re.match(r"(list|function|constrained)", str(part)))
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key; see docs/study.schema.json for the keys there are"
    if first["type"] == "missing":
        return f"{key}: Field required, found {', '.join(first['input'])}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}, found {first['input']!r}" if key else message


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
            merged = _merged(merged, yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {})
        except FileNotFoundError:
            raise AtlasError(f"{path}: no such file; give the path of a study, such as config.yaml") from None
        except yaml.YAMLError as error:
            raise AtlasError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    return study(merged, origin=" + ".join(map(str, paths)))
