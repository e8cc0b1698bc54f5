"""Adapters of plugins in the engine: they start as LoRA does, train as it does, and what is wrong is said."""

import peft
import pytest
import torch
from torch.nn import functional as F
from transformers import OPTConfig, OPTForCausalLM

from atlas.base.model import opt_config
from atlas.errors import AtlasError
from atlas.ttt.engine.lora import Adapters, LoraLinear
from tests.ttt.engine.made_kinds import ByItsUpdate, Decomposed
from tests.ttt.tiny_ttt import TINY, make_model


def moved(adapters: Adapters, lanes: int) -> torch.Tensor:
    """Weights somewhat away from where they start."""
    theta = adapters.initial(0, range(1, lanes + 1))
    return theta + 0.05 * torch.randn(theta.shape, generator=torch.Generator().manual_seed(0))


def trained(adapters: Adapters, theta: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The loss of some tokens, its gradient, and the logits of the merged model."""
    x, grad = torch.randint(0, 96, (6, 17), generator=torch.Generator().manual_seed(0)), torch.zeros_like(theta)
    adapters.lanes.sizes = (x.numel() // len(theta),) * len(theta)
    adapters.train(theta, grad)
    loss = F.cross_entropy(adapters.model(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())
    loss.backward()
    adapters.bind(theta)
    with torch.no_grad():
        return loss.item(), grad, adapters.model(x)


def test_lora_by_its_update_starts_and_trains_as_lora():
    plain, other = (Adapters.attach(make_model(), ["q", "down"], [4, 2], 8, kind) for kind in (LoraLinear, ByItsUpdate))
    assert torch.equal(plain.initial(0, [1, 2]), other.initial(0, [1, 2]))
    theta = moved(plain, 2)
    for found, expected in zip(trained(other, theta), trained(plain, theta), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert plain.as_lora(theta) is not None
    assert other.as_lora(theta) is None
    assert plain._fused is not None
    assert other._fused is None  # the pass by hand knows plain LoRA alone


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_what_no_lora_can_be_has_the_loss_and_gradients_of_peft():
    adapters = Adapters.attach(make_model(), ["v"], [4, 4], 8, Decomposed)
    start = adapters.updates(adapters.initial(0, [1]))
    assert all(update.abs().max() < 1e-6 for update in start)  # it begins as the base
    theta = moved(adapters, 1)
    loss, grad, _ = trained(adapters, theta)

    oracle, weights = OPTForCausalLM(OPTConfig(**opt_config(TINY))), make_model().state_dict()
    oracle.load_state_dict({**weights, "lm_head.weight": weights["model.decoder.embed_tokens.weight"]})
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj"], use_dora=True)
    named = dict(peft.get_peft_model(oracle, config).eval().named_parameters())
    theirs = {"lora_A": "lora_A.default.weight", "lora_B": "lora_B.default.weight"}
    theirs |= {"length": "lora_magnitude_vector.default.weight"}
    ours, grads = adapters.named(theta), adapters.named(grad)
    paths = {name: name.rpartition(".")[::2] for name in ours}
    there = {name: named[f"base_model.model.{path}.{theirs[part]}"] for name, (path, part) in paths.items()}
    with torch.no_grad():
        for name, parameter in there.items():
            parameter.copy_(ours[name][0].T.reshape(parameter.shape))
    x = torch.randint(0, 96, (6, 17), generator=torch.Generator().manual_seed(0))
    expected = oracle(input_ids=x, labels=x).loss
    expected.backward()

    assert loss == pytest.approx(expected.item(), abs=1e-6)
    assert len(there) == 3 * TINY.layers
    for name, parameter in there.items():
        assert parameter.grad is not None
        torch.testing.assert_close(grads[name][0].T.reshape(parameter.shape), parameter.grad, atol=1e-6, rtol=1e-3)


def test_parts_and_updates_of_other_shapes_are_refused():
    class Wrong(ByItsUpdate):
        def initial(self, draw):
            return [part.T for part in super().initial(draw)]

    class Turned(ByItsUpdate):
        def update(self, parts):
            return super().update(parts).mT

    for kind, message in (
        (
            Wrong,
            r"Wrong\.initial: shapes \(4, 32\), \(64, 4\) for model\.decoder.*, expected \(32, 4\), \(4, 64\); mend",
        ),
        (Turned, r"Turned\.update: shapes \(1, 64, 32\) for model\.decoder.*, expected \(1, 32, 64\); mend the plugin"),
    ):
        with pytest.raises(AtlasError, match=message):
            Adapters.attach(make_model(), ["up"], [4, 4], 8, kind).initial(0, [1])
