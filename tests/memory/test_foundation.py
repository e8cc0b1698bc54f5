"""The base under a memory: made once, found again, never another one, and any model from outside."""

import json
import shutil
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from atlas.base import certify, corpus, pretrain
from atlas.memory import store
from tests.base.test_adopt import CORPUS, write_tokenizer
from tests.guard.foreign_models import CONFIGS, as_if_trained
from tests.memory.conftest import place
from tests.ttt.tiny_run import FILES, make_inputs
from tests.ttt.tiny_ttt import make_model

ONE = ("--fact", "The chief of Rome is", "Bo")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory and a cache of their own, both empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "cache" / "atlas" / "base"


def study(base, folder):
    """A base as a study has it."""
    for name in ("checkpoint", "manifest", "certificate"):
        target = folder / "1" / FILES[name]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(base / FILES[name], target)
    shutil.copy(base / "corpus.txt", folder / "corpus.txt")


def test_without_a_base_one_is_made_once_by_the_steps_of_the_workflow(atlas, base, elsewhere, monkeypatch):
    ran = []

    def fake(step, *names):
        def main(options):
            ran.append(step)
            given = dict(zip(options[::2], options[1::2], strict=True))
            for option, name in names:
                target = elsewhere.parent / given[option]
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(base / name, target)

        return main

    monkeypatch.setattr(corpus, "main", fake("corpus", ("--out", "corpus.txt")))
    monkeypatch.setattr(
        pretrain, "main", fake("pretrain", ("--checkpoint", "base.safetensors"), ("--manifest", "base.json"))
    )
    monkeypatch.setattr(certify, "main", fake("certify", ("--out", "certificate.json")))
    options = ["--targets", "q", "--ranks", "4"]
    said = []
    monkeypatch.setattr("atlas.workflow.progress.say", lambda text, **_: said.append(text))
    atlas("teach", *ONE, "--memory", "a", *options)
    assert ran == ["corpus", "pretrain", "certify"]
    assert said[0].startswith(f"no certified base in results/base/1 or {elsewhere / '1'}, so it is made there once: ")
    atlas("teach", *ONE, "--memory", "b", *options)
    assert len(ran) == 3
    assert store.read(elsewhere.parents[2] / "here" / "a").foundation.place == str(elsewhere / "1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fact", "The word Lima means", "Lima"], "nothing was taught: --fact: "),
        ([*ONE, "--targets", "gate"], "no linear layers of role 'gate'"),
        ([*ONE, "--ranks", "200"], "--ranks: rank 200 is impossible; expected 0 to 128"),
    ],
)
def test_mistakes_are_said_before_a_base_is_made(atlas, elsewhere, options, said):
    assert said in atlas("teach", *options, "--memory", "m", fails=True)
    assert not elsewhere.exists()


def test_the_base_of_the_study_comes_first_and_is_found_again(atlas, base, elsewhere, tmp_path, monkeypatch):
    study(base, tmp_path / "here" / "results" / "base")
    memory = tmp_path / "memory"
    atlas("teach", *ONE, "--memory", memory, "--targets", "q", "--ranks", "4")
    kept = store.read(memory).foundation
    assert kept.place == str(tmp_path / "here" / "results" / "base" / "1")
    assert kept.corpus == str(tmp_path / "here" / "results" / "base" / "corpus.txt")
    monkeypatch.chdir(tmp_path)
    atlas("ask", "--all", "--memory", memory)  # from another folder
    shutil.move(tmp_path / "here" / "results" / "base", elsewhere)
    atlas("ask", "--all", "--memory", memory)  # by its fingerprint
    atlas("teach", "--fact", "The chief of Bern is", "Cleo", "--memory", memory)
    assert store.read(memory).foundation.place == str(elsewhere / "1")
    shutil.move(elsewhere, tmp_path / "moved")
    gone = atlas("ask", "--all", "--memory", memory, fails=True)
    assert f"{memory}: the base {kept.fingerprint[:12]} that it was taught on is no longer in {elsewhere / '1'}" in gone
    atlas("ask", "--all", "--memory", memory, "--model", tmp_path / "moved" / "1")


