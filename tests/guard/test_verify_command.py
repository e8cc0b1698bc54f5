"""``atlas verify``, as a user calls it: what it prints, to whom, and how it exits."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.base.model import fresh, opt_config
from atlas.workflow import files
from tests.base.test_certify import CONFIG, FC1, TEXT, as_if_trained, put
from tests.guard.foreign_models import saved


@pytest.fixture
def own(tmp_path):
    """A folder with a base, and its corpus beside it."""
    files.write_text(tmp_path / "corpus.txt", TEXT)
    put(tmp_path, as_if_trained(0))
    files.write_json(tmp_path / "config.json", opt_config(CONFIG.own))
    return tmp_path


def leave_fresh(folder):
    path = folder / "base.safetensors"
    save_file(load_file(path) | {FC1: fresh(CONFIG.own, 7).state_dict()[FC1]}, path)


@pytest.mark.parametrize("name", ["base.safetensors", ""])
def test_a_checkpoint_that_passes(own, atlas_verify, name):
    code, out, err = atlas_verify(own / name)
    assert (code, err) == (0, "")
    assert "wiring: not judged: the text has " in out  # it is a short one
    assert out.splitlines()[-1].startswith("passed ")
    assert "FAILED" not in out
    assert "not checked" not in out


def test_the_corpus_of_a_study_lies_in_the_folder_above_its_bases(own, atlas_verify):
    (own / "2").mkdir()
    for name in ("base.safetensors", "base.json", "config.json"):
        (own / name).rename(own / "2" / name)
    code, out, _ = atlas_verify(own / "2" / "base.safetensors")
    assert code == 0
    assert "not checked" not in out
    (own / "corpus.txt").unlink()
    assert "not checked: the loss" in atlas_verify(own / "2" / "base.safetensors")[1]


def test_a_checkpoint_that_fails_names_checks_and_tensors(own, atlas_verify):
    leave_fresh(own)
    code, out, err = atlas_verify(own / "base.safetensors")
    assert code == 1
    for check in ("spectrum", "sha256"):
        assert any(FC1 in line and check in line and "FAILED" in line for line in out.splitlines())
        assert check in err
    assert err.count("\n") == 1


def test_json_is_the_whole_report_and_nothing_else(own, atlas_verify):
    leave_fresh(own)
    code, out, _ = atlas_verify(own / "base.safetensors", "--json")
    report = json.loads(out)
    assert code == 1
    assert report["passed"] is False
    assert report["manifest"] == str(own / "base.json")
    spectrum = next(check for check in report["checks"] if check["name"] == "spectrum")
    assert spectrum["tensors"] == [FC1]
    assert spectrum["by_module"][FC1] < spectrum["limit"]


def test_without_manifest_and_text_it_says_what_is_not_checked(own, atlas_verify):
    (own / "base.json").unlink()
    (own / "corpus.txt").unlink()
    code, out, _ = atlas_verify(own / "base.safetensors")
    assert code == 0
    assert "not checked: hashes" in out
    assert "not checked: the loss" in out
    assert "sha256" not in out


def test_another_manifest_and_text_may_be_named(own, atlas_verify):
    elsewhere = own / "elsewhere"
    elsewhere.mkdir()
    for name in ("base.json", "corpus.txt"):
        (own / name).rename(elsewhere / name)
    code, out, _ = atlas_verify(
        own, "--manifest", elsewhere / "base.json", "--corpus", elsewhere / "corpus.txt", "--all"
    )
    assert code == 0
    assert "val_loss_reproduced" in out
    assert out.count(" aligned ") > 10  # a line a module


def test_another_projects_folder(tmp_path, atlas_verify):
    folder = saved(tmp_path, "llama", trained=True)
    code, out, _ = atlas_verify(folder)
    assert code == 0
    assert "llama, 21 tensors" in out
    assert "passed all" not in out
    assert "not checked: the loss, and whether every module does its part (tensors in each other's place pass: " in out
    assert out.splitlines()[-1].endswith("checks, but not whether every tensor is in its place: see above")
    assert "not checked: hashes" in out
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "lora.weight": torch.ones(2)}, folder / "model.safetensors")
    code, out, _ = atlas_verify(folder)
    assert code == 1
    assert any("lora.weight" in line and "unexpected" in line for line in out.splitlines())


@pytest.mark.parametrize("name", ["nowhere.safetensors", "config.json"])
def test_a_path_that_is_no_checkpoint_is_one_line(own, atlas_verify, name):
    code, out, err = atlas_verify(own / name)
    assert (code, out) == (1, "")
    assert name in err
    assert err.count("\n") == 1


def test_a_text_for_other_projects_models_does_not_go_with_atlas_own(own, atlas_verify):
    code, out, err = atlas_verify(own, "--text", "english")
    assert (code, out) == (1, "")
    assert err.startswith("atlas: error: --text english: goes with other projects' models; ")
    assert err.count("\n") == 1
