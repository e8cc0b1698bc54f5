"""Checkpoints of other projects: every tensor is expected by name and shape, and held against an initialisation."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Model, LlamaModel

from atlas.base.inspection import inspect
from atlas.errors import AtlasError
from atlas.guard.blueprints import TensorSpec
from atlas.guard.formats import WHOLE
from atlas.guard.verification import read_foreign
from atlas.guard.weight_checks import SPECTRUM_SHORTEST
from atlas.workflow import files
from tests.guard.foreign_models import CONFIGS, FOUR, failures, model_of, saved

UP = {
    "opt": "model.decoder.layers.1.fc1.weight",
    "gpt2": "transformer.h.1.mlp.c_fc.weight",
    "gpt_neox": "gpt_neox.layers.1.mlp.dense_h_to_4h.weight",
    "llama": "model.layers.1.mlp.up_proj.weight",
}


@pytest.fixture
def llama(tmp_path):
    return saved(tmp_path, "llama", trained=True)


def edit(folder, **tensors):
    """Change tensors of a folder's checkpoint; None drops one."""
    found = load_file(folder / WHOLE) | tensors
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, folder / WHOLE)


def edit_config(folder, **keys):
    files.write_json(folder / "config.json", files.read_json(folder / "config.json") | keys)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_of_every_kind_of_config_is_expected(tmp_path, name):
    assert failures(saved(tmp_path, name, trained=True)) == {}


@pytest.mark.parametrize("name", CONFIGS)
def test_at_its_initialisation_every_matrix_is_named(tmp_path, name):
    found = failures(saved(tmp_path, name))
    shapes = {name: tensor.shape for name, tensor in load_file(tmp_path / WHOLE).items()}
    matrices = {name for name, shape in shapes.items() if len(shape) == 2}
    assert found["spectrum"] | {name for name in matrices if min(shapes[name]) < SPECTRUM_SHORTEST} == matrices
    assert found["aligned"] <= matrices  # in so small a model chance may align one
    assert not found.keys() & {"names", "shapes", "dtypes", "finite", "head", "copies"}


@pytest.mark.parametrize("name", FOUR)
def test_names_that_are_not_the_architectures(tmp_path, name):
    folder, up = saved(tmp_path, name, trained=True), UP[name]
    tensor = load_file(folder / WHOLE)[up]
    edit(folder, **{up: None, f"module.{up}": tensor})
    assert failures(folder) == {"names": {up, f"module.{up}"}}
    edit(folder, **{f"module.{up}": None, up: tensor.T.contiguous()})
    assert failures(folder) == {"shapes": {up}}
    edit(folder, **{up: torch.full_like(tensor, torch.nan)})
    assert failures(folder) == {"finite": {up}}
    edit(folder, **{up: tensor.half()})
    assert failures(folder) == {"dtypes": {up}}


@pytest.mark.parametrize("name", FOUR)
def test_a_layer_that_the_config_does_not_have(tmp_path, name):
    folder = saved(tmp_path, name, trained=True)
    edit_config(folder, **{"n_layer" if name == "gpt2" else "num_hidden_layers": 1})
    found = failures(folder)
    assert found.keys() == {"names"}
    assert UP[name] in found["names"]


@pytest.mark.parametrize("name", FOUR)
def test_one_share_of_the_attention_left_at_its_initialisation(tmp_path, name):
    """Fused or not, it is q that is named, and only its tensor."""
    folder = saved(tmp_path, name, trained=True)
    specs = [spec for spec in read_foreign(folder).specs.values() if spec.kind == "matrix" and spec.layer == 0]
    spec = next(spec for spec in specs if spec.role == "q" or "q" in spec.fused)
    tensor = load_file(folder / WHOLE)[spec.name]
    places = torch.arange(tensor.numel()).view(tensor.shape)
    share = next(part for part in spec.parts(places) if part.role == "q").values.flatten()
    tensor.view(-1)[share] = torch.randn(len(share), generator=torch.Generator().manual_seed(0)) * 0.02
    edit(folder, **{spec.name: tensor})
    found = failures(folder)
    assert found["aligned"] == found["spectrum"] == {spec.name}
    aligned = next(check for check in inspect(folder).checks if check.name == "aligned")
    assert f"{spec.name}[q]" in aligned.detail or not spec.fused
    assert "[k]" not in aligned.detail


def test_fused_attention_is_taken_apart_as_the_model_does():
    """q, k and v by their own weights are q, k and v as the model's fused layer gives them."""
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    neox = model_of("gpt_neox").gpt_neox.layers[0].attention.query_key_value
    by_head = neox(x).view(5, 2, 3 * 16).chunk(3, dim=-1)  # as transformers' GPTNeoXAttention does
    gpt2 = model_of("gpt2").transformer.h[0].attn.c_attn
    by_role = gpt2(x).split(32, dim=-1)  # as GPT2Attention does
    qkv = ("q", "k", "v")
    for module, expected, spec in (
        (neox, [part.reshape(5, 32) for part in by_head], TensorSpec("w", (96, 32), "matrix", fused=qkv, heads=2)),
        (gpt2, by_role, TensorSpec("w", (32, 96), "matrix", fused=qkv, transposed=True)),
    ):
        for part, wanted in zip(spec.parts(module.weight), expected, strict=True):
            torch.testing.assert_close(x @ part.values.T, wanted)  # biases are 0 at first


