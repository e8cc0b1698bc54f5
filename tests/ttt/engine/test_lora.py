"""The LoRA engine: against PEFT, and lane by lane."""

from collections.abc import Callable

import numpy as np
import peft
import pytest
import torch
from torch.nn import functional as F
from transformers import OPTConfig, OPTForCausalLM

from atlas.base.model import opt_config
from atlas.study.base_settings import Model
from atlas.study.settings import Role
from atlas.ttt.engine.adapter import AdapterSite
from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lanes import LaneModel, Lanes, TrainedParts
from atlas.ttt.engine.lora import Adapters, LoraLinear
from tests.ttt.engine.made_kinds import ByItsUpdate
from tests.ttt.tiny_ttt import TINY, make_model

ALL_ROLES: list[Role] = ["q", "k", "v", "o", "up", "down"]
PEFT_NAME = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj", "up": "fc1", "down": "fc2"}


def tokens(rows: int, time: int = 17, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 96, (rows, time), generator=torch.Generator().manual_seed(seed))


def run(adapters: LaneModel, x: torch.Tensor, lanes: int) -> torch.Tensor:
    """Logits of padded rows, as many for every lane."""
    adapters.lanes.sizes = (x.numel() // lanes,) * lanes
    logits: torch.Tensor = adapters.model(x)
    return logits


def random_theta(adapters: Adapters, lanes: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(lanes, adapters.parameters, generator=torch.Generator().manual_seed(seed))


def test_a_fresh_adapter_changes_nothing():
    plain, adapted = make_model(), make_model()
    adapters = Adapters.attach(adapted, ALL_ROLES, [4, 2], alpha=8)
    adapters.bind(adapters.initial(0, [1, 2, 3]))
    torch.testing.assert_close(run(adapters, tokens(6), 3), plain(tokens(6)))


def test_unbound_adapters_are_the_base():
    plain, adapted = make_model(), make_model()
    adapters = Adapters.attach(adapted, ALL_ROLES, [4, 2], alpha=8)
    adapters.bind(random_theta(adapters, 2))
    assert not torch.allclose(run(adapters, tokens(6), 2), plain(tokens(6)), atol=1e-2)
    adapters.bind(None)
    assert torch.equal(adapted(tokens(6)), plain(tokens(6)))


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("targets", [["q", "v"], ["up", "down"], ALL_ROLES])
def test_a_lane_has_the_loss_and_gradients_of_peft(targets):
    adapters = Adapters.attach(make_model(), targets, [4, 4], alpha=6)
    theta, x = random_theta(adapters, 1), tokens(5)
    grad = torch.zeros_like(theta)
    adapters.train(theta, grad)
    loss = F.cross_entropy(run(adapters, x, 1)[:, :-1].flatten(0, 1), x[:, 1:].flatten())
    loss.backward()

    oracle = OPTForCausalLM(OPTConfig(**opt_config(TINY)))
    weights = make_model().state_dict()
    oracle.load_state_dict({**weights, "lm_head.weight": weights["model.decoder.embed_tokens.weight"]})
    names = [PEFT_NAME[role] for role in targets]
    lora = peft.get_peft_model(oracle, peft.LoraConfig(r=4, lora_alpha=6, target_modules=names)).eval()
    named = dict(lora.named_parameters())
    ours, grads = adapters.named(theta), adapters.named(grad)
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
    adapters = Adapters.attach(make_model(), ["q", "up"], [4, 2], alpha=8)
    theta, x = random_theta(adapters, 3), tokens(6)
    adapters.bind(theta)
    together = run(adapters, x, 3).view(3, 2, 17, 96)
    for lane in range(3):
        adapters.bind(theta[lane : lane + 1])
        alone = run(adapters, x[2 * lane : 2 * lane + 2], 1)
        torch.testing.assert_close(alone, together[lane], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", [(8, 8, 8), (9, 4, 11), (0, 20, 4)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [LoraLinear, ByItsUpdate])
def test_lanes_of_any_size_merged_and_trained(sizes, bias, kind):
    torch.manual_seed(0)
    linear = torch.nn.Linear(5, 7, bias=bias).requires_grad_(False)
    layer = kind(AdapterSite(linear, Lanes(sizes), layer=0, role="q", rank=2, alpha=1.0))
    a, b, x, back = torch.randn(3, 5, 2), torch.randn(3, 2, 7), torch.randn(24, 5), torch.randn(24, 7)
    owner = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    plain_a, plain_b, plain_x = (tensor.clone().requires_grad_(True) for tensor in (a, b, x))
    rows = [layer.base(plain_x[i]) + 0.5 * (plain_x[i] @ plain_a[k]) @ plain_b[k] for i, k in enumerate(owner)]
    torch.stack(rows).backward(back)

    layer.merged = layer.sum([a, b])
    torch.testing.assert_close(layer(x), torch.stack(rows), atol=1e-5, rtol=1e-5)
    layer.trained = TrainedParts([a, b], grads := [torch.zeros_like(a), torch.zeros_like(b)])
    trained = layer(x.requires_grad_(True))
    trained.backward(back)
    torch.testing.assert_close(trained, torch.stack(rows), atol=1e-5, rtol=1e-5)
    for found, expected in ((grads[0], plain_a), (grads[1], plain_b), (x.grad, plain_x)):
        torch.testing.assert_close(found, expected.grad, atol=1e-5, rtol=1e-5)


def test_gradients_of_two_passes_add_up():
    adapters = Adapters.attach(make_model(), ["v", "down"], [4, 2], alpha=4)
    theta, once, twice = random_theta(adapters, 2), torch.zeros(2, adapters.parameters), None
    adapters.train(theta, once)
    run(adapters, tokens(4), 2).square().sum().backward()
    twice = once.clone()
    adapters.train(theta, twice)
    run(adapters, tokens(4), 2).square().sum().backward()
    torch.testing.assert_close(twice, 2 * once)


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


KINDS: dict[str, Callable[[], LaneModel]] = {
    "adapters": lambda: Adapters.attach(make_model(), ["q", "down"], [3, 5], alpha=8),
    "adapters of one layer": lambda: Adapters.attach(make_model(), ["up", "v"], [0, 4], alpha=8),
    "whole matrices": lambda: Full.attach(make_model(), ["q", "down"], [0, 1]),
    "whole matrices of one layer": lambda: Full.attach(make_model(), ["up"], [1]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_lanes_add_is_named_and_joined_again_to_the_byte(kind):
    model = KINDS[kind]()
    theta = torch.randn(3, model.parameters, generator=torch.Generator().manual_seed(1))
    named = model.named(theta)
    assert list(named) == model.names
    assert all(part.is_contiguous() and len(part) == 3 for part in named.values())
    assert model.joined(named).numpy().tobytes() == theta.numpy().tobytes()
    assert torch.equal(model.joined(dict(reversed(named.items()))), theta)  # by name, whatever their order


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_runs_with_the_updates_that_it_tells(kind):
    """Of every kind the base's matrices and ``updates`` make what the model runs with, merged and in training."""
    model, x = KINDS[kind](), tokens(4)
    theta = 0.1 * torch.randn(2, model.parameters, generator=torch.Generator().manual_seed(1))
    model.bind(theta)
    merged = run(model, x, 2)
    model.train(theta, torch.zeros_like(theta))
    torch.testing.assert_close(run(model, x, 2), merged, atol=1e-4, rtol=1e-4)
    for lane in range(2):
        plain = make_model()
        for slot, update in zip(model.slots, model.updates(theta), strict=True):
            plain.get_parameter(f"{slot.site.path}.weight").data += update[lane].T
        torch.testing.assert_close(
            plain(x[2 * lane : 2 * lane + 2]), merged.view(2, 2, 17, -1)[lane], atol=1e-4, rtol=1e-4
        )


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
    grad = torch.zeros(1, adapters.parameters)
    adapters.train(random_theta(adapters, 1), grad)
    run(adapters, tokens(2), 1).sum().backward()
    assert all(part.any() for part in adapters.named(grad).values())
    assert all(parameter.grad is None for parameter in model.parameters())