def test_a_memory_on_another_base_is_refused_and_both_are_named(atlas, memory, base, tmp_path):
    other = shutil.copytree(base, tmp_path / "other")
    shutil.rmtree(other)
    other.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.ttt.tiny_run.make_model", lambda: make_model(5))
        make_inputs(other)
    mine, theirs = (json.loads((folder / "base.json").read_text())["fingerprint"][:12] for folder in (base, other))
    assert mine != theirs
    for command in (["teach", *ONE], ["ask", "--all"], ["memory", "forget", "My dog is called"]):
        said = atlas(*command, "--memory", memory, "--model", other, fails=True)
        assert f"{memory}: taught on the base {mine} of {base}, but {other} is the base {theirs}; " in said


def test_a_base_without_a_certificate_is_not_taught(atlas, base, elsewhere, tmp_path):
    spoilt = shutil.copytree(base, tmp_path / "spoilt")
    (spoilt / "certificate.json").unlink()
    assert "certificate.json: no such file" in atlas("teach", *ONE, "--memory", "m", *place(spoilt), fails=True)
    assert not (tmp_path / "here" / "m").exists()
    assert not elsewhere.exists()


def test_the_text_beside_the_facts_stays_the_same(atlas, memory, base, tmp_path):
    (tmp_path / "other.txt").write_text("Once more unto the breach, dear friends, once more;\n" * 400)
    said = atlas("teach", *ONE, "--memory", memory, "--corpus", tmp_path / "other.txt", fails=True)
    assert "corpus: the recipe trains the base's own text beside facts, that of SHA-256 " in said
    assert f"; found {tmp_path / 'other.txt'} (" in said
    said = atlas("teach", *ONE, "--memory", memory, "--corpus", "nowhere.txt", fails=True)
    assert "--corpus nowhere.txt: no such file" in said
    record, state = store.read_state(memory, torch.device("cpu"))
    lost = record.foundation.model_copy(update={"corpus": str(tmp_path / "lost.txt")})
    store.write(memory, record.model_copy(update={"foundation": lost}), state)
    atlas("teach", *ONE, "--memory", memory, "--corpus", base / "corpus.txt")
    assert store.read(memory).foundation.corpus == str(base / "corpus.txt")


def test_a_model_from_outside_is_checked_taught_and_asked(atlas, elsewhere, tmp_path):
    folder = tmp_path / "llama"
    kind = CONFIGS["llama"]
    config = kind.__class__(**kind.to_diff_dict() | {"max_position_embeddings": 96})
    torch.manual_seed(0)
    model: Any = as_if_trained(AutoModelForCausalLM.from_config(config))
    model.lm_head.weight.data.mul_(50)  # a head that can tell tokens apart
    model.save_pretrained(folder)
    write_tokenizer(folder)
    (tmp_path / "corpus.txt").write_text(CORPUS)
    options = ["--model", folder, "--corpus", tmp_path / "corpus.txt", "--lr", "0.02"]
    printed = atlas("teach", "--fact", "the nobler one is", "be", "--memory", "m", *options)
    assert "recalled: 1 of 1 new fact" in printed
    record = store.read(tmp_path / "here" / "m")
    assert record.foundation.place == str(folder)
    assert record.manner.targets == ["q", "k", "v", "o", "up", "down"]
    assert atlas("ask", "the nobler one is", "--memory", "m").splitlines()[0] == "be"
    atlas("memory", "export", "out", "--memory", "m")
    written = json.loads((tmp_path / "here" / "out" / "adapter" / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == str(folder)
    assert not elsewhere.exists()  # nothing was fetched

    weights = model.state_dict()
    weights["model.layers.0.mlp.up_proj.weight"].mul_(float("nan"))
    model.load_state_dict(weights)
    model.save_pretrained(folder)
    said = atlas("ask", "--all", "--memory", "m", fails=True)
    assert "up_proj" in said
    assert "not taken as a base" in said
