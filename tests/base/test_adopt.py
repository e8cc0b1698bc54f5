"""Language models from outside as bases: what transformers saved gives its own logits, packed and by the row."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from atlas.base import adopt, certify
from atlas.base.attention import pack
from atlas.base.checkpoint import load_certified
from atlas.base.language import validation_loss
from atlas.errors import AtlasError
from atlas.study.base_settings import Base
from atlas.study.model_shape import shape_of
from atlas.workflow import files
from tests.base.tiny_tokenizers import word_piece
from tests.guard.foreign_models import CONFIGS, model_of, saved
from tests.guard.gguf_files import written

CPU = torch.device("cpu")
LETTERS = "abcdefghijklmnopqrstuvwxyzTB,.' \n"
CORPUS = "to be, or not to be, that is the question.\nwhether it is nobler in the mind to suffer\n" * 40


def write_tokenizer(folder):
    """A tokenizer of 40 pieces: a start, letters, a few longer pieces, some with the space in front."""
    pieces = ["<s>", *LETTERS, "th", " t", "in", " be"]
    merges = [("t", "h"), (" ", "t"), ("i", "n"), (" ", "b"), (" b", "e")]
    vocabulary = {piece: at for at, piece in enumerate([*pieces[:-1], " b", " be"])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.decoder = decoders.Fuse()
    made.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>").save_pretrained(folder)


def adopted(source, folder, **changes):
    """Take a model as a base by the steps' command lines, up to its certificate; the model as it is loaded."""
    folder.mkdir()
    files.write_text(folder / "corpus.txt", CORPUS)
    base = Base.model_validate({"model": str(source), "validation": 0.2, "max_val_loss": 1000, **changes})
    options = ["--spec", base.model_dump_json(), "--corpus", str(folder / "corpus.txt"), "--threads", "1"]
    places = ["--checkpoint", str(folder / "base.safetensors"), "--manifest", str(folder / "base.json")]
    adopt.main([*options, *places])
    certify.main([*options, *places, "--out", str(folder / "certificate.json")])
    return load_certified(folder / "base.safetensors", folder / "base.json", folder / "certificate.json")


@pytest.fixture(params=CONFIGS)
def source(request, tmp_path):
    """The folder of a model of every kind of config."""
    folder = saved(tmp_path / "source", request.param, trained=True)
    write_tokenizer(folder)
    return folder


def rows(count=3, time=11):
    return torch.randint(0, 40, (count, time), generator=torch.Generator().manual_seed(2))


def test_an_adopted_model_gives_the_logits_that_it_had(source, tmp_path):
    model, theirs = adopted(source, tmp_path / "base"), AutoModelForCausalLM.from_pretrained(source).eval()
    with torch.no_grad():
        expected = theirs(input_ids=rows()).logits
        torch.testing.assert_close(model(rows()), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.01


def test_packed_lines_give_what_each_gives_alone(source, tmp_path):
    model, theirs = adopted(source, tmp_path / "base"), AutoModelForCausalLM.from_pretrained(source).eval()
    sizes, asked = [11, 4, 7], [3, 4, 1]
    lines = [row[:size] for row, size in zip(rows(), sizes, strict=True)]
    positions = torch.cat([torch.arange(size) for size in sizes])
    with torch.no_grad():
        found = model(torch.cat(lines), positions, pack(sizes, CPU, asked=asked))
        alone = [theirs(input_ids=line[None]).logits[0, -count:] for line, count in zip(lines, asked, strict=True)]
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_the_shape_is_known_before_anything_is_loaded(source, tmp_path):
    model = adopted(source, tmp_path / "base")
    assert model.config == shape_of(source)
    assert (model.config.layers, model.config.width, model.config.context) == (2, 32, 24)
    assert len({*model.roles.roles} - {"gate"}) == 6


@pytest.mark.parametrize("name", ["llama, wide heads", "gpt2", "qwen3, tied"])
def test_a_gguf_file_is_a_base_too(tmp_path, name):
    path = written(tmp_path / "tiny.gguf", name)
    model = adopted(path, tmp_path / "base")
    with torch.no_grad():
        expected = model_of(name, trained=True)(input_ids=rows()).logits
        torch.testing.assert_close(model(rows()), expected, atol=1e-5, rtol=1e-5)
    assert model.config == shape_of(path)


@pytest.fixture
def llama(tmp_path):
    folder = saved(tmp_path / "source", "llama, grouped, tied", trained=True)
    write_tokenizer(folder)
    return folder


def test_the_loss_is_per_character_whatever_the_pieces(llama, tmp_path):
    model = adopted(llama, tmp_path / "base")
    tokens = model.text.encode(CORPUS)
    windows = (len(tokens) - 1) // 24
    inputs, targets = (torch.from_numpy(tokens[i : windows * 24 + i].astype(np.int64)).view(-1, 24) for i in (0, 1))
    with torch.no_grad():
        total = torch.nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum")
    characters = len(model.text.tokenizer.decode(tokens[1 : windows * 24 + 1].tolist()))
    assert characters > 1.1 * windows * 24  # some pieces are longer than a character
    assert validation_loss(model, tokens) == pytest.approx(float(total) / characters, rel=1e-6)


def test_what_does_not_fit_its_config_is_not_adopted(llama, tmp_path):
    path = llama / "model.safetensors"
    tensors = load_file(path)
    down = "model.layers.1.mlp.down_proj.weight"
    save_file({name: tensor for name, tensor in tensors.items() if name != down}, path)
    with pytest.raises(AtlasError, match="names"):
        adopted(llama, tmp_path / "missing")
    noise = torch.randn(tensors[down].shape, generator=torch.Generator().manual_seed(0)) * 0.02
    save_file({**tensors, down: noise}, path)
    with pytest.raises(AtlasError, match="spectrum"):
        adopted(llama, tmp_path / "fresh")
    assert not (tmp_path / "fresh" / "base.json").exists()


def test_a_base_from_outside_that_was_changed_afterwards_is_not_loaded(llama, tmp_path):
    adopted(llama, tmp_path / "base")
    path = tmp_path / "base" / "base.safetensors"
    tensors = load_file(path)
    name = "body.layers.0.self_attn.v_proj.weight"
    save_file({**tensors, name: tensors[name] * 1.001}, path)
    places = (tmp_path / "base" / end for end in ("base.safetensors", "base.json", "certificate.json"))
    with pytest.raises(AtlasError, match="is not the one that was certified"):
        load_certified(*places)


def test_mistakes_are_said_in_a_line(llama, tmp_path):
    (llama / "tokenizer.json").rename(llama / "away")
    with pytest.raises(AtlasError, match=r"tokenizer\.json: no such file; save the model's fast tokenizer"):
        adopted(llama, tmp_path / "a")
    (llama / "tokenizer.json").write_text("{}")
    with pytest.raises(AtlasError, match="not a tokenizer"):
        adopted(llama, tmp_path / "b")
    PreTrainedTokenizerFast(tokenizer_object=word_piece()).save_pretrained(llama)
    with pytest.raises(AtlasError, match=r"tokenizer\.json: has no token for a line end, with which answers end"):
        adopted(llama, tmp_path / "c")
    with pytest.raises(AtlasError, match=r"config\.json: no such file"):
        shape_of(tmp_path / "nowhere")
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "num_hidden_layers"}))
    with pytest.raises(AtlasError, match="the config has no num_hidden_layers or n_layer"):
        shape_of(llama)
