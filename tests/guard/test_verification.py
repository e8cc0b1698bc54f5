"""``atlas.verify``: a model in memory against its file, as another project would call it."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import atlas
from atlas.errors import AtlasError
from tests.guard.foreign_models import as_if_trained, model_of, saved

DOCS = Path(__file__).parents[2] / "docs" / "guard.md"
FIRST, SECOND, NORM = "body.0.weight", "body.1.weight", "norm.weight"


class Net(nn.Module):
    """A model of somebody else's: an embedding, two layers, a norm, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(40, 32)
        self.body = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32))
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 40, bias=False)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net()
    as_if_trained(net)
    return net


@pytest.fixture
def file(net, tmp_path) -> Path:
    return put(tmp_path / "net.safetensors", net.state_dict())


def put(path: Path, tensors) -> Path:
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)
    return path


def failed(model, file, **options) -> dict[str, set[str]]:
    """Checks that ``atlas.verify`` raises with, each with its tensors."""
    with pytest.raises(atlas.GuardError) as caught:
        atlas.verify(model, file, **options)
    assert "\n" not in str(caught.value)
    for check in caught.value.failed:
        assert check.name in str(caught.value)
        assert all(name in str(caught.value) for name in check.tensors)
    return {check.name: set(check.tensors) for check in caught.value.failed}


