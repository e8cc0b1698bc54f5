"""What is computed on a GPU: steps, sessions and short studies of models whose weights are random."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.base.hosted import Hosted
from atlas.base.language import LanguageModel
from atlas.base.model import fresh
from atlas.base.text import CHARACTERS, SYMBOLS
from atlas.draws import rng
from atlas.pool.build import build
from atlas.pool.facts import TAUGHT, Fact
from atlas.study.base_settings import Model
from atlas.study.config import Study
from atlas.study.config import study as validated
from atlas.ttt.course import Course
from atlas.ttt.engine.lines import Line, line
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.measured import measure_base
from atlas.ttt.probes import Prober
from atlas.ttt.recipe import Trainer
from benchmarks import flops
from benchmarks.tasks import Setting, Task, Work

NAME = "gpu"
ARMS = {"essay": {"targets": ["up", "down"]}, "recall": {"targets": ["up", "down"], "recipe": {"preset": "recall"}}}
"""An arm for each recipe."""
NEW = 3  # facts of a session
PLACEBO = 20
TEXT = 1 << 16  # characters
SMOLLM2: Mapping[str, Any] = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
"""The shape of SmolLM2-135M."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured: ``seconds`` are those of one timing, ``product`` the width of a square product."""

    shape: Model = field(default_factory=Model)
    hosted: Mapping[str, Any] = field(default_factory=lambda: SMOLLM2)
    lanes: tuple[int, ...] = (8, 64, 256, 1024)
    facts: tuple[int, ...] = (3, 32)
    hosted_lanes: tuple[int, ...] = (1, 8, 32)
    session_lanes: tuple[int, ...] = (8, 64, 256)
    profiled: int = 64
    compared: int = 4
    sessions: int = 12
    product: int = 8192
    seconds: float = 1.5


TINY = Sizes(
    shape=Model(layers=2, width=32, heads=2, ffn=64, context=128),
    hosted={
        **SMOLLM2,
        "vocab_size": 256,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    lanes=(2,),
    facts=(3,),
    hosted_lanes=(1,),
    session_lanes=(2,),
    profiled=2,
    compared=2,
    sessions=2,
    product=64,
    seconds=0.01,
)


@dataclass(frozen=True)
class HostedTask(Task):
    """Steps of a model of transformers, whose config is ``shape``."""

    shape: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.shape)

    def model(self) -> LanguageModel:
        return self.placed(copy.deepcopy(_hosted(tuple(self.shape.items()), self.study.base.own)))


@cache
def _hosted(config: tuple[tuple[str, Any], ...], shape: Model) -> Hosted:
    torch.manual_seed(0)
    return Hosted(dict(config), shape, CHARACTERS)  # its text is not asked for: lines come as tokens


def study(shape: Model, lanes: int, *checkpoints: int) -> Study:
    """A study of both arms, seed after seed as lanes of one block."""
    asked = {"seeds": [f"1-{lanes}"], "lanes": lanes, "facts_per_session": NEW, "checkpoints": checkpoints or [1]}
    base = {"model": shape.model_dump()}
    return validated({**asked, "arms": ARMS, "base": base}, origin=NAME)


@cache
def pool() -> list[Fact]:
    """The facts of the built-in pool that are taught."""
    return [fact for fact in build(validated({"arms": ARMS}, origin=NAME).pool) if fact.role == TAUGHT]


@cache
def _lines() -> list[Line]:
    return [line(fact.prompt, fact.answer, fact.fact_id) for fact in pool()]


def _drawn(lanes: int, facts: int) -> list[list[int]]:
    """Facts of each lane, as indices into the pool; where it has too few for all, lanes share some."""
    picked = np.resize(rng("benchmarks", NAME, facts).permutation(len(pool())), (lanes, facts))
    rows: list[list[int]] = picked.tolist()
    return rows


def small(sizes: Sizes, device: torch.device, lanes: int, facts: int, arm: str = "essay", work: Work = "step") -> Task:
    """A task of the model that a study pretrains."""
    lines = [[_lines()[i] for i in some] for some in _drawn(lanes, facts)]
    made = study(sizes.shape, lanes)
    return Task(Setting(work, arm, lanes, facts), made, None, lines, device=device, text=random_text())


def large(sizes: Sizes, device: torch.device, lanes: int, facts: int) -> Task:
    """Steps of SmolLM2's shape: lines of random tokens, as many as a fact has words, and two."""
    config, draw = sizes.hosted, rng("benchmarks", NAME, "tokens")
    shape = Model(
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        ffn=config["intermediate_size"],
    )
    lengths = [len(fact.prompt.split()) + 3 for fact in pool()]
    known = [Line(draw.integers(1, config["vocab_size"], size).astype(np.uint16), size - 2) for size in lengths]
    lines = [[known[i] for i in some] for some in _drawn(lanes, facts)]
    setting = Setting("step", "essay", lanes, facts)
    return HostedTask(setting, study(shape, lanes), None, lines, device=device, shape=config)


def random_text() -> np.ndarray:
    """Random characters, for a recipe that trains the base's own text."""
    return rng("benchmarks", NAME, "text").integers(len(SYMBOLS), size=TEXT).astype(np.uint8)


def course(
    sizes: Sizes,
    device: torch.device,
    arm: str,
    lanes: int,
    checkpoints: Sequence[int],
    placebo: int = PLACEBO,
    weights: Mapping[str, Tensor] | None = None,
) -> Course:
    """A run of an arm up to its last checkpoint, with all that is measured of it; weights of a base, or random ones."""
    made = study(sizes.shape, lanes, *checkpoints)
    spec, facts = made.run_spec(arm, next(iter(made.blocks))), pool()
    base = fresh(made.base.own, 0)
    if weights:
        base.load_state_dict(weights)
    adapters = Adapters.attach(base.to(device), spec.targets, spec.ranks, spec.alpha)
    taught = spec.sessions * NEW
    orders = [rng("benchmarks", seed, "stream").permutation(len(facts))[:taught] for seed in spec.seeds]
    prober = Prober(NAME)
    told = [facts[i] for i in np.unique([*np.concatenate(orders), *range(placebo)])]
    return Course(
        spec=spec,
        teacher=Trainer(adapters, spec.recipe, device, random_text()),
        prober=prober,
        measured=measure_base(adapters, prober, told, random_text()[: sizes.shape.context + 1], device),
        streams=[[facts[i] for i in order] for order in orders],
        placebo=facts[:placebo],
        device=device,
    )


def necessary(task: Task) -> float:
    """FLOPs of one step that nobody can do without; of a hosted model those of its own weights, there and back."""
    lengths = [item.predicted for lane in task.lines for item in lane]
    if not isinstance(task, HostedTask):
        return flops.training(task.study.base.own, task.arm.targets, [task.rank] * task.layers, lengths)
    width, ffn, layers, vocabulary = (
        int(task.shape[key]) for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
    )
    narrow = width * int(task.shape["num_key_value_heads"]) // int(task.shape["num_attention_heads"])  # of k and of v
    layer = 2 * width * width + 2 * width * narrow + 3 * width * ffn
    return 4.0 * (layers * layer + width * vocabulary) * sum(lengths)
