"""Files that anybody may have written: one printable line, within bounds, and never the advice to delete them."""

import json
import os
import random
import re
import struct
import sys
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file, save_file

import atlas
from atlas import cli
from atlas.base.inspection import inspect
from atlas.errors import AtlasError
from atlas.guard.formats import INDEX, WHOLE
from atlas.guard.reading import read_json, read_safetensors
from atlas.guard.report import printable
from atlas.workflow import files
from tests.base.test_certify import CONFIG, TEXT, as_if_trained, put
from tests.guard.foreign_models import failures, saved
from tests.guard.gguf_files import written

ENTRY = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
OURS = re.compile(r"\b(delete|snakemake|remake|rebuild|retrain)")


@pytest.fixture
def llama(tmp_path):
    return saved(tmp_path / "llama", "llama", trained=True)


def refusal(path, **options):
    """The one line that verification refuses with."""
    with pytest.raises(AtlasError) as caught:
        inspect(path, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert not OURS.search(message)
    return message


def raw(path, header, body=bytes(16)):
    text = header if isinstance(header, bytes) else header.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


@pytest.mark.parametrize(
    ("header", "body", "complaint"),
    [
        (f'{{"a": {json.dumps(ENTRY)}, "a": {json.dumps(ENTRY)}}}', bytes(16), "a stands there twice"),
        ('{"a": {"dtype": "F32", "dtype": "I32", "shape": [4], "data_offsets": [0, 16]}}', bytes(16), "dtype stands"),
        ("[" * 100_000, b"", "nested too deeply"),
        ("[]", b"", "the header is no JSON object"),
        (b'{"\xff": 1}', b"", "not valid JSON"),
        (json.dumps({"a": ENTRY}), bytes(15), "its tensors end after 16 bytes, 15 are there"),
        (json.dumps({"a": ENTRY}), bytes(17), "its tensors end after 16 bytes, 17 are there"),
        (json.dumps({"n" * 2000: ENTRY}), bytes(16), "a name of 2,000 characters"),
        (json.dumps({"a": ENTRY | {"dtype": "F6_E2M3"}}), bytes(16), "safetensors cannot read it"),
        (
            json.dumps({"a": {"dtype": "F4", "shape": [32], "data_offsets": [0, 16]}}),
            bytes(16),
            "codes without a number",
        ),
        (json.dumps({"a": ENTRY | {"shape": [2**62, 4]}}), bytes(16), "overflow"),
        (json.dumps({"a": ENTRY | {"data_offsets": [16, 0]}}), b"", "safetensors cannot read it"),
    ],
)
def test_a_header_that_is_none(llama, header, body, complaint):
    assert complaint in refusal(raw(llama / WHOLE, header, body))


def test_lengths_that_are_none(llama):
    path = llama / WHOLE
    for content, complaint in (
        (b"", "there is no header"),
        (b"1234567", "there is no header"),
        (struct.pack("<Q", 2**63), "its header should have 9,223,372,036,854,775,808 bytes"),
        (b"PK\x03\x04" + bytes(60), "a file of torch.save, which runs code when it is read; convert it"),
        (b"\x80\x02" + b"c" * 60, "a file of torch.save"),
    ):
        path.write_bytes(content)
        assert complaint in refusal(path)


def test_a_header_of_640_bytes_is_no_pickle(tmp_path):
    """Its length begins with the bytes of one."""
    text = json.dumps({"a": ENTRY}).ljust(0x280)
    assert read_safetensors(raw(tmp_path / "a.safetensors", text)).keys() == {"a"}


def test_rare_dtypes_are_judged_by_their_numbers(llama):
    tensors = load_file(llama / WHOLE)
    matrices = {name: tensor for name, tensor in tensors.items() if tensor.ndim == 2}
    save_file(tensors | {name: tensor.to(torch.float8_e5m2) for name, tensor in matrices.items()}, llama / WHOLE)
    assert failures(llama) == {}  # norms in 32 bits beside matrices in 8, on purpose
    up = "model.layers.1.mlp.up_proj.weight"
    save_file(tensors | {up: torch.full(matrices[up].shape, torch.nan).to(torch.float8_e5m2)}, llama / WHOLE)
    assert failures(llama)["finite"] == {up}
    save_file(tensors | {up: torch.ones_like(matrices[up], dtype=torch.int8)}, llama / WHOLE)
    assert failures(llama) == {"dtypes": {up}}


def test_a_model_in_memory_in_8_bits(tmp_path):
    net = torch.nn.Linear(64, 32).to(torch.float8_e4m3fn)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    assert atlas.verify(net, tmp_path / "net.safetensors", trained=False).passed


def test_a_quantised_checkpoint_cannot_be_judged(llama):
    config = files.read_json(llama / "config.json")
    files.write_json(llama / "config.json", config | {"quantization_config": {"quant_method": "fp8"}})
    assert "quantization_config ('fp8'): the file holds codes, not weights; verify the checkpoint that" in refusal(
        llama
    )


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "config.json: empty"),
        ("{", "config.json: not valid JSON"),
        ('{"a":' * 100_000, "config.json: nested too deeply"),
        ('{"model_type": "llama", "model_type": "opt"}', "model_type stands there twice"),
        ("[]", "not the config of a model"),
        ('{"model_type": {"a": "b"}}', "has no map of names"),
        ('{"model_type": "llava", "text_config": {"model_type": "llama"}}', "model_type 'llava' has no map of names"),
    ],
)
def test_a_config_that_is_none(llama, content, complaint):
    (llama / "config.json").write_text(content)
    assert complaint in refusal(llama)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10_000_000),
        ("num_hidden_layers", 10**400),
        ("hidden_size", 2**40),
        ("head_dim", 2**45),
        ("vocab_size", -1),
        ("num_attention_heads", 1e400),
        ("intermediate_size", "9" * 10_000),
    ],
)
def test_a_config_of_any_size_takes_neither_time_nor_memory(llama, key, value):
    config = files.read_json(llama / "config.json")
    (llama / "config.json").write_text(json.dumps(config | {key: value}))
    message = refusal(llama)
    assert key in message or "would have shape" in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        ({}, "no weight_map"),
        ([], "no weight_map"),
        ({"weight_map": {"a": 3}}, "weight_map.a is 3, expected the name of a file beside it"),
        ({"weight_map": {"a": "../x.safetensors"}}, "expected the name of a file beside it"),
        ({"weight_map": {"a": "/etc/passwd"}}, "expected the name of a file beside it"),
        ({"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}, r"2 of its 2 shards are not there \(x.s.*, y"),
    ],
)
def test_an_index_that_is_none(llama, index, complaint):
    (llama / WHOLE).unlink()
    files.write_json(llama / INDEX, index)
    assert re.search(complaint, refusal(llama))


@pytest.mark.parametrize("path", ["a" * 5000, "a/" * 3000, "nul\0byte", "\x1b[31mred.safetensors"])
def test_paths_that_no_file_has(tmp_path, path):
    refusal(tmp_path / path)


def test_files_that_may_not_be_read_are_no_defect(llama, monkeypatch):
    """As another user would find them; the tests may run as one who may read anything."""

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert "model.safetensors: cannot be read (permission denied); check the path, and who may read it" in refusal(
        llama
    )


def test_a_pipe_is_no_file_that_is_waited_for(llama):
    (llama / WHOLE).unlink()
    os.mkfifo(llama / "pipe.safetensors")
    files.write_json(llama / INDEX, {"weight_map": {"a": "pipe.safetensors"}})
    assert "shards are not there (pipe.safetensors)" in refusal(llama)


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
def test_bytes_at_random_are_told_in_a_line_or_judged(tmp_path, kind):
    """Whatever is written over a sound file's head, it is one line, or a report."""
    path = saved(tmp_path, "llama") / WHOLE if kind == "safetensors" else written(tmp_path / "model.gguf", "llama")
    sound, draw = path.read_bytes(), random.Random(0)
    for _ in range(25):
        damaged = bytearray(sound)
        for _ in range(draw.randrange(1, 4)):
            damaged[draw.randrange(min(len(sound), 3000))] = draw.randrange(256)
        path.write_bytes(damaged)
        with suppress(AtlasError):
            inspect(path)


def test_names_that_a_terminal_would_obey(llama, capsys, monkeypatch):
    tensors = load_file(llama / WHOLE)
    save_file(tensors | {"\x1b]0;owned\x07\x1b[2J\u202e[red]\nx": torch.ones(2)}, llama / WHOLE)
    for more in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["atlas", "verify", str(llama), *more])
        with pytest.raises(SystemExit):
            cli.main()
        out, err = capsys.readouterr()
        assert not set(out + err) & set("\x1b\x07\u202e")
        assert r"\x1b]0;owned\x07" in out or r"\u001b]0;owned\u0007" in out
        assert err.count("\n") == 1
    assert printable("a\x1b[0m\udcff") == r"a\x1b[0m\udcff"


