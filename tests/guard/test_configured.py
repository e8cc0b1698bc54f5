"""What no file of weights holds: the config, the numbers that modules took from it, buffers that are computed."""

import json
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM, MistralConfig, MistralForCausalLM

import atlas
from atlas.errors import AtlasError
from atlas.guard.formats import WHOLE
from atlas.guard.verification import inspect_foreign
from tests.guard.foreign_models import CONFIGS as FOREIGN
from tests.guard.foreign_models import model_of as trained_as_written
from tests.guard.foreign_models import saved
from tests.guard.gguf_files import written
from tests.guard.hub_models import edit, model_of
from tests.guard.test_verification import failed

ROTARY = "model.rotary_emb.inv_freq"
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A llama with plain rotary positions of base 10,000."""
    folder = tmp_path_factory.mktemp("llama")
    model_of("llama").save_pretrained(folder)
    return folder


def loaded(folder, **settings):
    """The folder's weights in a model of its config, but for some settings."""
    config = AutoConfig.from_pretrained(folder)
    for key, value in settings.items():
        setattr(config, key, value)
    model = LlamaForCausalLM(config)
    model.load_state_dict(load_file(folder / WHOLE))
    return model


def damaged(folder, buffer):
    model = loaded(folder)
    model.model.rotary_emb.inv_freq = buffer(model.model.rotary_emb.inv_freq)
    return model


@pytest.mark.parametrize(
    ("buffer", "said"),
    [
        (torch.zeros_like, "0 at 0, expected 1"),
        (lambda old: torch.full_like(old, torch.nan), "8 of 8 values are not finite"),
        (lambda old: torch.full_like(old, torch.inf), "8 of 8 values are not finite"),
        (lambda _: 5e5 ** -(torch.arange(0, 16, 2) / 16), "expected 0.316228"),
        (lambda old: old / 4, "0.25 at 0, expected 1"),
        (lambda old: old.flip(0), "not what the config makes it"),
        (lambda old: old[:4], r"shape \[4\], expected \[8\]"),
        (lambda old: old.bfloat16().float(), "expected 0.316228"),
        (lambda old: old.to("meta"), "has no values in memory"),
    ],
    ids=["zero", "nan", "infinite", "theta", "scaled", "turned", "short", "rounded", "meta"],
)
def test_a_table_of_rotary_positions(folder, buffer, said):
    model = damaged(folder, buffer)
    with pytest.raises(atlas.GuardError, match=said):
        atlas.verify(model, folder, trained=False)
    assert failed(model, folder, trained=False) == {"buffers": {ROTARY}}


def test_scaled_positions_are_computed_as_transformers_does(folder, tmp_path):
    model = loaded(folder, rope_parameters=YARN)
    model.save_pretrained(tmp_path)
    assert atlas.verify(model, tmp_path, trained=False).passed
    model.model.rotary_emb.attention_scaling *= 2
    assert failed(model, tmp_path, trained=False) == {"config": {"model.rotary_emb.attention_scaling"}}
    plain = LlamaForCausalLM.from_pretrained(tmp_path)
    plain.model.rotary_emb.inv_freq.copy_(10000.0 ** -(torch.arange(0, 16, 2) / 16))
    assert failed(plain, tmp_path, trained=False) == {"buffers": {ROTARY}}


def test_positions_that_follow_the_length_of_a_text_may_have_moved(folder, tmp_path):
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    loaded(folder, rope_parameters=dynamic, max_position_embeddings=16).save_pretrained(tmp_path)
    model = LlamaForCausalLM.from_pretrained(tmp_path)
    model.forward(torch.ones(1, 40, dtype=torch.long))
    (said,) = [check.detail for check in atlas.verify(model, tmp_path, trained=False).checks if ROTARY in check.detail]
    assert said.startswith("not judged")
    model.model.rotary_emb.original_inv_freq.mul_(2)
    assert failed(model, tmp_path, trained=False) == {"buffers": {"model.rotary_emb.original_inv_freq"}}
    model.model.rotary_emb.inv_freq.zero_()
    assert ROTARY in failed(model, tmp_path, trained=False)["buffers"]


