"""The guard: a base that is damaged, mis-loaded or not the one on record gets no certificate."""

import json
import re

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from atlas.base.certify import main, verify_checkpoint
from atlas.base.checkpoint import load_certified, read_certificate, save
from atlas.base.corpus import split
from atlas.base.inspection import inspect
from atlas.base.language import validation_loss
from atlas.base.model import Transformer, fresh, opt_config
from atlas.base.text import encode
from atlas.errors import AtlasError
from atlas.guard.report import show
from atlas.guard.tensors import fingerprint, sha256_of
from atlas.study.base_settings import Base, Model
from atlas.workflow import files

CONFIG = Base(model=Model(layers=2, width=32, heads=2, ffn=64, context=16), max_val_loss=5.0)
TEXT = "Shall I compare thee to a summer's day?\n" * 40
FC1 = "model.decoder.layers.1.fc1.weight"
Q_BIAS = "model.decoder.layers.0.self_attn.q_proj.bias"
K_BIAS = "model.decoder.layers.0.self_attn.k_proj.bias"
NORM = "model.decoder.layers.1.final_layer_norm.weight"
OF_THE_MANIFEST = {"sha256", "fingerprint"}


def as_if_trained(seed):
    """A model whose matrices have spectra that fall off and directions in common, and whose vectors have moved."""
    model, common = fresh(CONFIG.own, seed), torch.tensor([0.4, 1.6]).repeat(32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                u, _, v = torch.linalg.svd(parameter, full_matrices=False)
                parameter.copy_(u * 0.8 ** torch.arange(len(v)) @ v * common[: parameter.shape[1]])
                if len(parameter) <= len(common):
                    parameter.mul_(common[: len(parameter), None])
            else:
                parameter.add_(torch.linspace(-0.1, 0.1, len(parameter)))
    return model.eval()


@pytest.fixture
def base(tmp_path):
    """A folder with a corpus, a checkpoint that passes, and its manifest."""
    files.write_text(tmp_path / "corpus.txt", TEXT)
    put(tmp_path, as_if_trained(0))
    return tmp_path


def put(folder, model):
    """Save a model with a manifest that agrees with it."""
    _, validation = split(TEXT, CONFIG.validation)
    save(
        folder / "base.safetensors",
        folder / "base.json",
        model,
        config=CONFIG,
        val_loss=validation_loss(model, encode(validation)),
        tokens=1,
        seconds=1.0,
        corpus_sha256=files.sha256(folder / "corpus.txt"),
    )


def edit(folder, **tensors):
    """Change tensors of the checkpoint behind the manifest's back; None drops one."""
    path = folder / "base.safetensors"
    found = load_file(path) | tensors
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, path)


def edit_manifest(folder, **keys):
    files.write_json(folder / "base.json", files.read_json(folder / "base.json") | keys)


def verify(folder, config=CONFIG):
    return verify_checkpoint(folder / "base.safetensors", folder / "base.json", folder / "corpus.txt", config)


def failures(certificate):
    """Names of the checks that fail, and all tensors that they name."""
    failed = [check for check in certificate.checks if not check.passed]
    assert certificate.passed == (not failed)
    for check in failed:
        assert all(name in check.detail for name in check.tensors)
    return {check.name for check in failed}, {name for check in failed for name in check.tensors}


def run(folder, config=CONFIG):
    paths = {"corpus": "corpus.txt", "checkpoint": "base.safetensors", "manifest": "base.json"}
    options = [part for key, name in paths.items() for part in (f"--{key}", str(folder / name))]
    main(["--spec", config.model_dump_json(), *options, "--out", str(folder / "certificate.json"), "--threads", "1"])


def test_an_honest_base_is_certified_and_then_loads(base):
    run(base)
    certificate = read_certificate(base / "certificate.json")
    assert failures(certificate) == (set(), set())
    assert len({check.name for check in certificate.checks}) == len(certificate.checks)
    model = load_certified(base / "base.safetensors", base / "base.json", base / "certificate.json")
    assert fingerprint(model.state_dict()) == certificate.fingerprint
    assert files.read_json(base / "config.json") == opt_config(CONFIG.own)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_matrix_left_at_its_initialisation(base, seed):
    edit(base, **{FC1: fresh(CONFIG.own, seed).state_dict()[FC1]})
    checks, tensors = failures(verify(base))
    assert {"spectrum", "aligned", *OF_THE_MANIFEST} <= checks
    assert ("moved" in checks) == (seed == 0)
    assert tensors == {FC1}