@pytest.mark.parametrize("arguments", [["nowhere"], ["."], ["--corpus"], ["a", "b"], ["\0"]])
def test_json_is_always_json(tmp_path, arguments, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["atlas", "verify", "--json", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code
    assert json.loads(out)["passed"] is False
    assert json.loads(out)["error"]
    assert err


def test_json_even_of_a_defect(llama, monkeypatch, capsys):
    monkeypatch.setattr("atlas.base.inspection.inspect", lambda *_: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["atlas", "verify", str(llama), "--json"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
    assert json.loads(capsys.readouterr().out) == {
        "passed": False,
        "checkpoint": str(llama),
        "error": "division by zero",
    }


def test_what_a_stranger_keeps_beside_a_checkpoint_is_no_manifest(llama):
    for content in ("", "{", "[]", '{"config": 1}'):
        (llama / "model.json").write_text(content)
        assert inspect(llama).manifest is None
    assert "no such file" in refusal(llama, manifest=llama / "nowhere.json")
    assert "no such file" in refusal(llama, text=llama / "nowhere.txt")
    assert "is another project's" in refusal(llama, manifest=llama / "config.json")


def test_what_a_study_made_is_made_again_and_a_copy_is_fetched_again(tmp_path):
    """The same damage, in the folder of a base and in one of somebody's own."""
    for folder, advice in ((tmp_path / "base" / "1", "delete it and run snakemake"), (tmp_path / "mine", "fetch")):
        folder.mkdir(parents=True)
        files.write_text(folder / "corpus.txt", TEXT)
        put(folder, as_if_trained(0))
        path = folder / "base.safetensors"
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(AtlasError, match=advice):
            inspect(path)
        files.write_text(folder / "base.json", "{}")
        with pytest.raises(AtlasError, match=advice):
            inspect(path)
    assert CONFIG.own.layers  # the shape that was put there


def test_json_is_read_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr("atlas.guard.reading.JSON_AT_MOST", 10)
    (tmp_path / "a.json").write_text(json.dumps([1] * 10))
    with pytest.raises(AtlasError, match=r"a\.json: 30 bytes, expected JSON of at most 10"):
        read_json(tmp_path / "a.json")
