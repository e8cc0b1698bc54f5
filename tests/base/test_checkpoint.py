"""Checkpoints come back exactly, or one line says which tensor is wrong and how."""

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.base.checkpoint import load_certified, load_strict, read_manifest, save
from atlas.base.model import fresh
from atlas.errors import AtlasError
from atlas.guard.report import Certificate, Check
from atlas.guard.tensors import fingerprint, sha256_of
from atlas.study.base_settings import Base, Model, Pretraining
from atlas.workflow.files import write_json

CONFIG = Base(model=Model(layers=2, width=16, heads=2, ffn=32, context=8), training=Pretraining(steps=7))
FC1 = "model.decoder.layers.1.fc1.weight"
BIAS = "model.decoder.layers.0.self_attn.q_proj.bias"


@pytest.fixture
def base(tmp_path):
    """A folder with a checkpoint, its manifest and a certificate that passed."""
    write(tmp_path, seed=0)
    certify(tmp_path)
    return tmp_path


def write(folder, seed):
    return save(
        folder / "base.safetensors",
        folder / "base.json",
        fresh(CONFIG.own, seed),
        config=CONFIG,
        val_loss=4.5,
        tokens=448,
        seconds=1.0,
        corpus_sha256="c0ffee",
    )


def certify(folder, *checks):
    record = read_manifest(folder / "base.json")
    passed = all(check.passed for check in checks)
    certificate = Certificate(passed=passed, fingerprint=record.fingerprint, checks=list(checks))
    write_json(folder / "certificate.json", asdict(certificate))


def load(folder):
    return load_certified(folder / "base.safetensors", folder / "base.json", folder / "certificate.json")


def refusal(action: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(AtlasError) as error:
        action(*arguments)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_what_is_loaded_is_what_was_saved(base):
    model = load(base)
    saved = fresh(CONFIG.own, 0).state_dict()
    assert model.state_dict().keys() == saved.keys()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in saved.items())
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_manifest_says_what_was_made(base):
    record = read_manifest(base / "base.json")
    tensors = load_file(base / "base.safetensors")
    assert record.config == CONFIG
    assert record.steps == 7
    assert record.fingerprint == fingerprint(tensors)
    assert record.sha256 == {name: sha256_of(tensor) for name, tensor in tensors.items()}


def test_the_same_weights_are_the_same_bytes(base, tmp_path_factory):
    other = tmp_path_factory.mktemp("again")
    write(other, seed=0)
    assert (other / "base.safetensors").read_bytes() == (base / "base.safetensors").read_bytes()
    write(other, seed=1)
    assert (other / "base.safetensors").read_bytes() != (base / "base.safetensors").read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        {"b": torch.arange(6.0).view(2, 3)},
        {"a": torch.arange(6.0).view(3, 2)},
        {"a": torch.arange(6.0).view(2, 3).to(torch.bfloat16)},
        {"a": torch.arange(6.0).view(2, 3).nextafter(torch.tensor(9.0))},
        {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(1)},
        {"a": torch.arange(6.0).view(3, 2).T},
    ],
    ids=["name", "shape", "dtype", "last bit", "one more", "values in another order"],
)
def test_a_fingerprint_sees_every_difference(other):
    assert fingerprint(other) != fingerprint({"a": torch.arange(6.0).view(2, 3)})


def test_a_fingerprint_does_not_see_order_or_strides():
    square = torch.arange(4.0).view(2, 2)
    once = fingerprint({"a": square, "b": torch.zeros(2)})
    assert once == fingerprint({"b": torch.zeros(2), "a": square.T.contiguous().T})


def renamed(tensors):
    tensors["model.decoder.layers.1.mlp.up.weight"] = tensors.pop(FC1)


def prefixed(tensors):
    for name in list(tensors):
        tensors[f"module.{name}"] = tensors.pop(name)


def without(tensors):
    del tensors[BIAS]


