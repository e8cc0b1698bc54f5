"""A session in padded rows, as on a GPU: it teaches what packed lines teach, and asks the device nothing."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from atlas.study.recipes import PRESETS, Recipe
from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.layouts import Layout, PackedLines, PaddedRows, layout_on
from atlas.ttt.engine.lines import ItemTable
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.recipe import Trainer
from atlas.ttt.session import Estimates, Learner, Session, Trace
from tests.ttt.made_sessions import draw, taught
from tests.ttt.tiny_ttt import make_model

CPU, META = torch.device("cpu"), torch.device("meta")
LANES, NEW, SESSIONS = 2, 3, 3
ITEMS = [taught(lane, NEW * SESSIONS, "code") for lane in range(LANES)]
TEXT = np.random.default_rng(0).integers(1, 96, 500).astype(np.uint8)
REHEARSES = {"facts": 4, "unseen": 0.5}
RECIPES = {
    **{name: {"preset": name} for name in PRESETS},
    "recall": {"preset": "recall", "phases": {"all": {"early": {"steps": 26, "shown": 150}}}},
    "answers": {"loss": "answer", "budget": None},
    "until": {
        "weakness": "worst",
        "budget": 1,
        "phases": {
            "fast": {"steps": 25, "lr": 0.01, "until": {"facts": "new", "recalled": False, "loss": 3.0}},
            "slow": {
                "steps": 20,
                "epochs": None,
                "lr": 0.01,
                "optimiser": {"memory": "run"},
                "rehearsal": REHEARSES,
                "until": {"recalled": False, "loss": 3.5},
            },
        },
    },
    "until recalled": {"phases": {"fast": {"steps": 30, "lr": 0.02, "until": {}}, "slow": None}, "loss": "answer"},
    "importance": {
        "budget": 2,
        "phases": {
            "fast": {"steps": 4, "anchor": {"weight": 9, "by": "importance", "memory": 0.9}},
            "slow": {"rehearsal": {"facts": 3, "choice": "random", "unseen": 0.3}, "schedule": "cosine"},
        },
    },
    "text": {
        "preset": "recall",
        "phases": {
            "all": {
                "steps": 6,
                "batch": 4,
                "early": {"steps": 8, "shown": 30},
                "rehearsal": {"facts": 4, "every": 4},
                "text": {"characters": 30, "toward": "text"},
            }
        },
    },
    "sgd": {
        "phases": {
            "fast": {
                "steps": 12,
                "optimiser": {"kind": "sgd", "memory": "run"},
                "lr": 0.3,
                "until": {"loss": 4.0, "recalled": False},
            },
            "slow": {"optimiser": {"kind": "sgd", "momentum": 0}, "lr": 0.1, "rehearsal": {"choice": "random"}},
        },
    },
}
"""What a recipe may say, each at least once."""


Taught = tuple[Learner, Estimates, list[Trace]]


def course(
    keys,
    layout: Layout,
    dtype=torch.float64,
    device: torch.device = CPU,
    whole: bool = False,
    watch: TorchDispatchMode | None = None,
    steps: int | None = None,
) -> Taught:
    """All sessions of a recipe, under the eyes of ``watch``; if ``steps`` are given, of so many a phase."""
    model = make_model().to(device, dtype)
    adapters: LaneModel = (
        Full.attach(model, ["up"], [0, 1]) if whole else Adapters.attach(model, ["q", "up"], [4, 4], alpha=8)
    )
    recipe = Recipe.model_validate(keys)
    if steps:
        phases = {name: {"steps": steps, "epochs": None, "early": None} for name in recipe.active}
        recipe = recipe.with_overrides({"phases": phases})
    trainer = Trainer(adapters, recipe, device, TEXT)
    trainer.layout = layout
    learner = trainer.learner(adapters.initial(0, range(LANES)).to(device, dtype))
    table, traces = ItemTable.of(ITEMS, device), []
    estimates = Estimates.none(table)
    for number in range(SESSIONS):
        with watch or nullcontext():
            learner, some = trainer.session(learner, Session(table, NEW * number, NEW, estimates, draw))
        traces += some
    return learner, estimates, traces


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11, equal_nan=True)


def same(rows: Taught, packed: Taught) -> None:
    """Whether two layouts taught the same, in float64."""
    close(rows[0].theta, packed[0].theta)
    close(rows[0].importance, packed[0].importance)
    for state, other in zip(rows[0].optimisers, packed[0].optimisers, strict=True):
        assert (state.steps == other.steps).all()
        close(state.mean, other.mean)
        close(state.square, other.square)
    assert (rows[1].measured == packed[1].measured).all()
    torch.testing.assert_close(rows[1].losses, packed[1].losses)  # float32
    for trace, by_packed in zip(rows[2], packed[2], strict=True):
        assert (trace.steps == by_packed.steps).all()
        assert (trace.tokens == by_packed.tokens).all()
        points = len(by_packed.losses)  # rows do not ask whether a lane goes on
        close(trace.losses[:points], by_packed.losses)
        assert trace.losses[points:].isnan().all()


@pytest.mark.parametrize("name", RECIPES)
def test_padded_rows_teach_what_packed_lines_teach(name):
    packed = course(RECIPES[name], PackedLines())
    same(course(RECIPES[name], PaddedRows()), packed)
    until = any(phase.until for phase in Recipe.model_validate(RECIPES[name]).active.values())
    assert until == any(len({*trace.steps.tolist()}) > 1 for trace in packed[2])  # lanes do end, each in its turn


@pytest.mark.parametrize("name", ["essay", "recall"])
def test_they_do_in_float32(name):
    """As far as rounding lets them: training goes by the sign of small gradients."""
    packed, rows = (course(RECIPES[name], layout, torch.float32)[0].theta for layout in (PackedLines(), PaddedRows()))
    assert (rows - packed).norm() < 1e-2 * packed.norm()


def test_whole_matrices_train_in_rows_as_packed():
    rows, packed = (course(RECIPES["essay"], layout, whole=True) for layout in (PaddedRows(), PackedLines()))
    same(rows, packed)


aten = torch.ops.aten
ASKS = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.equal}


class Watch(TorchDispatchMode):
    """Notes what asks a device for something, and counts what is sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.uploads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        kind = func.overloadpacket
        masks = [one for one in args[1] if one is not None and one.dtype == torch.bool] if kind is aten.index else []
        if kind in ASKS or masks or (kind is aten.repeat_interleave and kwargs.get("output_size") is None):
            self.asked.append(str(func))
        out = func(*args, **kwargs)
        if kind in (aten._to_copy, aten.copy_) and isinstance(out, torch.Tensor):
            self.uploads += out.device != args[kind is aten.copy_].device
        return out