def test_other_state_outside_the_file(tmp_path):
    for name, path, value in (
        ("gemma", "model.embed_tokens.embed_scale", 1.0),
        ("bert", "bert.embeddings.position_ids", 0),
        ("gpt_neo", "transformer.h.0.attn.attention.bias", False),
    ):
        model_of(name).save_pretrained(tmp_path / name)
        model = model_of(name)
        assert atlas.verify(model, tmp_path / name, trained=False).passed
        model.get_buffer(path).fill_(value)
        assert failed(model, tmp_path / name, trained=False) == {"buffers": {path}}


class Masked(nn.Module):
    """Somebody's own model, whose buffers and attributes no config explains."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1), persistent=False)
        self.register_buffer("table", torch.arange(4.0), persistent=False)
        self.register_buffer("turns", torch.ones(2, dtype=torch.complex64), persistent=False)
        self.scale = torch.ones(1)


def test_of_a_model_without_config_buffers_must_be_numbers(tmp_path):
    net, path = Masked(), tmp_path / "net.safetensors"
    save_file(net.state_dict(), path)
    (said,) = [each.detail for each in atlas.verify(net, path, trained=False).checks if each.name == "buffers"]
    assert said == "not judged against a config, only that they are numbers: mask, scale, table, turns"
    net.get_buffer("table")[1], net.scale[0] = torch.inf, torch.nan
    assert failed(net, path, trained=False) == {"buffers": {"scale", "table"}}
    net.mask = net.mask.to("meta")
    assert "mask" in failed(net, path, trained=False)["buffers"]


@pytest.mark.parametrize(
    ("key", "value", "more"),
    [
        ("rope_parameters", {"rope_type": "default", "rope_theta": 5e5}, {}),
        ("rope_parameters", YARN, {}),
        ("num_attention_heads", 4, {"head_dim": 8, "num_key_value_heads": 2}),
        ("rms_norm_eps", 0.1, {}),
        ("hidden_act", "gelu", {}),
        ("max_position_embeddings", 77, {}),
        ("tie_word_embeddings", True, {}),
    ],
)
def test_a_model_of_another_config_than_that_beside_its_file(folder, key, value, more):
    found = failed(loaded(folder, **{key: value}, **more), folder, trained=False)
    assert any(name.partition(".")[0] == key for name in found["config"])


def test_a_config_of_ten_million_layers_takes_no_time(folder, tmp_path):
    model = loaded(folder)
    model.save_pretrained(tmp_path)
    beside = tmp_path / "config.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"num_hidden_layers": 10**7}))
    with pytest.raises(
        atlas.GuardError, match=r"num_hidden_layers: 2 in the model, 10000000 in .*config\.json"
    ) as caught:
        atlas.verify(model, tmp_path, trained=False)
    assert len(str(caught.value)) < 1000


def test_modules_that_do_not_what_the_config_says(folder):
    model = loaded(folder)
    for layer in model.model.layers:
        layer.input_layernorm.variance_epsilon = 0.5
        layer.mlp.act_fn = nn.GELU()
    model.model.layers[1].self_attn.scaling = 1.0
    with pytest.raises(
        atlas.GuardError, match=r"variance_epsilon: is 0\.5, the config makes it 1e-06, and so in 2 modules"
    ):
        atlas.verify(model, folder, trained=False)
    assert failed(model, folder, trained=False) == {
        "config": {
            "model.layers.0.input_layernorm.variance_epsilon",
            "model.layers.0.mlp.act_fn",
            "model.layers.1.self_attn.scaling",
        }
    }


def test_layers_in_another_order_keep_their_number(folder):
    model = loaded(folder)
    model.model.layers = nn.ModuleList(reversed(model.model.layers))
    assert "model.layers.0.self_attn.layer_idx" in failed(model, folder, trained=False)["config"]


def test_what_was_changed_on_purpose_is_said(folder):
    model = loaded(folder, rope_parameters={"rope_type": "default", "rope_theta": 5e5}, rms_norm_eps=1e-5)
    assert failed(model, folder, trained=False, changed=["rope_parameters"]).keys() == {"config"}
    assert atlas.verify(model, folder, trained=False, changed=["rope_parameters.rope_theta", "rms_norm_eps"]).passed
    model.model.rotary_emb.inv_freq.zero_()
    assert failed(model, folder, trained=False, changed=["rope_parameters", "rms_norm_eps"]).keys() == {"buffers"}
    with pytest.raises(AtlasError, match=r"changed: 'hidden_act' is in the model as in .*config\.json; leave it out"):
        atlas.verify(model, folder, trained=False, changed=["hidden_act"])


def test_a_config_of_another_kind_none_and_a_broken_one(folder, tmp_path):
    model = loaded(folder)
    model.save_pretrained(tmp_path)
    beside = tmp_path / "config.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"model_type": "mistral"}))
    assert failed(model, tmp_path, trained=False) == {"config": {"model_type"}}
    beside.unlink()
    (said,) = [check.detail for check in atlas.verify(model, tmp_path, trained=False).checks if check.name == "config"]
    assert said == "not judged: there is no config.json beside the file"
    beside.write_text("[]")
    with pytest.raises(AtlasError, match=r"config\.json: not the config of a model"):
        atlas.verify(model, tmp_path, trained=False)


def not_confirmed(folder):
    said = next(what for what in inspect_foreign(folder).not_checked if what.startswith("the config's "))
    return {*said.removeprefix("the config's ").split(", ")}


def test_the_command_says_which_keys_nothing_in_the_file_confirms(tmp_path):
    heads = {"num_attention_heads", "num_key_value_heads"}
    positions = {"rope_parameters.rope_theta", "rope_parameters.rope_type", "max_position_embeddings"}
    llama = not_confirmed(saved(tmp_path / "llama", "llama", trained=True))
    assert llama >= {"rms_norm_eps", "hidden_act", *heads, *positions}
    assert not llama & {"vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "tie_word_embeddings"}
    qwen3 = not_confirmed(saved(tmp_path / "qwen3", "qwen3", trained=True))  # whose norms have the width of a head
    assert not qwen3 & {*heads, "head_dim"}
    gpt2 = not_confirmed(saved(tmp_path / "gpt2", "gpt2", trained=True))
    assert gpt2 >= {"n_head", "layer_norm_epsilon", "activation_function"}
    assert "n_positions" not in gpt2  # its table of positions has as many rows


def test_a_file_with_tables_of_rotary_positions_confirms_theta_or_refutes_it(tmp_path):
    folder = saved(tmp_path, "llama", trained=True)
    name = "model.layers.{}.self_attn.rotary_emb.inv_freq"
    table = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    edit(folder, **{name.format(at): table for at in range(2)})
    assert inspect_foreign(folder).passed
    assert "rope_parameters.rope_theta" not in not_confirmed(folder)
    edit(folder, **{name.format(1): 5e5 ** -(torch.arange(0, 16, 2) / 16)})
    (check,) = inspect_foreign(folder).failed
    assert (check.name, check.tensors) == ("config", [name.format(1)])
    assert "made with rope_theta 500000, the config says 10000" in check.detail
    with pytest.raises(atlas.GuardError, match="of the file, is not what the config makes it"):
        atlas.verify(AutoModelForCausalLM.from_pretrained(folder), folder)
    edit(folder, **{name.format(1): table.half()})  # as older files have it
    assert inspect_foreign(folder).passed


def test_the_config_in_a_gguf_file_is_compared_but_for_its_shorter_numbers(tmp_path):
    for name in ("llama", "gpt2", "qwen2"):
        path = written(tmp_path / f"{name}.gguf", name)
        model = trained_as_written(name, trained=True)
        assert atlas.verify(model, path).passed
        model.config = deepcopy(model.config)
        model.config.num_hidden_layers = 3
        assert failed(model, path).keys() == {"config"}
    path, same = tmp_path / "llama.gguf", {"num_key_value_heads": 2, "sliding_window": None}
    mistral = MistralForCausalLM(MistralConfig(**{**FOREIGN["llama"].to_dict(), **same, "model_type": "mistral"}))
    mistral.load_state_dict(trained_as_written("llama", trained=True).state_dict())
    details = [check.detail for check in atlas.verify(mistral, path).checks]
    assert f"not judged: {path} holds the config of a llama" in details


def test_groups_of_heads_that_do_not_come_out_even(tmp_path):
    folder = saved(tmp_path, "llama, grouped, tied", trained=True)
    beside = folder / "config.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"num_key_value_heads": 3}))
    failed = {check.name: check for check in inspect_foreign(folder).failed}
    assert "num_key_value_heads: 3, expected a divisor of num_attention_heads, 2" in failed["config"].detail
