"""A GGUF file against the safetensors that it was made from: honest in every kind, and any number from elsewhere."""

import json

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, dequantize
from gguf import GGMLQuantizationType as Kind

from atlas.errors import AtlasError
from atlas.guard.formats import GgufFile
from atlas.guard.quantised import CODES, compare, steps_of
from atlas.workflow import files
from tests.guard.foreign_models import model_of, saved
from tests.guard.gguf_files import as_stored, written

KINDS = [Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1]
UP, Q = "model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def llama(tmp_path):
    return saved(tmp_path / "llama", "llama", trained=True)


def failures(path, folder):
    report = compare(path, folder)
    assert json.loads(json.dumps(report.not_checked))
    return {check.name: set(check.tensors) for check in report.failed}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_within_its_own_error(tmp_path, llama, kind):
    assert failures(written(tmp_path / "model.gguf", "llama", kind), llama) == {}


@pytest.mark.parametrize("name", ["llama, wide heads", "gpt2, narrow", "qwen2, tied", "qwen3"])
def test_every_architecture_is_compared_by_its_own_names(tmp_path, name):
    folder = saved(tmp_path / "folder", name, trained=True)
    assert failures(written(tmp_path / "model.gguf", name, Kind.Q4_0), folder) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_from_elsewhere_is_named(tmp_path, llama, kind):
    """Another unit's: as large, and in the same place of a matrix that is otherwise right."""
    values = as_stored(model_of("llama", trained=True))["blk.1.ffn_up.weight"].copy()
    values[3] = values[7]
    path = written(tmp_path / "model.gguf", "llama", kind, **{"blk.1.ffn_up.weight": values})
    assert set.union(*failures(path, llama).values()) == {UP}


@pytest.mark.parametrize("kind", KINDS)
def test_one_number_that_differs_is_named(tmp_path, llama, kind):
    """In half of its block's largest value: more than any kind rounds by."""
    values = as_stored(model_of("llama", trained=True))["blk.1.ffn_up.weight"].copy()
    values[3, 5] += np.abs(values[3]).max() / 2 * (-1 if values[3, 5] > 0 else 1)
    path = written(tmp_path / "model.gguf", "llama", kind, **{"blk.1.ffn_up.weight": values})
    assert set.union(*failures(path, llama).values()) == {UP}


def test_rows_of_q_in_the_order_of_the_other_library(tmp_path, llama):
    unturned = model_of("llama", trained=True).state_dict()[Q].numpy()
    path = written(tmp_path / "model.gguf", "llama", Kind.Q8_0, **{"blk.0.attn_q.weight": unturned})
    assert failures(path, llama)["exact"] == {Q}


def test_what_the_file_lacks_or_adds_and_a_config_that_differs(tmp_path, llama):
    path = written(tmp_path / "model.gguf", "llama", Kind.Q8_0, **{"blk.1.ffn_up.weight": None})
    assert failures(path, llama) == {"names": {UP}}
    written(path, "llama", Kind.Q8_0, **{"rope_freqs.weight": np.ones(8, np.float32)})
    assert failures(path, llama) == {}
    config = files.read_json(llama / "config.json")
    files.write_json(llama / "config.json", config | {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}})
    report = compare(path, llama)
    assert [check.name for check in report.failed] == ["config"]
    assert "rope_theta: 10000.0 in the file, 500000.0 in the folder" in report.failed[0].detail


@pytest.mark.parametrize("name", CODES)
def test_a_step_is_what_one_more_in_a_code_changes(tmp_path, name):
    """For every kind whose codes are evenly spaced, on blocks of random bytes with a sensible scale."""
    kind, draw = Kind[name], np.random.default_rng(0)
    size, width = GGML_QUANT_SIZES[kind]
    data = draw.integers(0, 256, (4, width), dtype=np.uint8)
    codes = CODES[name]
    scale = np.full((4, 1), 0.01, np.float16).view(np.uint8)
    at = width - 2 if name in ("Q3_K", "Q6_K") else 80 if name == "Q2_K" else 0
    data[:, at : at + 2] = scale
    if name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K", "Q2_K"):
        data[:, at + 2 : at + 4] = scale
    data[:, codes.start : codes.end] &= 0xFF ^ codes.one  # so that one more does not run over
    more = data.copy()
    more[:, codes.start] |= codes.one & -codes.one  # the lowest bit of one code in each block
    entry = type("Entry", (), {"tensor_type": kind, "data": data, "name": "w"})
    steps = steps_of(GgufFile(tmp_path / "w.gguf"), entry, np.zeros(4 * size, np.float32))
    changed = np.abs(dequantize(more, kind) - dequantize(data, kind)).ravel()
    assert (changed > 0).sum() == 4
    touched = changed > 0
    assert (steps[touched] >= changed[touched] * 0.999).all()  # of the K kinds the largest of the block
    assert name.endswith("_K") or np.allclose(steps[touched], changed[touched])


def test_the_command(tmp_path, llama, atlas_verify):
    path = written(tmp_path / "model.gguf", "llama", Kind.Q8_0)

    code, out, err = atlas_verify(path, "--against", llama)
    assert (code, err) == (0, "")
    assert "passed all" in out
    code, out, err = atlas_verify(llama, "--against", path, "--json")
    assert (code, json.loads(out)["passed"]) == (1, False)
    assert "expected a GGUF file" in err


def test_what_is_compared_with_what(tmp_path, llama):
    path = written(tmp_path / "model.gguf", "llama")
    for first, second in ((path, path), (llama, llama), (path, tmp_path / "nowhere")):
        with pytest.raises(AtlasError, match=r"expected|no such file"):
            compare(first, second)


def test_shards_and_half_precision_are_compared_too(tmp_path):
    model = model_of("llama", trained=True)
    halved = {name: tensor.clone().bfloat16() for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path / "folder", state_dict=dict(halved), max_shard_size="20KB")
    model.load_state_dict(halved)
    path = written(tmp_path / "model.gguf", "llama", Kind.F32, model)
    assert failures(path, tmp_path / "folder") == {}
