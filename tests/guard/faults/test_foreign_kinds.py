"""Damage to other projects' models: every kind on every architecture, the same for the same seed, as its name says."""

import pytest
import torch

from atlas.audit.foreign_models import CONFIGS, fresh, put_down
from atlas.draws import rng
from atlas.guard.faults.foreign import KINDS, shares
from atlas.guard.faults.kinds import Patient, Subject
from atlas.guard.formats import CONFIG, WHOLE, read_tensors
from atlas.workflow import files


@pytest.fixture(scope="module", params=CONFIGS)
def subject(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    model = fresh(request.param, 0).requires_grad_(False)
    for at, parameter in enumerate(model.parameters()):
        parameter.add_(0.01 * at)  # no two norms are alike
    put_down(folder, model)
    drawn = put_down(folder / "drawn", fresh(request.param, 1))
    return Subject(files.read_json(folder / CONFIG), read_tensors(folder / WHOLE), read_tensors(drawn / WHOLE))


def damaged(subject, each, place):
    to = Patient.of(subject, rng(0, each.name))
    each.damage(to, place)
    return to


def kind(name):
    (found,) = (each for each in KINDS if each.name == name)
    return found


def test_there_are_many_kinds_and_no_name_twice():
    assert len({(each.family, each.name) for each in KINDS}) == len(KINDS) >= 40


def test_every_kind_changes_what_it_names_and_nothing_of_the_subject(subject):
    before = {name: values.clone() for name, values in subject.tensors.items()}
    for each in KINDS:
        for place in each.places(subject)[-2:]:
            to, again = (damaged(subject, each, place) for _ in range(2))
            assert to.written() == again.written(), each.name
            kept = before.keys() & to.tensors.keys()
            changed = {name for name in kept if not torch.equal(to.tensors[name], before[name])}
            moved = to.tensors.keys() != before.keys() or to.broken or to.in_memory
            assert changed or to.config != subject.config or moved, each.name
            if place.partition(" ")[0].isdigit():
                touched = {part for part in place.split() if part.isdigit()}
                assert {next(part for part in name.split(".") if part.isdigit()) for name in changed} <= touched, (
                    each.name
                )
    assert all(torch.equal(before[name], subject.tensors[name]) for name in before)


def test_every_architecture_has_what_it_has(subject):
    there = {each.name for each in KINDS if each.places(subject)}
    which = subject.config["model_type"]
    assert ("gate and up exchanged" in there) == (which in ("llama", "mistral", "qwen2", "qwen3"))
    assert ("q and k exchanged" in there) == (which in ("opt", "gpt2", "gpt_neox"))
    assert ("rotary table zero" in there) == (which not in ("opt", "gpt2"))
    assert ("embedding and head exchanged" in there) == (which in ("gpt_neox", "llama", "mistral", "qwen3"))
    assert {"k and v exchanged", "norms less one", "sign of a matrix", "one head", "twice the heads"} <= there


def test_one_head_is_a_quarter_of_the_queries_and_k_and_v_are_exchanged(subject):
    to = damaged(subject, kind("one head"), "1 q")
    (new,), (old,) = shares(to, "q", 1), shares(Patient.of(subject, rng(0)), "q", 1)
    assert (new != old).reshape(4, -1).float().mean(1).tolist() == pytest.approx([0, 1, 0, 0], abs=0.01)
    to = damaged(subject, kind("k and v exchanged"), "all")
    clean = Patient.of(subject, rng(0))
    for layer in range(4):
        assert torch.equal(shares(to, "k", layer)[0], shares(clean, "v", layer)[0])
        assert torch.equal(shares(to, "v", layer)[0], shares(clean, "k", layer)[0])