def test_the_essays_bug_saved_with_a_manifest_that_agrees(base):
    """A loader misses the feed-forward keys, and the model is saved again: only the spectra can tell."""
    model = as_if_trained(0)
    other = fresh(CONFIG.own, 99).state_dict()
    missed = [name for name in other if ".fc1.weight" in name or ".fc2.weight" in name]
    model.load_state_dict({name: other[name] for name in missed}, strict=False)
    put(base, model)
    assert failures(verify(base)) == ({"spectrum", "aligned"}, set(missed))


def test_every_matrix_that_is_fresh_is_named(base):
    put(base, fresh(CONFIG.own, 99))
    checks, tensors = failures(verify(base))
    assert checks == {"spectrum", "aligned", "constants"}
    assert tensors == {name for name in Transformer(CONFIG.own).state_dict() if "k_proj.bias" not in name}


@pytest.mark.parametrize(("name", "start"), [(Q_BIAS, 0.0), (NORM, 1.0)])
def test_a_bias_or_norm_left_at_its_initialisation(base, name, start):
    edit(base, **{name: torch.full((32,), start)})
    checks, tensors = failures(verify(base))
    assert {"constants", *OF_THE_MANIFEST} <= checks
    assert tensors == {name}


def test_the_bias_of_k_may_stay_where_it_was(base):
    """Softmax takes it away, so it is never trained: an alarm would be false."""
    model = as_if_trained(0)
    with torch.no_grad():
        model.get_parameter(K_BIAS).zero_()
    put(base, model)
    assert failures(verify(base)) == (set(), set())


@pytest.mark.parametrize("name", [FC1, Q_BIAS, K_BIAS, "model.decoder.embed_positions.weight"])
def test_the_smallest_change_is_seen_and_its_tensor_named(base, name):
    tensor = load_file(base / "base.safetensors")[name]
    tensor.view(-1)[3] = tensor.view(-1)[3].nextafter(torch.tensor(9.0))
    edit(base, **{name: tensor})
    assert failures(verify(base)) == (OF_THE_MANIFEST, {name})


def test_a_value_that_is_not_a_number(base):
    edit(base, **{Q_BIAS: torch.full((32,), float("nan"))})
    assert failures(verify(base)) == ({"finite"}, {Q_BIAS})


def test_a_file_that_does_not_fit_names_every_tensor(base):
    edit(base, **{FC1: None, "extra.weight": torch.zeros(2), NORM: torch.ones(31), Q_BIAS: torch.zeros(32).half()})
    assert failures(verify(base)) == ({"names", "shapes", "dtypes"}, {FC1, "extra.weight", NORM, Q_BIAS})