def test_the_five_lines_of_the_docs(tmp_path):
    """Run as they stand there; then with the essay's bug in between."""
    folder = str(saved(tmp_path / "model", "llama", trained=True))
    block = re.search(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    assert len([each for each in block[1].splitlines() if each]) == 5
    lines = block[1].replace('"path/to/model"', repr(folder))
    names: dict[str, object] = {"train": print}
    exec(lines, names)
    with torch.no_grad():
        names["model"].model.layers[1].mlp.up_proj.weight.normal_(0, 0.02)  # type: ignore[attr-defined]
    assert failed(names["model"], folder)["loaded"] == {"model.layers.1.mlp.up_proj.weight"}


def test_the_error_survives_a_process_boundary(net, file):
    with torch.no_grad():
        net.norm.weight[0] = torch.nan
    with pytest.raises(atlas.GuardError) as caught:
        atlas.verify(net, file)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (str(copy), copy.failed) == (str(caught.value), caught.value.failed)


def test_what_was_verified_comes_back(net, file):
    certificate = atlas.verify(net, file)
    assert certificate.passed
    assert {"names", "shapes", "dtypes", "finite", "loaded", "tied", "copies"} <= {c.name for c in certificate.checks}


def test_a_loader_that_is_not_strict(net, file):
    """The names have a prefix that the loader does not know: nothing is loaded, and nothing said."""
    put(file, {f"module.{name}": tensor for name, tensor in net.state_dict().items()})
    torch.manual_seed(1)
    other = Net()
    other.load_state_dict(load_file(file), strict=False)
    everything = set(net.state_dict())
    assert failed(other, file)["names"] == everything | {f"module.{name}" for name in everything}
    assert failed(other, file, rename={"module.": ""})["loaded"] == everything
    assert atlas.verify(net, file, rename={"module.": ""}).passed


def test_one_value_that_differs(net, file):
    with torch.no_grad():
        net.body[1].weight[3, 3] += 1e-6
    assert failed(net, file) == {"loaded": {SECOND}}


def test_a_module_that_was_never_trained(net, file):
    nn.init.normal_(net.body[0].weight, std=0.02)
    nn.init.ones_(net.norm.weight)
    put(file, net.state_dict())
    found = failed(net, file)
    assert found["spectrum"] == {FIRST}
    assert found["constants"] == {NORM}
    assert atlas.verify(net, file, trained=False).passed


def test_values_that_are_not_numbers(net, file):
    with torch.no_grad():
        net.norm.weight[0] = torch.nan
    assert failed(net, file) == {"finite": {NORM}}


def test_parameters_that_share_memory_by_accident(net, file):
    net.body[1].weight = net.body[0].weight
    assert failed(net, file)["tied"] == {SECOND}


def test_a_parameter_that_lies_in_another(net, file):
    net.head.weight = nn.Parameter(net.embed.weight.detach()[:40])
    put(file, net.state_dict())
    assert failed(net, file)["tied"] == {"head.weight"}
    assert atlas.verify(net, file, tied={"head.weight": "embed.weight"}).passed


def test_several_parameters_may_be_one_and_the_file_may_have_any_of_them(net, file):
    net.head.weight = net.embed.weight
    net.extra = nn.Embedding(40, 32, _weight=net.embed.weight)
    tied = {"head.weight": "extra.weight", "extra.weight": "embed.weight"}
    for kept in ("embed.weight", "head.weight"):
        others = {"embed.weight", "head.weight", "extra.weight"} - {kept}
        put(file, {name: tensor for name, tensor in net.state_dict().items() if name not in others})
        net.extra.weight = net.embed.weight
        assert atlas.verify(net, file, tied=tied).passed
        net.extra.weight = nn.Parameter(net.embed.weight.detach().clone())
        assert failed(net, file, tied=tied) == {"tied": {"extra.weight"}}


def test_a_tie_that_came_undone(net, file):
    """The head was the embedding when it was saved; in memory it is a stale copy."""
    tensors = {name: tensor for name, tensor in net.state_dict().items() if name != "head.weight"}
    put(file, tensors)
    assert failed(net, file) == {"names": {"head.weight"}}
    assert failed(net, file, tied={"head.weight": "embed.weight"}) == {"tied": {"head.weight"}}
    net.head.weight = net.embed.weight
    assert atlas.verify(net, file, tied={"head.weight": "embed.weight"}).passed


def test_ties_that_a_transformers_model_declares_are_known(tmp_path):
    folder = saved(tmp_path, "gpt2", trained=True)
    model = model_of("gpt2", trained=True)
    assert atlas.verify(model, folder).passed
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    assert failed(model, folder) == {"tied": {"lm_head.weight"}}


def test_a_model_that_was_never_filled(file):
    with torch.device("meta"):
        empty = Net()
    assert failed(empty, file)["names"] == set(load_file(file))


def test_another_dtype_only_where_it_is_asked_for(net, file):
    put(file, {name: tensor.bfloat16() for name, tensor in net.state_dict().items()})
    net.load_state_dict(load_file(file))
    assert failed(net, file).keys() == {"dtypes"}
    assert atlas.verify(net, file, cast=True).passed


@pytest.mark.parametrize(
    "rename",
    [
        {"": "", "old.": "body.0."},
        {"old.weight": "body.0.weight", "old.bias": "body.0.bias"},
        lambda name: name.replace("old", "body.0"),
    ],
    ids=["a beginning", "whole names", "a function"],
)
def test_names_that_differ_on_purpose(net, file, rename):
    put(file, {name.replace("body.0", "old"): tensor for name, tensor in net.state_dict().items()})
    assert atlas.verify(net, file, rename=rename).passed


def test_tensors_that_are_left_out_on_purpose(net, file):
    put(file, net.state_dict() | {"step": torch.ones(1)})
    assert failed(net, file) == {"names": {"step"}}
    assert atlas.verify(net, file, rename={"step": None}).passed


@pytest.mark.parametrize(
    ("rename", "complaint"),
    [
        ({"bdoy.": "body."}, "no tensor is called 'bdoy.'"),
        ({FIRST: SECOND}, "two tensors are renamed to body.1.weight"),
        (lambda name: name, "rename: it changes no name"),
    ],
)
def test_a_renaming_that_is_a_mistake(net, file, rename, complaint):
    with pytest.raises(AtlasError, match=complaint):
        atlas.verify(net, file, rename=rename)


def test_importing_atlas_is_light():
    """The guard takes torch only when it is used; what is not there is said as Python says it."""
    command = "import sys, atlas; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'certify'"):
        _ = atlas.certify  # type: ignore[attr-defined]