@pytest.fixture
def watch():
    """A watch under which SGD's kernel runs on the meta device, too, where PyTorch has only Adam's."""
    kernels = torch.library.Library("aten", "IMPL", "Meta")
    kernels.impl("_fused_sgd_", lambda *_, **__: None)
    return Watch(), kernels  # which lasts as long as it is held


@pytest.mark.parametrize("name", RECIPES)
def test_a_session_in_rows_asks_the_device_nothing(name, watch):
    """On a device that has no values: what asks for one raises, even unseen by the watch, as ``numpy`` and ``tolist``
    are. Only draws are sent to it, in however many steps."""
    seen, _ = watch
    sent = []
    for steps in (1, 3):
        learner, _, traces = course(RECIPES[name], PaddedRows(), torch.float32, META, watch=seen, steps=steps)
        assert {learner.theta.device, *(trace.losses.device for trace in traces)} == {META}
        assert seen.asked == []
        sent.append(seen.uploads)
    assert sent[1] == 2 * sent[0]
    phases = Recipe.model_validate(RECIPES[name]).active.values()
    draws = [bool(phase.batch) + bool(phase.text) for phase in phases]
    draws += [bool(phase.rehearsal and phase.rehearsal.choice == "random") for phase in phases]
    assert sent[0] <= SESSIONS * sum(draws)
    assert (sent[0] > 0) == (sum(draws) > 0)


def test_the_watch_sees_what_packed_lines_ask(watch):
    seen, _ = watch
    course(RECIPES["until"], PackedLines(), watch=seen)
    assert {"aten.index.Tensor", "aten._local_scalar_dense.default"} <= {*seen.asked}
    with pytest.raises((RuntimeError, NotImplementedError)):
        course(RECIPES["essay"], PackedLines(), torch.float32, META)


def test_a_device_has_the_layout_that_serves_it():
    assert isinstance(layout_on(CPU), PackedLines)
    assert isinstance(layout_on(torch.device("cuda")), PaddedRows)
    assert isinstance(layout_on(META), PaddedRows)