def with_more(tensors):
    tensors["lm_head.weight"] = torch.zeros(96, 16)


def transposed(tensors):
    tensors[FC1] = tensors[FC1].T.contiguous()


def halved(tensors):
    tensors[FC1] = tensors[FC1].to(torch.bfloat16)


def not_finite(tensors):
    tensors[BIAS][3] = float("nan")
    tensors[BIAS][4] = float("inf")


@pytest.mark.parametrize(
    ("damage", "complaints"),
    [
        (renamed, [f"{FC1}: missing, expected shape [32, 16]", "layers.1.mlp.up.weight: unexpected, shape [32, 16]"]),
        (prefixed, ["embed_positions.weight: missing", "; and 67 more;"]),
        (without, [f"{BIAS}: missing, expected shape [16]"]),
        (with_more, ["lm_head.weight: unexpected, shape [96, 16]; the model has no such tensor"]),
        (transposed, [f"{FC1}: shape [16, 32], expected [32, 16]"]),
        (halved, [f"{FC1}: dtype bfloat16, expected float32"]),
        (not_finite, [f"{BIAS}: 2 of 16 values are not finite"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_the_model_left_alone(base, damage, complaints):
    path = base / "base.safetensors"
    tensors = load_file(path)
    damage(tensors)
    save_file(tensors, path)
    model = fresh(CONFIG.own, 5)
    message = refusal(load_strict, path, model)
    assert message.startswith(f"{path}: does not fit the model: ")
    assert all(complaint in message for complaint in complaints)
    assert fingerprint(model.state_dict()) == fingerprint(fresh(CONFIG.own, 5).state_dict())
    assert refusal(load, base) == message


@pytest.mark.parametrize("length", [0, 5, 200, -1])
def test_a_truncated_file_is_refused(base, length):
    path = base / "base.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert refusal(load, base).startswith(f"{path}: not a whole safetensors file (")


def test_a_file_that_is_not_safetensors_is_refused(base):
    (base / "base.safetensors").write_text("not a checkpoint at all\n" * 20)
    assert "not a whole safetensors file" in refusal(load, base)


@pytest.mark.parametrize("name", ["base.safetensors", "base.json", "certificate.json"])
def test_no_file_no_base(base, name):
    (base / name).unlink()
    assert refusal(load, base).startswith(f"{base / name}: no such file; ")


def test_one_bit_is_enough(base):
    path = base / "base.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    message = refusal(load, base)
    assert message.startswith(f"{path}: fingerprint ")
    assert "the file is not the one that was certified" in message


def test_a_certificate_of_other_weights_is_refused(base):
    before = read_manifest(base / "base.json").fingerprint
    after = write(base, seed=1).fingerprint
    message = refusal(load, base)
    assert f"certificate.json: fingerprint {before}, but {base / 'base.json'} has {after}" in message
    assert "run atlas.base.certify again" in message


def test_a_checkpoint_put_under_another_manifest_is_refused(base, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write(other, seed=1)
    (other / "base.safetensors").rename(base / "base.safetensors")
    assert "the file is not the one that was certified" in refusal(load, base)


def test_a_certificate_that_did_not_pass_is_refused(base):
    certify(base, Check(name="spectrum", passed=False, measured=0.01, limit=0.1, detail="fc1 looks fresh"))
    assert "the base failed verification (spectrum); " in refusal(load, base)


@pytest.mark.parametrize(
    ("name", "kind", "key"),
    [("base.json", "manifest", "fingerprint"), ("certificate.json", "certificate", "passed")],
)
def test_records_that_lack_a_key_or_are_cut_short_are_refused(base, name, kind, key):
    path = base / name
    record = json.loads(path.read_text())
    write_json(path, {other: record[other] for other in record if other != key})
    assert refusal(load, base).startswith(f"{path}: not a {kind} ({key}: Field required")
    path.write_text(path.read_text()[:-20])
    assert refusal(load, base).startswith(f"{path}: not valid JSON")
