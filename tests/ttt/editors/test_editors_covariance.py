"""Moments of keys: counted out directly, and the step that measures them."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from atlas.base.checkpoint import load_certified, read_manifest
from atlas.base.corpus import split
from atlas.base.text import encode
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.ttt.editors.covariance import conditioned, enough, evenly, key_moments, main, read_moments
from atlas.workflow import files
from tests.ttt.editors.test_editors_value_search import plainly
from tests.ttt.editors.tiny_editors import base_options, windows
from tests.ttt.tiny_ttt import make_model


def test_moments_are_the_mean_of_outer_products_of_the_hidden_activations():
    model = make_model()
    found = key_moments(model, windows(count=20))
    for layer, (path, moment) in enumerate(found.items()):
        assert path == f"model.decoder.layers.{layer}.fc2"
        products = torch.zeros(64, 64, dtype=torch.float64)
        for row in windows(count=20):  # one window at a time, and the model's own parts by name
            decoder: Any = model.model.decoder
            x = decoder.embed_tokens(torch.from_numpy(row.astype(np.int64))) + decoder.embed_positions.weight[2:34]
            for block in decoder.layers[: layer + 1]:
                x, before = block(x[None], None)[0], x
            block = decoder.layers[layer]
            attended = before + block.self_attn(block.self_attn_layer_norm(before)[None], None)[0]
            keys = F.relu(block.fc1(block.final_layer_norm(attended))).double()
            products += sum(torch.outer(key, key) for key in keys)
        torch.testing.assert_close(moment, products / (20 * 32), rtol=1e-5, atol=1e-6)


def test_windows_are_whole_spread_evenly_and_no_more_than_asked_for():
    tokens = np.arange(105, dtype=np.uint8)
    assert evenly(tokens, 10, 1000)[:, 0].tolist() == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert evenly(tokens, 10, 40)[:, 0].tolist() == [0, 20, 50, 70]
    assert evenly(tokens, 10, 1).tolist() == [list(range(10))]
    with pytest.raises(AtlasError, match="corpus: 105 tokens to train on, expected at least 106"):
        evenly(tokens, 106, 1)


def measure(inputs, out, **changes):
    main(["--spec", json.dumps({"characters": 1000} | changes), *base_options(inputs, out)])


def test_keys_may_be_of_text_that_the_base_writes_itself(inputs, tmp_path):
    measure(inputs, tmp_path / "one", source="sampled", seed=4)
    moments, left_alone = read_moments(tmp_path / "one", read_manifest(inputs / "base.json").fingerprint)
    model = load_certified(*(inputs / name for name in ("base.safetensors", "base.json", "certificate.json")))
    length = model.config.context
    texts = [[0, *plainly(model, length - 1, rng(4, "keys", i), None)] for i in range(1000 // length)]
    torch.testing.assert_close(moments, key_moments(model, np.array(texts)))
    assert (left_alone.tokens, left_alone.source) == (len(texts) * length, "sampled")


def test_fewer_tokens_than_keys_have_dimensions_are_refused():
    enough(make_model(), 64)
    with pytest.raises(AtlasError, match=r"^keys.characters: 63 tokens of text, expected at least 64, .*; raise it"):
        enough(make_model(), 63)


def test_a_text_that_repeats_itself_is_refused(spoilt, tmp_path):
    files.write_text(spoilt / "corpus.txt", "a" * 4000)
    with pytest.raises(AtlasError, match=r"^keys.characters: keys of \d+ tokens have .*condition number .*; raise it"):
        measure(spoilt, tmp_path / "one", characters=640)
    assert not (tmp_path / "one").exists()


def test_units_of_huge_values_do_not_make_a_moment_ill_conditioned():
    moments = key_moments(make_model(), windows())
    path, moment = next(iter(moments.items()))
    scale = torch.ones(len(moment), dtype=torch.float64)
    scale[3] = 1e6
    plain = conditioned({path: moment}, 1280)
    assert conditioned({path: scale[:, None] * moment * scale}, 1280) == pytest.approx(plain, rel=1e-6)
    with pytest.raises(AtlasError, match="condition number"):
        conditioned({path: moment * torch.nan}, 1280)


def test_the_step_writes_what_editors_read(inputs, tmp_path):
    for name in ("one", "two"):
        measure(inputs, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    manifest = read_manifest(inputs / "base.json")
    moments, left_alone = read_moments(tmp_path / "one", manifest.fingerprint)
    assert (left_alone.tokens, left_alone.source) == (10 * 96, "corpus")
    text, _ = split(files.read_text(inputs / "corpus.txt"), manifest.config.validation)
    model = load_certified(*(inputs / name for name in ("base.safetensors", "base.json", "certificate.json")))
    expected = key_moments(model, evenly(encode(text), manifest.config.own.context, 1000))
    torch.testing.assert_close(moments, expected)


def test_moments_of_another_base_or_none_are_refused(inputs, tmp_path):
    with pytest.raises(AtlasError, match=r"none: no such file; make it with atlas.ttt.editors.covariance"):
        read_moments(tmp_path / "none", "abc")
    measure(inputs, tmp_path / "one")
    with pytest.raises(AtlasError, match=r"one: keys of base \w+, expected abc; run snakemake again, which remakes it"):
        read_moments(tmp_path / "one", "abc")
    (tmp_path / "one").write_bytes((tmp_path / "one").read_bytes()[:-100])
    with pytest.raises(AtlasError, match=r"one: not a file of moments \(.*\); `atlas check --remake` and then"):
        read_moments(tmp_path / "one", "abc")
    other = inputs / "base.safetensors"
    with pytest.raises(AtlasError, match="not a file of moments"):
        read_moments(other, "abc")


def test_without_a_certificate_there_are_no_moments(spoilt, tmp_path):
    (spoilt / "certificate.json").unlink()
    with pytest.raises(AtlasError, match=r"certificate.json: no such file"):
        measure(spoilt, tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_a_unit_that_the_text_never_moves_weighs_what_one_does_on_average():
    model = make_model()
    plain = key_moments(model, windows())
    path = next(iter(plain))
    weight, bias = (model.get_parameter(f"{path.replace('fc2', 'fc1')}.{kind}") for kind in ("weight", "bias"))
    weight.data[5], bias.data[5] = 0, -1  # a ReLU that is dead
    changed = key_moments(model, windows())[path]
    others = [unit for unit in range(len(changed)) if unit != 5]
    torch.testing.assert_close(changed[others][:, others], plain[path][others][:, others])
    assert not changed[5, others].any()
    assert changed[5, 5] == pytest.approx(changed.diagonal()[others].sum().item() / len(changed))
