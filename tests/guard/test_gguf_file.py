"""GGUF files: nothing is dropped on the way, and the numbers that they stand for are judged like any other's."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from transformers import AutoModelForCausalLM
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

import atlas
from atlas import cli
from atlas.base.inspection import inspect
from atlas.errors import AtlasError
from atlas.guard.formats import GgufFile
from atlas.guard.verification import read_foreign
from atlas.guard.weight_checks import SPECTRUM_SHORTEST
from tests.guard.foreign_models import failures, model_of, saved
from tests.guard.gguf_files import as_stored, written

NAMES = ["llama", "llama, wide heads", "gpt2", "gpt2, narrow", "qwen2", "qwen2, tied", "qwen3", "qwen3, tied"]
UP, FILE_UP = "model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight"
HEAD = "lm_head.weight"


def random(*shape):
    return np.random.default_rng(0).normal(0, 0.02, shape).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_read_as_the_model_has_it(tmp_path, name):
    """Names, rows of q and k in their order, sizes that `transformers` overlooks."""
    path = written(tmp_path / "model.gguf", name)
    model = model_of(name, trained=True)
    if model.config.tie_word_embeddings:
        model.lm_head = torch.nn.Identity()
    torch.testing.assert_close(GgufFile(path).tensors, dict(model.state_dict()), rtol=0, atol=0)
    assert failures(path) == {}


@pytest.mark.parametrize("name", NAMES)
def test_quantised_files_are_judged_by_the_numbers_that_they_stand_for(tmp_path, name):
    path = written(tmp_path / "model.gguf", name, Kind.Q8_0)
    assert failures(path) == {}
    words = inspect(path).model
    assert "as Q8_0" in words
    assert "dequantised" in words
    assert ("as F16" in words) == (name != "gpt2")  # rows of 48 numbers are no whole blocks of 32


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0])
def test_other_kinds_of_storage(tmp_path, kind):
    assert failures(written(tmp_path / "model.gguf", "llama", kind)) == {}


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0])
def test_at_its_initialisation_every_matrix_is_named(tmp_path, kind):
    found = failures(written(tmp_path / "model.gguf", "llama", kind, model_of("llama")))
    shapes = {name: tensor.shape for name, tensor in model_of("llama").state_dict().items()}
    matrices = {name for name, shape in shapes.items() if len(shape) == 2}
    assert found["spectrum"] | {name for name in matrices if min(shapes[name]) < SPECTRUM_SHORTEST} == matrices
    assert found["aligned"] <= matrices
    assert not found.keys() & {"names", "shapes", "dtypes", "finite", "head", "copies", "rounding"}


@pytest.mark.parametrize("kind", [Kind.F32, Kind.Q8_0])
def test_one_matrix_of_random_numbers(tmp_path, kind):
    found = failures(written(tmp_path / "model.gguf", "llama", kind, **{FILE_UP: random(48, 32)}))
    assert found == {"aligned": {UP}, "spectrum": {UP}}


def test_our_reading_is_that_of_transformers(tmp_path):
    path = written(tmp_path / "model.gguf", "llama, wide heads", Kind.Q8_0)
    theirs = load_gguf_checkpoint(path, return_tensors=True, model_to_load=model_of("llama, wide heads"))["tensors"]
    torch.testing.assert_close(GgufFile(path).tensors, theirs, rtol=0, atol=0)


def test_a_model_in_memory_is_held_against_the_file(tmp_path):
    path = written(tmp_path / "model.gguf", "qwen2, tied", Kind.Q8_0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
    assert atlas.verify(model, path).passed
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0] += 1
    with pytest.raises(atlas.GuardError, match=UP):
        atlas.verify(model, path)


def test_tensors_that_are_not_there_or_too_many(tmp_path):
    path = tmp_path / "model.gguf"
    assert failures(written(path, "llama", **{FILE_UP: None})) == {"names": {UP}}
    assert failures(written(path, "llama", **{"blk.1.extra.weight": random(4, 32)})) == {
        "names": {"gguf:blk.1.extra.weight"}
    }
    assert failures(written(path, "llama", **{"blk.2.ffn_up.weight": random(48, 32)})) == {
        "names": {"gguf:blk.2.ffn_up.weight"}
    }
    values = as_stored(model_of("llama"))[FILE_UP]
    assert failures(written(path, "llama", **{FILE_UP: None, UP: values})) == {"names": {UP, f"gguf:{UP}"}}


@pytest.mark.parametrize(
    ("tensor", "name"), [(FILE_UP, UP), ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight")]
)
def test_tensors_of_a_wrong_shape_or_not_finite(tmp_path, tensor, name):
    path = tmp_path / "model.gguf"
    shape = as_stored(model_of("llama"))[tensor].shape
    assert failures(written(path, "llama", **{tensor: random(7, 32)})) == {"shapes": {name}}
    assert failures(written(path, "llama", **{tensor: np.full(shape, np.nan, np.float32)})) == {"finite": {name}}


def test_factors_of_rotary_positions_are_computed_and_not_looked_at(tmp_path):
    path = written(tmp_path / "model.gguf", "llama", **{"rope_freqs.weight": np.ones(8, np.float32)})
    assert failures(path) == {}
    assert "1 that are computed" in inspect(path).model


def test_a_head_is_tied_where_there_is_none_or_the_embedding_again(tmp_path):
    path = tmp_path / "model.gguf"
    assert failures(written(path, "llama", **{"output.weight": None})) == {}
    embedding = as_stored(model_of("llama", trained=True))["token_embd.weight"]
    assert failures(written(path, "llama", Kind.Q8_0, **{"output.weight": embedding})) == {}
    assert read_foreign(path).blueprint.tied
    assert failures(written(path, "llama", **{"output.weight": random(40, 32)})) == {
        "aligned": {HEAD},
        "spectrum": {HEAD},
    }


def test_half_precision_beside_quantised_is_what_the_file_says(tmp_path):
    """Not so among tensors that it stores in one way: there, one that is rounded came from elsewhere."""
    path = tmp_path / "model.gguf"
    rounded = as_stored(model_of("llama", trained=True))[FILE_UP].astype(np.float16).astype(np.float32)
    assert failures(written(path, "llama", **{FILE_UP: rounded})) == {"rounding": {UP}}
    assert failures(written(path, "llama", Kind.F16, **{FILE_UP: rounded})) == {}


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.03, 0.5, 0.999])
def test_a_file_that_is_cut_off(tmp_path, share):
    path = written(tmp_path / "model.gguf", "llama")
    contents = path.read_bytes()
    path.write_bytes(contents[: int(len(contents) * share)])
    with pytest.raises(
        AtlasError, match=rf"{re.escape(str(path))}: not a whole GGUF file \(.*\); fetch or copy it again"
    ):
        inspect(path)


def test_a_file_that_is_not_gguf(tmp_path):
    path = saved(tmp_path, "llama") / "model.safetensors"
    with pytest.raises(AtlasError, match=r"not a whole GGUF file \(GGUF magic invalid\)"):
        inspect(path.rename(tmp_path / "model.gguf"))


@pytest.mark.parametrize(("kind", "complaint"), [("zebra", "zebra is not supported"), ("gemma2", "no map of names")])
def test_an_architecture_without_a_map(tmp_path, kind, complaint):
    writer = GGUFWriter(tmp_path / "model.gguf", kind)
    writer.add_vocab_size(8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(AtlasError, match=complaint) as caught:
        inspect(tmp_path / "model.gguf")
    assert str(caught.value).startswith(f"{tmp_path / 'model.gguf'}: ")


@pytest.mark.parametrize("package", ["gguf", "transformers"])
def test_without_the_packages_it_says_how_to_get_them(tmp_path, monkeypatch, package):
    path = written(tmp_path / "model.gguf", "llama")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(AtlasError, match=f"reading GGUF takes {package}; install the extra lm: "):
        inspect(path)


def test_a_folder_with_one_file_or_a_file_of_any_name(tmp_path):
    path = written(tmp_path / "model.gguf", "llama")
    assert failures(tmp_path) == {}
    blob = path.rename(tmp_path / "sha256-0123")
    assert failures(blob) == {}
    written(tmp_path / "a.gguf", "llama")
    written(tmp_path / "b.gguf", "llama")
    with pytest.raises(AtlasError, match="2 GGUF files, expected"):
        inspect(tmp_path)


def test_safetensors_in_the_same_folder_come_first(tmp_path):
    saved(tmp_path, "gpt2", trained=True)
    written(tmp_path / "model.gguf", "llama")
    assert inspect(tmp_path).model.startswith("gpt2")


def test_what_lies_beside_the_file_is_not_its_own(tmp_path):
    path = written(tmp_path / "model.gguf", "llama")
    for name in ("model.json", "config.json"):
        (tmp_path / name).write_text("{}")
    assert failures(path) == {}
    with pytest.raises(
        AtlasError, match=r"model\.json: --manifest goes with checkpoints of Atlas's own, .*gguf is another project's"
    ):
        inspect(path, manifest=tmp_path / "model.json")


def test_the_command(tmp_path, monkeypatch, capsys):
    path = written(tmp_path / "model.gguf", "llama", Kind.Q8_0, **{FILE_UP: None})
    monkeypatch.setattr(sys, "argv", ["atlas", "verify", str(path), "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert json.loads(out)["model"].startswith("llama, 20 tensors")
    assert err == f"atlas: error: {path}: failed names, by the modules named above; do not use it\n"