def test_a_model_saved_without_its_head_has_no_prefix(tmp_path):
    for kind, name in ((GPT2Model, "gpt2"), (LlamaModel, "llama")):
        whole = model_of(name, trained=True)
        bare = kind(CONFIGS[name])
        bare.load_state_dict(whole.base_model.state_dict())
        bare.save_pretrained(tmp_path / name)
        assert failures(tmp_path / name) == {}
        edit(tmp_path / name, **{UP[name]: torch.zeros(1)})  # one name with the prefix: then all need it
        assert failures(tmp_path / name)["names"] >= load_file(tmp_path / name / WHOLE).keys() - {UP[name]}


def test_masks_are_computed_and_not_looked_at(tmp_path):
    folder = saved(tmp_path, "gpt2", trained=True)
    edit(folder, **{"transformer.h.0.attn.bias": torch.ones(1, 1, 24, 24, dtype=torch.bool)})
    assert failures(folder) == {}
    assert "1 that are computed" in inspect(folder).model
    edit(folder, **{"transformer.h.0.mlp.bias": torch.ones(1)})
    assert failures(folder) == {"names": {"transformer.h.0.mlp.bias"}}


def test_a_tied_head_may_stand_there_again_if_it_is_the_embedding(tmp_path):
    folder = saved(tmp_path, "gpt2", trained=True)
    embedding = load_file(folder / WHOLE)["transformer.wte.weight"]
    edit(folder, **{"lm_head.weight": embedding.clone()})
    assert failures(folder) == {}
    edit(folder, **{"lm_head.weight": embedding + 0.1})
    assert failures(folder) == {"head": {"lm_head.weight"}}


def test_the_head_of_gpt_neox_has_two_names(tmp_path):
    folder = saved(tmp_path, "gpt_neox", trained=True)
    head = load_file(folder / WHOLE)["embed_out.weight"]
    edit(folder, **{"embed_out.weight": None, "lm_head.weight": head})
    assert failures(folder) == {}
    edit(folder, **{"lm_head.weight": None})
    assert failures(folder) == {"names": {"embed_out.weight"}}


def test_a_head_of_its_own_must_be_there(llama):
    edit(llama, **{"lm_head.weight": None})
    assert failures(llama) == {"names": {"lm_head.weight"}}


def test_a_layer_that_is_a_copy_of_another(llama):
    tensors = load_file(llama / WHOLE)
    name = "model.layers.{}.mlp.up_proj.weight"
    edit(llama, **{name.format(1): tensors[name.format(0)].clone()})
    assert failures(llama) == {"copies": {name.format(1)}}


def test_shards_are_read_by_their_index(tmp_path):
    folder = saved(tmp_path, "llama", trained=True, max_shard_size="20KB")
    index = folder / "model.safetensors.index.json"
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert failures(folder) == failures(index) == {}
    contents = files.read_json(index)
    name, place = next(iter(contents["weight_map"].items()))
    other = next(shard for shard in contents["weight_map"].values() if shard != place)
    files.write_json(index, contents | {"weight_map": contents["weight_map"] | {name: other}})
    assert failures(folder) == {"names": {name}}
    (folder / other).unlink()
    with pytest.raises(AtlasError, match=rf"shards are not there \({other}\); fetch or copy it again"):
        inspect(folder)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (
            {"model_type": "bert"},
            "model_type 'bert' has no map of names; there are maps for opt, gpt2, gpt_neox, llama",
        ),
        ({"hidden_size": None}, "hidden_size is None, expected a number above 0"),
        ({"attention_bias": "yes"}, "attention_bias is 'yes', expected true or false"),
    ],
)
def test_a_config_that_cannot_be_used(llama, keys, complaint):
    edit_config(llama, **keys)
    with pytest.raises(AtlasError, match=complaint) as caught:
        inspect(llama)
    assert str(llama / "config.json") in str(caught.value)


def test_a_folder_with_nothing_or_too_much(tmp_path):
    with pytest.raises(AtlasError, match="0 safetensors files, expected model"):
        inspect(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(AtlasError, match=r"convert a \.bin file"):
        inspect(tmp_path)
    (tmp_path / "a.safetensors").touch()
    (tmp_path / "b.safetensors").touch()
    with pytest.raises(AtlasError, match="2 safetensors files"):
        inspect(tmp_path)


def test_half_precision_is_judged_too(tmp_path):
    folder = saved(tmp_path, "llama", trained=True)
    edit(folder, **{name: tensor.bfloat16() for name, tensor in load_file(folder / WHOLE).items()})
    assert failures(folder) == {}


def test_the_report_is_json_that_says_what_was_not_checked(llama):
    report = json.loads(json.dumps(asdict(inspect(llama))))
    assert report["passed"] is True
    assert report["model"].startswith("llama, 21 tensors")
    assert any("loss" in what for what in report["not_checked"])
