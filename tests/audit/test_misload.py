"""The essay's bug, done on purpose: what a careless loader leaves behind, and that the guard refuses it."""

import json
from pathlib import Path

import pytest
import torch

from atlas.audit.misload import Misloads, judge, load_carelessly, main, misloaded
from atlas.audit.misload_report import MisloadReport
from atlas.base.checkpoint import read_manifest
from atlas.base.model import Transformer, fresh
from atlas.guard.faults.kinds import wrong_names
from atlas.guard.formats import read_tensors
from atlas.guard.tensors import fingerprint
from atlas.study.settings import Role
from atlas.ttt.frozen import Watch, reinitialise
from atlas.workflow import files
from tests.base.test_certify import CONFIG, TEXT, as_if_trained, put

UP_DOWN: tuple[Role, ...] = ("up", "down")
PATHS = ("model.decoder.layers.{}.fc1.{}", "model.decoder.layers.{}.fc2.{}")
FEED_FORWARD = sorted(path.format(layer, part) for path in PATHS for layer in (0, 1) for part in ("weight", "bias"))


@pytest.fixture
def base(tmp_path):
    """A folder with a corpus, a checkpoint that passes, and its manifest."""
    files.write_text(tmp_path / "corpus.txt", TEXT)
    put(tmp_path, as_if_trained(0))
    return tmp_path


def of(base: Path) -> tuple[Path, Path]:
    return base / "base.safetensors", base / "base.json"


def test_a_map_of_names_that_is_right_misses_nothing(base):
    model = fresh(CONFIG.own, 5)
    assert load_carelessly(model, read_tensors(base / "base.safetensors"), wrong_names(())) == []
    assert fingerprint(model.state_dict()) == read_manifest(base / "base.json").fingerprint


def test_the_modules_that_are_missed_stay_as_they_were_drawn(base):
    model, missed = misloaded(*of(base), UP_DOWN, base_seed=3, seeds=[5, 6])
    assert missed == FEED_FORWARD
    trained = read_tensors(base / "base.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, trained[name]) == (name not in missed)


def test_it_is_the_base_that_an_arm_declares(base):
    """Bit for bit: what the guard refuses is what the confound's arms train on."""
    arm = Transformer(CONFIG.own)
    arm.load_state_dict(read_tensors(base / "base.safetensors"))
    declared = reinitialise(arm, UP_DOWN, base_seed=3, seeds=[5, 6])
    watch = Watch(arm, read_manifest(base / "base.json").sha256, declared)
    model, missed = misloaded(*of(base), UP_DOWN[::-1], base_seed=3, seeds=[5, 6])
    assert missed == declared
    assert fingerprint(model.state_dict()) == watch.at_start
    other, _ = misloaded(*of(base), UP_DOWN, base_seed=3, seeds=[7, 8])
    assert fingerprint(other.state_dict()) != watch.at_start


def test_it_is_written_verified_and_refused_with_and_without_the_manifest(base):
    (found,) = judge(
        *of(base), base / "corpus.txt", base / "guard", Misloads(reinit=[["up", "down"]], base_seed=0, seeds=[1, 2])
    )
    written = read_tensors(base / "guard" / "misloaded-up-down" / "base.safetensors")
    assert fingerprint(written) == found.fingerprint == found.without_manifest.fingerprint
    weights = {name for name in FEED_FORWARD if name.endswith("weight")}
    for certificate in (found.without_manifest, found.with_manifest):
        failed = {check.name: set(check.tensors) for check in certificate.checks if not check.passed}
        assert not certificate.passed
        assert failed["spectrum"] == weights
    assert "sha256" in failed


def test_the_step_writes_its_report(base):
    out = base / "guard" / "misloaded.json"
    spec = json.dumps({"reinit": [["q"], ["up", "down"]], "base_seed": 0, "seeds": [1, 2]})
    checkpoint, manifest = map(str, of(base))
    options = ["--checkpoint", checkpoint, "--manifest", manifest, "--corpus", str(base / "corpus.txt")]
    main(["--spec", spec, *options, "--threads", "1", "--out", str(out)])
    report = MisloadReport.model_validate(files.read_json(out))
    assert [misload.reinit for misload in report.misloads] == [["q"], ["up", "down"]]
    assert len({misload.fingerprint for misload in report.misloads}) == 2