def test_the_checkpoint_of_another_seed(base, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    files.write_text(other / "corpus.txt", TEXT)
    put(other, as_if_trained(1))
    (other / "base.safetensors").rename(base / "base.safetensors")
    checks, tensors = failures(verify(base))
    assert checks >= OF_THE_MANIFEST
    assert FC1 in tensors


def test_a_manifest_that_names_other_tensors(base):
    record = files.read_json(base / "base.json")["sha256"]
    edit_manifest(base, sha256={**{name: record[name] for name in record if name != FC1}, "ghost": "00"})
    assert failures(verify(base)) == ({"sha256"}, {FC1, "ghost"})


def test_a_validation_loss_that_cannot_be_reproduced(base):
    edit_manifest(base, val_loss=1.5)
    assert failures(verify(base))[0] == {"val_loss_reproduced"}


def test_a_base_that_is_not_good_enough(base):
    certificate = verify(base, CONFIG.model_copy(update={"max_val_loss": 1.52}))
    assert failures(certificate)[0] == {"val_loss"}
    failed = next(check for check in certificate.checks if not check.passed)
    assert failed.limit == 1.52
    assert failed.measured is not None
    assert failed.measured > 1.52


def test_another_corpus(base):
    files.write_text(base / "corpus.txt", TEXT.upper())
    assert failures(verify(base))[0] == {"corpus", "val_loss_reproduced"}


def test_a_base_made_with_other_keys(base):
    certificate = verify(base, CONFIG.model_copy(update={"seed": 3}))
    assert failures(certificate)[0] == {"config"}
    assert "seed: made with 0, study has 3" in certificate.checks[-1].detail


def test_a_failure_leaves_no_certificate_not_even_an_older_one(base):
    run(base)
    (base / "config.json").unlink()
    edit(base, **{FC1: fresh(CONFIG.own, 7).state_dict()[FC1], Q_BIAS: torch.zeros(32)})
    with pytest.raises(AtlasError) as error:
        run(base)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{base / 'base.safetensors'}: failed ")
    assert all(name in message for name in ("spectrum (", "constants (", "sha256 (", "fingerprint (", FC1, Q_BIAS))
    assert not (base / "certificate.json").exists()
    assert not (base / "config.json").exists()


def test_a_truncated_file_leaves_no_certificate(base):
    run(base)
    path = base / "base.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AtlasError, match="not a whole safetensors file"):
        run(base)
    assert not (base / "certificate.json").exists()


def test_without_a_manifest_the_config_beside_it_gives_the_shape(base):
    files.write_json(base / "config.json", opt_config(CONFIG.own))
    certificate = verify_checkpoint(base / "base.safetensors")
    assert failures(certificate) == (set(), set())
    edit(base, **{FC1: fresh(CONFIG.own, 7).state_dict()[FC1]})
    assert failures(verify_checkpoint(base / "base.safetensors")) == ({"spectrum", "aligned"}, {FC1})


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (None, "config.json: no such file; give --manifest"),
        ({"model_type": "gpt2"}, "config.json: not the config of an OPT model"),
        ({"model_type": "opt"}, "config.json: layers: "),
    ],
)
def test_without_a_manifest_a_shape_is_needed(base, config, complaint):
    if config is not None:
        files.write_json(base / "config.json", config)
    with pytest.raises(AtlasError, match=complaint):
        verify_checkpoint(base / "base.safetensors")


def printed(folder, everything=False):
    """What a person sees of a folder's checkpoint, on a wide terminal."""
    console = Console(width=200)
    with console.capture() as captured:
        show(inspect(folder), console, everything)
    return captured.get()


def test_the_table_for_people_names_what_failed(base):
    edit(base, **{FC1: fresh(CONFIG.own, 7).state_dict()[FC1]})
    table = printed(base)
    assert re.search(rf"^{re.escape(FC1)} +spectrum +\S+ +6 +FAILED", table, re.MULTILINE)
    assert re.search(rf"^{re.escape(FC1)} +sha256 .*FAILED +sha256 \w+\.\.\., manifest", table, re.MULTILINE)
    assert re.search(r"^all +finite +0 +0 +passed", table, re.MULTILINE)
    assert re.search(r"^FAILED \d of \d+ checks", table, re.MULTILINE)


def test_the_table_has_all_modules_where_asked(base):
    assert printed(base).count("aligned") == 1
    matrices = [name for name, tensor in load_file(base / "base.safetensors").items() if tensor.ndim == 2]
    assert printed(base, everything=True).count("aligned") == len(matrices)


def test_what_could_not_be_checked_is_said(base):
    assert "not checked" not in printed(base)
    files.write_json(base / "config.json", opt_config(CONFIG.own))
    (base / "base.json").unlink()
    (base / "corpus.txt").unlink()
    assert re.findall(r"not checked: .*(manifest|corpus)", printed(base)) == ["manifest", "corpus"]
    edit(base, **{FC1: None})
    assert "not checked: all that needs a model that loads" in printed(base)


def test_the_certificate_is_plain_json(base):
    run(base)
    certificate = json.loads((base / "certificate.json").read_text())
    assert certificate["passed"] is True
    assert {"name", "passed", "measured", "limit", "detail"} <= certificate["checks"][0].keys()
    recorded = files.read_json(base / "base.json")["sha256"]
    assert {name: sha256_of(tensor) for name, tensor in load_file(base / "base.safetensors").items()} == recorded


def test_a_replica_in_the_place_of_another_is_refused_and_the_certificate_names_its_own(base):
    second = CONFIG.model_copy(update={"replica": 2})
    assert failures(verify(base, second))[0] == {"config"}
    (odd,) = [check.detail for check in verify(base, second).checks if not check.passed]
    assert odd == "replica: made with 1, study has 2"
    (told,) = [check.detail for check in verify(base).checks if check.name == "config"]
    assert told.endswith("as its replica 1")
