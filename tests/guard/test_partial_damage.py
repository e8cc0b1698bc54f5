"""Damage to a part of a tensor, or to its scale, by the file alone, and what is no damage though it looks odd."""

from functools import cache

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

import atlas
from atlas.audit.outsiders import trained
from atlas.base.text import encode
from atlas.guard.formats import WHOLE
from atlas.guard.model_parts import model_parts
from atlas.guard.verification import inspect_foreign, read_foreign
from tests.honest_model import text

pytestmark = pytest.mark.xdist_group("trained models")  # one worker makes its models

KINDS = ("gpt2", "gpt_neox", "llama, grouped, tied")


@cache
def model_of(kind):
    """An honest model, trained once for all tests of a process."""
    (_, model), *_ = trained(kind, 0, encode(text()), [250])
    return model


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    model_of(request.param).save_pretrained(tmp_path)
    return tmp_path


def failures(folder):
    return {check.name: set(check.tensors) for check in inspect_foreign(folder).failed}


def damaged(folder, role, change, layer=1):
    """Change one role's matrix, (out, in), within whatever holds it in the file; the tensor's name."""
    foreign, tensors = read_foreign(folder), load_file(folder / WHOLE)
    spec = next(
        spec
        for spec in foreign.specs.values()
        if spec.kind == "matrix" and spec.layer == layer and role in (spec.role, *spec.fused)
    )
    values = tensors[spec.name].flatten()
    places = torch.arange(len(values)).view(spec.shape)
    share = next(part for part in spec.parts(places) if part.role == role).values
    values[share.flatten()] = change(values[share.flatten()].view(share.shape)).flatten()
    save_file(tensors | {spec.name: values.view(spec.shape)}, folder / WHOLE)
    return spec.name


def drawn(like):
    """Random numbers of the usual spread."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(3)) * 0.02


def first(values, share, dim=0):
    """The first of so many equal blocks of rows, or of columns, random."""
    values = values.clone()
    block = values.narrow(dim, 0, values.shape[dim] // share)
    block.copy_(drawn(block))
    return values


def test_honest_models_pass(folder):
    assert failures(folder) == {}


@pytest.mark.parametrize("role", ["q", "k", "o"])
def test_one_head_that_is_random(folder, role):
    heads = 2 if role == "k" and "llama" in inspect_foreign(folder).model else 4
    name = damaged(folder, role, lambda values: first(values, heads, dim=int(role == "o")))
    assert failures(folder)["blocks"] == {name}


@pytest.mark.parametrize(("role", "dim"), [("up", 0), ("down", 1)])
def test_a_quarter_of_the_units_that_is_random(folder, role, dim):
    name = damaged(folder, role, lambda values: first(values, 4, dim))
    assert failures(folder)["blocks"] == {name}


@pytest.mark.parametrize("dim", [0, 1])
def test_half_of_what_a_matrix_reads_or_writes_that_is_random(folder, dim):
    """In the space that all layers share: of `down` its outputs, of `up` its inputs."""
    role = ("down", "up")[dim]
    name = damaged(folder, role, lambda values: first(values, 2, dim))
    assert failures(folder)["blocks"] == {name}


# An untied table of the twenty symbols of this text learns too little for that.
@pytest.mark.parametrize("kind", ["gpt2", "llama, grouped, tied"])
def test_a_quarter_of_the_vocabulary_that_is_random(tmp_path, kind):
    model_of(kind).save_pretrained(folder := tmp_path)
    tensors, name = load_file(folder / WHOLE), next(iter(read_foreign(folder).specs))
    tensors[name][48:72] = drawn(tensors[name][48:72])
    save_file(tensors, folder / WHOLE)
    assert failures(folder)["blocks"] == {name}


@pytest.mark.parametrize(("role", "factor"), [("v", 1e30), ("down", 1000), ("o", 40), ("up", 1e-3)])
def test_a_matrix_of_another_size(folder, role, factor):
    name = damaged(folder, role, lambda values: values * factor)
    assert failures(folder)["size"] == {name}


def test_a_norm_or_an_embedding_of_another_size(folder):
    specs, sound = read_foreign(folder).specs, load_file(folder / WHOLE)
    norm = next(spec.name for spec in specs.values() if spec.kind == "norm weight" and spec.layer == 1)
    for name in (norm, next(iter(specs))):
        save_file(sound | {name: sound[name] * 1000}, folder / WHOLE)
        assert failures(folder)["size"] == {name}


def test_codes_of_8_bits_without_their_scale(folder):
    def codes(values):
        return (values / values.abs().amax(1, keepdim=True) * 127).round()

    name = damaged(folder, "up", codes)
    assert failures(folder)["codes"] == {name}
    tensors = {
        name: codes(tensor.float()) if tensor.ndim == 2 else tensor
        for name, tensor in load_file(folder / WHOLE).items()
    }
    save_file(tensors, folder / WHOLE)
    assert failures(folder)["codes"] == {name for name, tensor in tensors.items() if tensor.ndim == 2}


@pytest.mark.parametrize(
    "change",
    [
        lambda values: torch.full_like(values, 0.03),
        lambda values: torch.outer(values[:, 0], values[0]) / values[0].norm(),
        lambda values: (torch.outer(values[:, 0], values[0]) / values[0].norm()).bfloat16().float(),
        lambda values: values[:, :3] @ values[:3] / values[0].norm(),
    ],
    ids=["constant", "rank one", "rank one, rounded", "rank three"],
)
def test_a_matrix_with_few_directions(folder, change):
    name = damaged(folder, "up", change)
    assert failures(folder)["directions"] == {name}


def test_a_whole_file_that_was_rounded_passes_with_a_note(folder):
    tensors = {name: tensor.bfloat16().float() for name, tensor in load_file(folder / WHOLE).items()}
    save_file(tensors, folder / WHOLE)
    report = inspect_foreign(folder)
    assert report.passed
    rounding = next(check for check in report.checks if check.name == "rounding")
    assert rounding.detail.startswith("note: every matrix is exact in 16 bits though stored in 32")


def test_single_huge_weights_are_no_alarm(folder):
    for role, factor in (("down", 100), ("q", 20)):
        for at in (7, 1000):

            def plant(values, at=at, factor=factor):
                values = values.clone()
                values.view(-1)[at] = factor * values.abs().max()
                return values

            damaged(folder, role, plant, layer=at % 2)
    assert failures(folder) == {}


def test_a_padded_vocabulary_is_no_alarm_but_one_that_is_half_zero_is(folder):
    tensors, foreign = load_file(folder / WHOLE), read_foreign(folder)
    name = next(iter(foreign.specs))
    tables = {name, foreign.blueprint.head.name} & tensors.keys()
    for table in tables:
        tensors[table][88:] = 0
    save_file(tensors, folder / WHOLE)
    assert failures(folder) == {}
    for table in tables:
        tensors[table][48:] = 0
    save_file(tensors, folder / WHOLE)
    assert failures(folder)["zeros"] == tables


def test_precision_may_differ_by_role_but_not_within_one(folder):
    sound = load_file(folder / WHOLE)
    up = [spec for spec in read_foreign(folder).specs.values() if spec.role == "up" and spec.kind == "matrix"]
    for name in (up[0].name, up[1].name, up[2].name):
        sound[name] = sound[name].bfloat16()
    save_file(sound, folder / WHOLE)
    assert failures(folder) == {}
    save_file(sound | {up[0].name: sound[up[0].name].float()}, folder / WHOLE)
    assert failures(folder) == {"dtypes": {up[0].name}}


def test_an_untied_head_may_be_the_embedding(tmp_path):
    model_of("gpt_neox").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WHOLE)
    save_file(tensors | {"embed_out.weight": tensors["gpt_neox.embed_in.weight"].clone()}, tmp_path / WHOLE)
    assert failures(tmp_path) == {}


class Vision(nn.Module):
    """What reward models and vision transformers have: one output, a token, positions for any batch, experts."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 64))
        angles = torch.arange(50)[:, None] / 10_000 ** (torch.arange(64) / 64)
        self.pos_embed = nn.Parameter(angles.sin()[None])
        self.patch = nn.Conv2d(3, 64, 4)
        self.depthwise = nn.Conv2d(64, 64, 3, groups=64)
        self.attention = nn.MultiheadAttention(64, 4)
        self.score = nn.Linear(64, 1)
        self.experts = nn.Parameter(torch.empty(4, 32, 64))
        self.gain = nn.Parameter(torch.full((64,), 1e-5))
        self.temperature = nn.Parameter(torch.tensor(0.0))


