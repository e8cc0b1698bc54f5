"""The LoRA engine: against PEFT, and lane by lane."""

import numpy as np
import peft
import pytest
import torch
from torch.nn import functional as F
from transformers import OPTConfig, OPTForCausalLM

from atlas.base.model import opt_config
from atlas.config import Model, Role
from atlas.ttt.lora import Adapters, LaneLinear
from tests.ttt.tiny_ttt import TINY, make_model

ALL_ROLES: list[Role] = ["q", "k", "v", "o", "up", "down"]
PEFT_NAME = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj", "up": "fc1", "down": "fc2"}


def tokens(rows: int, time: int = 17, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 96, (rows, time), generator=torch.Generator().manual_seed(seed))


def random_theta(adapters: Adapters, lanes: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(lanes, adapters.parameters, generator=torch.Generator().manual_seed(seed))


def test_a_fresh_adapter_changes_nothing():
    plain, adapted = make_model(), make_model()
    adapters = Adapters.attach(adapted, ALL_ROLES, [4, 2], alpha=8)
    adapters.bind(adapters.initial(0, [1, 2, 3]))
    torch.testing.assert_close(adapted(tokens(6)), plain(tokens(6)))


def test_unbound_adapters_are_the_base():
    plain, adapted = make_model(), make_model()
    adapters = Adapters.attach(adapted, ALL_ROLES, [4, 2], alpha=8)
    adapters.bind(random_theta(adapters, 2))
    assert not torch.allclose(adapted(tokens(6)), plain(tokens(6)), atol=1e-2)
    adapters.bind(None)
    assert torch.equal(adapted(tokens(6)), plain(tokens(6)))


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("targets", [["q", "v"], ["up", "down"], ALL_ROLES])
def test_a_lane_has_the_loss_and_gradients_of_peft(targets):
    adapters = Adapters.attach(model := make_model(), targets, [4, 4], alpha=6)
    theta = random_theta(adapters, 1).requires_grad_(True)
    adapters.bind(theta)
    x = tokens(5)
    loss = F.cross_entropy(model(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())
    loss.backward()

    oracle = OPTForCausalLM(OPTConfig(**opt_config(TINY)))
    weights = make_model().state_dict()
    oracle.load_state_dict({**weights, "lm_head.weight": weights["model.decoder.embed_tokens.weight"]})
    names = [PEFT_NAME[role] for role in targets]
    lora = peft.get_peft_model(oracle, peft.LoraConfig(r=4, lora_alpha=6, target_modules=names)).eval()
    named = dict(lora.named_parameters())
    assert theta.grad is not None
    ours, grads = adapters.named(theta), adapters.named(theta.grad)
    there = {name: named[f"base_model.model.{name}.default.weight"] for name in ours}
    with torch.no_grad():
        for name, parameter in there.items():
            parameter.copy_(ours[name][0].T)
    expected = lora(input_ids=x, labels=x).loss
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert len(there) == 2 * len(targets) * TINY.layers
    for name, parameter in there.items():
        torch.testing.assert_close(grads[name][0].T, parameter.grad, atol=1e-6, rtol=1e-4)


def test_a_lane_does_not_depend_on_the_others():
    adapters = Adapters.attach(model := make_model(), ["q", "up"], [4, 2], alpha=8)
    theta, x = random_theta(adapters, 3), tokens(6)
    adapters.bind(theta)
    together = model(x).view(3, 2, *model(x).shape[1:])
    for lane in range(3):
        adapters.bind(theta[lane : lane + 1])
        torch.testing.assert_close(model(x[2 * lane : 2 * lane + 2]), together[lane], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_merged_adapters_give_what_trained_ones_give(bias):
    torch.manual_seed(0)
    layer = LaneLinear(torch.nn.Linear(5, 7, bias=bias).requires_grad_(False), scale=0.5)
    a, b, x = torch.randn(3, 5, 2), torch.randn(3, 2, 7), torch.randn(6, 4, 5)
    layer.bind(a, b)
    merged = layer(x)
    layer.bind(a.requires_grad_(True), b)
    torch.testing.assert_close(merged, layer(x), atol=1e-5, rtol=1e-5)
    plain = [layer.base(x[i]) + 0.5 * (x[i] @ a[i // 2]) @ b[i // 2] for i in range(6)]  # two rows a lane
    torch.testing.assert_close(merged, torch.stack(plain), atol=1e-5, rtol=1e-5)


def test_initial_draws_are_shared_by_arms_and_nested_in_rank():
    wide = Adapters.attach(make_model(), ["q", "v"], [8, 8], alpha=8)
    narrow = Adapters.attach(make_model(), ["v"], [0, 3], alpha=8)
    a = wide.named(wide.initial(7, [4, 9]))
    b = narrow.named(narrow.initial(7, [9]))
    name = "model.decoder.layers.1.self_attn.v_proj.lora_A"
    assert list(b) == [name, name.replace("_A", "_B")]  # rank 0 leaves layer 0 out
    assert torch.equal(a[name][1, :, :3], b[name][0])
    assert not torch.equal(a[name][0], a[name][1])
    assert b[name].abs().max() <= 1 / np.sqrt(32)


def test_parameters_of_the_essay():
    arms: dict[str, tuple[list[Role], list[int]]] = {
        "qv": (["q", "v"], [32] * 4),
        "ffn": (["up", "down"], [32] * 4),
        "qv_ffn": (["q", "v", "up", "down"], [32] * 4),
        "qv_mid": (["q", "v"], [4, 32, 32, 4]),
    }
    counts = {
        arm: Adapters.attach(make_model(config=Model()), targets, ranks, alpha=32).parameters
        for arm, (targets, ranks) in arms.items()
    }
    assert counts == {"qv": 65_536, "ffn": 163_840, "qv_ffn": 229_376, "qv_mid": 36_864}


def test_only_the_adapters_get_gradients():
    adapters = Adapters.attach(model := make_model(), ["up"], [2, 2], alpha=2)
    theta = random_theta(adapters, 1).requires_grad_(True)
    adapters.bind(theta)
    model(tokens(2)).sum().backward()
    assert theta.grad is not None
    assert all(parameter.grad is None for parameter in model.parameters())
