"""Products with frozen matrices in bfloat16: what is rounded, what is not, and that what trained is measured."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from atlas.base.text import CHARACTERS
from atlas.errors import AtlasError
from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lanes import LaneModel, base_weights, compute_in
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.products import FrozenProduct, require
from atlas.ttt.run_files import read_record
from tests.ttt.editors.tiny_editors import settings
from tests.ttt.test_hosted import ours, saved
from tests.ttt.tiny_run import make_moments, spec, teach
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
HALF = 2.0**-8  # relative error of rounding to bfloat16, at most


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def able(monkeypatch):
    """A processor with bfloat16, whatever runs the tests: without, products are emulated and right."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


@pytest.mark.parametrize("rows", [1, 3, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_rounds_its_factors_and_its_outcome_alone(rows, bias):
    weight, added = drawn(48, 96), drawn(48, seed=1) if bias else None
    x, grad = drawn(rows, 96, seed=2), drawn(rows, 48, seed=3)
    product = FrozenProduct(weight, added, "bfloat16")
    rounded = weight.bfloat16().double()
    for found, expected in (
        (product.forward(x) - (0 if added is None else added), x.bfloat16().double() @ rounded.T),
        (product.backward(grad), grad.bfloat16().double() @ rounded),
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=HALF + 1e-5, atol=1e-5)
        assert not torch.equal(found.double(), expected)
    exact = F.linear(x.double(), weight.double(), None if added is None else added.double())
    assert (product.forward(x) - exact).norm() < HALF * exact.norm()


@pytest.mark.parametrize("rows", [1, 3, 200])
def test_sums_are_in_float32(rows):
    many, small = 4096, 2.0**-10  # to 1 in bfloat16, adding this changes nothing, however often
    x, matrix = torch.ones(rows, many + 1), torch.full((8, many + 1), small)
    matrix[:, 0] = 1
    assert torch.ones(1).bfloat16() + torch.full((1,), small).bfloat16() == 1
    assert (FrozenProduct(matrix, None, "bfloat16").forward(x) == 1 + many * small).all()
    assert (FrozenProduct(matrix.T, None, "bfloat16").backward(x) == 1 + many * small).all()


def test_float32_is_the_plain_product_to_the_bit():
    weight, bias, x, grad = drawn(48, 96), drawn(48, seed=1), drawn(50, 96, seed=2), drawn(50, 48, seed=3)
    product = FrozenProduct(weight, bias, "float32")
    assert torch.equal(product.forward(x), F.linear(x, weight, bias))
    assert torch.equal(product.backward(grad), grad @ weight)


def attached(kind: str, precision: str) -> LaneModel:
    """Two roles of every layer taught, two not."""
    model = make_model()
    compute_in(model, precision)
    if kind == "full":
        return Full.attach(model, ["q", "down"], [0, 1])
    return Adapters.attach(model, ["q", "down"], [4, 4], alpha=8)


def logits(model: LaneModel, lanes: int = 2) -> torch.Tensor:
    model.lanes.sizes = (3 * 17,) * lanes
    tokens = torch.randint(0, 96, (3 * lanes, 17), generator=torch.Generator().manual_seed(4))
    out: torch.Tensor = model.model(tokens)
    return out


def trained(model: LaneModel, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits while ``theta`` trains, and the gradient of the mean of their squares."""
    grad = torch.zeros_like(theta)
    model.train(theta, grad)
    out = logits(model)
    out.square().mean().backward()
    return out.detach(), grad


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_what_is_taught_and_its_gradients_are_not_rounded(kind):
    exact, reduced = attached(kind, "float32"), attached(kind, "bfloat16")
    theta = 0.02 * drawn(2, exact.parameters)
    (expected, right), (found, grad) = trained(exact, theta), trained(reduced, theta)
    assert grad.dtype == torch.float32
    assert (grad != grad.bfloat16()).float().mean() > 0.9  # they have digits that bfloat16 has not
    for ours_, theirs in ((found, expected), (grad, right)):
        assert 1e-4 < (ours_ - theirs).norm() / theirs.norm() < 0.02


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_what_is_measured_is_what_trained_and_nothing_taught_is_the_base(kind):
    model = attached(kind, "bfloat16")
    theta = 0.02 * drawn(2, model.parameters)
    found, _ = trained(model, theta)
    model.bind(theta)
    assert torch.equal(logits(model), found)
    model.bind(theta[1:])  # a lane alone has all rows, however many were run before
    alone = model.model(torch.zeros(1, 5, dtype=torch.int64))
    assert alone.isfinite().all()
    model.bind(None)
    base = logits(model)
    model.bind(torch.zeros_like(theta))
    assert torch.equal(logits(model), base)
    assert not torch.equal(base, found)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_an_update_too_small_for_bfloat16_counts(kind):
    """Added to the matrix and rounded with it, it would be lost."""
    model, x = attached(kind, "bfloat16"), drawn(2, 40, 64)
    theta = (1e-5 if kind == "full" else 1e-3) * drawn(2, model.parameters)
    model.lanes.sizes = (40, 40)
    for slot, update in zip(model.slots, model.updates(theta), strict=True):
        matrix, rows = slot.module.base.weight.T, x[..., : update.shape[1]]
        assert ((matrix + update).bfloat16() == matrix.bfloat16()).float().mean() > 0.9
        model.bind(None)
        base = slot.module(rows)
        model.bind(theta)
        assert (slot.module(rows) - base - rows @ update).norm() < 0.05 * (rows @ update).norm()


@pytest.mark.parametrize("name", ["llama, grouped, tied", "gpt2"])
def test_a_model_from_outside_computes_in_bfloat16_too(tmp_path, name):
    folder = saved(tmp_path, name)
    plain, model = ours(folder), ours(folder)
    compute_in(model, "bfloat16")
    tokens = torch.randint(0, len(CHARACTERS.line_ends), (4, 13), generator=torch.Generator().manual_seed(1))
    adapters = Adapters.attach(model, ["q", "up"], [3, 3], alpha=6)
    weights = base_weights(model)
    assert weights.keys() == plain.state_dict().keys()
    assert all(torch.equal(weights[key], value) for key, value in plain.state_dict().items())
    expected, found = plain(tokens), model(tokens)
    assert found.dtype == torch.float32
    assert 1e-4 < (found - expected).norm() / expected.norm() < 0.02
    theta, grad = torch.zeros(1, adapters.parameters), torch.zeros(1, adapters.parameters)
    adapters.train(adapters.initial(0, [1]), grad)
    adapters.lanes.sizes = (tokens.numel(),)
    model(tokens).square().mean().backward()
    assert grad.any()
    assert theta.dtype == grad.dtype == torch.float32


@pytest.mark.usefixtures("able")
def test_a_run_in_bfloat16_says_so_and_leaves_the_certified_weights(run, inputs, tmp_path):
    out = teach(inputs, tmp_path / "1-2", spec(precision="bfloat16", checkpoints=[2]))
    record, plain = read_record(out / "run.json"), read_record(run / "run.json")
    assert (record.precision, plain.precision) == ("bfloat16", "float32")
    assert record.frozen == plain.frozen
    assert {tensor.dtype for tensor in load_file(out / "adapters.safetensors").values()} == {torch.float32}
    ours_, theirs = (pq.read_table(folder / "facts.parquet").to_pandas() for folder in (out, run))
    theirs = theirs[theirs["sessions"] == 2].reset_index(drop=True)
    assert (ours_["fact_id"] == theirs["fact_id"]).all()
    for column in ("nll_base", "nll"):
        assert (ours_[column] != theirs[column]).any()
        np.testing.assert_allclose(ours_[column], theirs[column], rtol=0.05)
    bases = record.val_loss[0].base, plain.val_loss[0].base
    assert bases[0] != bases[1]
    assert bases[0] == pytest.approx(bases[1], rel=1e-3)


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize("method", ["memit", "finetune"])
def test_what_changes_whole_matrices_runs_in_bfloat16(spoilt, tmp_path, method):
    changes = {"method": method, "targets": ["down"], "precision": "bfloat16", "checkpoints": [1], "ranks": [32, 32]}
    if method == "memit":
        make_moments(spoilt)
        changes |= {"editing": settings("memit"), "recipe": {"phases": {"fast": None, "slow": None}}}
    out = teach(spoilt, tmp_path / "1-2", spec(**changes))
    facts = pq.read_table(out / "facts.parquet").to_pandas()
    taught = facts[facts["probe"] == "taught"]
    assert (taught["nll"] < taught["nll_base"]).all()
    assert read_record(out / "run.json").precision == "bfloat16"


@pytest.mark.parametrize("found", [{}, {"avx512_bf16": False, "avx512_f": True}])
def test_a_processor_without_bfloat16_is_refused_before_anything_is_read(monkeypatch, tmp_path, found):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    nowhere = tmp_path / "nowhere"
    with pytest.raises(AtlasError, match=r"precision: bfloat16, but this processor, .* write precision: float32"):
        teach(nowhere, tmp_path / "1-2", spec(precision="bfloat16"))
    require("float32", gpu=False)


@pytest.mark.usefixtures("able")
def test_a_torch_that_makes_no_use_of_the_instructions_is_refused(monkeypatch):
    require("bfloat16", gpu=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # as on macOS
    with pytest.raises(AtlasError, match="as torch sees it"):
        require("bfloat16", gpu=False)


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_is_asked_where_one_trains(monkeypatch, supported):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported or including_emulation)
    if supported:
        require("bfloat16", gpu=True)
    else:
        with pytest.raises(AtlasError, match="this GPU has no instructions"):
            require("bfloat16", gpu=True)