def vision():
    torch.manual_seed(0)
    net = Vision()
    common = torch.tensor([0.2, 1.8]).repeat(32)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1 and name not in ("cls_token", "pos_embed"):
                parameter.normal_(0, 0.1)
                if parameter.shape[-1] == 64:
                    parameter.mul_(common)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)
        net.patch.weight.mul_(common[:, None, None, None])
    return net


def saved(net, tmp_path):
    save_file({name: tensor.clone() for name, tensor in net.state_dict().items()}, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_what_is_too_short_is_not_judged(tmp_path):
    net = vision()
    certificate = atlas.verify(net, saved(net, tmp_path))
    aligned = next(check for check in certificate.checks if check.name == "aligned")
    assert aligned.detail.startswith("not judged: ")
    assert "score.weight" in aligned.detail
    judged = {name for check in certificate.checks for name in check.by_module}
    assert {"attention.in_proj_weight[q]", "experts", "pos_embed"} <= judged
    assert all(value is None or value < 1e9 for check in certificate.checks for value in check.by_module.values())


@pytest.mark.parametrize("shape", [(1, 64), (64, 1), (2, 64), (3, 3), (1, 1), (15, 64)])
def test_matrices_with_a_short_side_give_no_alarm_at_their_initialisation(tmp_path, shape):
    """Nothing can tell that they are: no figure is undefined, and no limit out of reach."""
    into, out = shape
    net = nn.Sequential(nn.Linear(into, out, bias=False), nn.Linear(out, into, bias=False))
    assert atlas.verify(net, saved(net, tmp_path)).passed


def test_empty_tensors_and_numbers_without_a_side(tmp_path):
    net = nn.Module()
    net.none, net.one = nn.Parameter(torch.zeros(0, 8)), nn.Parameter(torch.tensor(3.0))
    assert atlas.verify(net, saved(net, tmp_path)).passed


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox, tied, no bias"])
def test_a_share_of_fused_attention_in_memory(tmp_path, kind):
    """`atlas.verify` of a model that was loaded as it lies there, q as drawn: q is named, not k and v beside it."""
    model_of(kind).save_pretrained(tmp_path)
    name = damaged(tmp_path, "q", drawn)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert {part.blocks for part in model_parts(model) if part.role == "q"} == {4}
    with pytest.raises(atlas.GuardError) as caught:
        atlas.verify(model, tmp_path)
    aligned = next(check for check in caught.value.failed if check.name == "aligned")
    assert aligned.tensors == [name]
    assert [role for role in "qkv" if f"{name}[{role}]" in aligned.detail] == ["q"]
