"""The model against its oracle, OPTForCausalLM of transformers, with weights that went through a checkpoint."""

import json

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from atlas.base.checkpoint import save
from atlas.base.model import Transformer, fresh, opt_config
from atlas.study.base_settings import Base, Model
from atlas.workflow.files import write_json

SHAPE = Model(layers=2, width=32, heads=4, ffn=48, context=24)


@pytest.fixture
def model():
    """A model whose every parameter matters: fresh biases are 0 and fresh norms 1, which would hide a wrong name."""
    model = fresh(SHAPE, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


@pytest.fixture
def tokens():
    return torch.randint(0, 96, (3, SHAPE.context), generator=torch.Generator().manual_seed(2))


def test_same_logits_as_opt(model, tokens):
    oracle = OPTForCausalLM(OPTConfig(**opt_config(SHAPE))).eval()
    missing, unexpected = oracle.load_state_dict(model.state_dict(), strict=False)
    assert missing == ["lm_head.weight"]  # tied to the embedding
    assert not unexpected
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), oracle(tokens).logits, atol=1e-5, rtol=1e-5)


def test_transformers_loads_the_checkpoint(model, tokens, tmp_path):
    save(
        tmp_path / "model.safetensors",
        tmp_path / "base.json",
        model,
        config=Base(model=SHAPE),
        val_loss=4.0,
        tokens=1,
        seconds=1.0,
        corpus_sha256="",
    )
    write_json(tmp_path / "config.json", opt_config(SHAPE))
    oracle, info = OPTForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), oracle.eval()(tokens).logits, atol=1e-5, rtol=1e-5)


def test_the_default_has_the_parameters_of_the_essay():
    assert sum(parameter.numel() for parameter in Transformer(Model()).parameters()) == 838_656


def test_later_characters_do_not_matter(model, tokens):
    changed = tokens.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % 96
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert not torch.allclose(before[:, 10], after[:, 10])


def test_positions_and_mask_pack_two_texts_into_one_row(model, tokens):
    first, second = tokens[:1, :10], tokens[1:2, :14]
    packed = torch.cat([first, second], dim=1)
    positions = torch.cat([torch.arange(10), torch.arange(14)])[None]
    owner = torch.tensor([0] * 10 + [1] * 14)
    mask = (owner[:, None] == owner) & torch.ones(24, 24, dtype=torch.bool).tril()
    with torch.no_grad():
        logits = model(packed, positions, mask)
        torch.testing.assert_close(logits[:, :10], model(first), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logits[:, 10:], model(second), atol=1e-5, rtol=1e-5)


def test_a_fresh_model_depends_on_its_seed_alone():
    once, again, other = (fresh(SHAPE, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(once[name], again[name]) for name in once)
    matrices = [name for name in once if once[name].ndim == 2]
    assert all(not torch.equal(once[name], other[name]) for name in matrices)
    assert all(abs(once[name].std() / 0.02 - 1) < 0.15 for name in matrices)


def test_the_opt_config_is_json():
    assert json.loads(json.dumps(opt_config(SHAPE)))["ffn_dim"] == 48
