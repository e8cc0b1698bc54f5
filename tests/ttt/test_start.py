"""Adapters that come from elsewhere: PEFT's own as lanes, there and back, and what cannot be read."""

import json
import re

import numpy as np
import peft
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from atlas.errors import AtlasError
from atlas.study.arm import Arm, check_arm
from atlas.study.recipes import Recipe
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.export import export
from atlas.ttt.hub import read_adapter
from atlas.ttt.run_files import read_record
from atlas.workflow.files import sha256
from tests.ttt.tiny_run import make_inputs, spec, teach
from tests.ttt.tiny_ttt import TINY, make_model

STILL = Recipe.model_validate({"phases": {"fast": None, "slow": None}})
QUIET = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks for it


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def exported(inputs, tmp_path_factory):
    """The base as transformers has it."""
    return export(inputs, tmp_path_factory.mktemp("exported") / "base")[0]


def by_peft(exported, folder, **changes):
    """An adapter of random numbers that PEFT made, saved by it, and the model that it adapts."""
    values = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    torch.manual_seed(5)
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(exported), peft.LoraConfig(**values | changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model.eval()


def ours(targets=("q", "v"), ranks=(4, 4), alpha=4):
    return Adapters.attach(make_model(), targets, ranks, alpha)


@QUIET
@pytest.mark.parametrize(
    ("changes", "targets", "ranks"),
    [
        ({}, ["q", "v"], [4, 4]),
        ({"use_rslora": True}, ["q", "v"], [4, 4]),
        ({"target_modules": ["fc1", "fc2", "k_proj"], "lora_alpha": 3}, ["k", "up", "down"], [4, 4]),
        ({"rank_pattern": {r"layers\.1\.self_attn\.\w+": 2}, "alpha_pattern": {"v_proj": 9}}, ["q", "v"], [4, 2]),
        ({"layers_to_transform": [1]}, ["q", "v"], [0, 4]),
    ],
)
def test_an_adapter_of_peft_is_a_lane_with_the_same_logits(exported, tmp_path, changes, targets, ranks):
    theirs = by_peft(exported, tmp_path / "adapter", **changes)
    adapters = ours(targets, ranks)
    theta = read_adapter(tmp_path / "adapter", adapters)
    tokens = torch.randint(0, 96, (3, 20), generator=torch.Generator().manual_seed(1))
    adapters.bind(theta)
    adapters.lanes.sizes = (tokens.numel(),)
    found, expected = adapters.model(tokens), theirs(input_ids=tokens).logits
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    assert (expected - make_model()(tokens)).abs().max() > 0.1  # it adds something


def test_what_is_exported_comes_back_as_it_was(inputs, tmp_path):
    given = spec(targets=["q", "down"], ranks=[3, 5], checkpoints=[1])
    run = teach(inputs, tmp_path / "1-2", given)
    export(run, tmp_path / "out", inputs)
    adapters = ours(["q", "down"], [3, 5])
    kept = load_file(run / "adapters.safetensors")
    for lane, seed in enumerate((1, 2)):
        theta = read_adapter(tmp_path / "out" / f"seed-{seed}", adapters)
        torch.testing.assert_close(theta, adapters.joined({n: t[[lane]] for n, t in kept.items()}), rtol=0, atol=0)


def test_a_run_that_teaches_nothing_measures_the_adapter_that_it_begins_with(inputs, tmp_path):
    taught = teach(inputs, tmp_path / "taught" / "1-2", spec(seeds=[1], checkpoints=[2]), seeds=[1])
    export(taught, tmp_path / "out", inputs)
    start = tmp_path / "out" / "seed-1"
    still = spec(seeds=[1, 2], checkpoints=[2], recipe=STILL)
    begun = teach(inputs, tmp_path / "begun" / "1-2", still, start=start)
    rows = [pq.read_table(run / "facts.parquet").to_pandas().query("seed == 1") for run in (taught, begun)]
    assert list(rows[0]["fact_id"]) == list(rows[1]["fact_id"])
    for column in ("nll", "answer_nll"):
        np.testing.assert_allclose(rows[0][column], rows[1][column], atol=1e-6)
    assert read_record(begun / "run.json").start == sha256(start / "adapter_model.safetensors")
    assert read_record(taught / "run.json").start is None


def test_teaching_goes_on_from_the_adapter(inputs, tmp_path):
    export(teach(inputs, tmp_path / "a" / "1", spec(seeds=[1], checkpoints=[1]), seeds=[1]), tmp_path / "out", inputs)
    runs = [
        teach(inputs, tmp_path / name / "1", spec(seeds=[1], checkpoints=[1]), seeds=[1], start=start)
        for name, start in (("fresh", None), ("begun", tmp_path / "out" / "seed-1"))
    ]
    norms = [pq.read_table(run / "sessions.parquet").column("adapter_norm")[-1].as_py() for run in runs]
    first = [pq.read_table(run / "sessions.parquet").column("loss_first")[0].as_py() for run in runs]
    assert norms[0] != norms[1]
    assert first[0] > first[1] + 0.05  # of a stream that it was taught before


BROKEN = {
    "another method": ({"peft_type": "IA3"}, "expected peft_type LORA"),
    "more than two matrices": ({"use_dora": True}, "use_dora is True"),
    "a base of its own": ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
}


@QUIET
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_plain_lora_is_refused(exported, tmp_path, name):
    changes, words = BROKEN[name]
    by_peft(exported, tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(AtlasError, match=words):
        read_adapter(tmp_path, ours())


@QUIET
def test_an_adapter_of_another_place_rank_or_folder_is_refused(exported, tmp_path):
    by_peft(exported, tmp_path)
    for adapters, words in (
        (ours(["q"]), "v_proj.*the arm has no adapter there"),
        (ours(["q", "v", "down"]), "fc2.*the adapter has no such tensor"),
        (ours(ranks=(4, 8)), r"shape \[4, 32\], expected \[8, 32\] for rank 8"),
    ):
        with pytest.raises(AtlasError, match=words):
            read_adapter(tmp_path, adapters)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    save_file({**weights, "base_model.model.bias": torch.zeros(3)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AtlasError, match="bias: the arm has no adapter there"):
        read_adapter(tmp_path, ours())
    with pytest.raises(AtlasError, match=r"adapter_config\.json: no such file"):
        read_adapter(tmp_path / "nowhere", ours())


@pytest.mark.parametrize(
    "arm", [{"method": "finetune", "targets": ["q"]}, {"method": "rome"}], ids=lambda a: a["method"]
)
def test_only_adapters_begin_with_one(arm):
    mistakes = "\n".join(check_arm("arms.a", Arm.model_validate({**arm, "start": "somewhere"}), TINY))
    assert re.search(r"^arms\.a\.start: .* has no adapter to begin with", mistakes, re.MULTILINE)
