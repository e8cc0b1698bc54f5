"""The mutator: many kinds, the same damage for the same seed, and it does what its name says."""

import pytest
import torch

from atlas.audit.subjects import subject as subject_of
from atlas.audit.subjects import weights
from atlas.base.model import Transformer
from atlas.draws import rng
from atlas.guard.faults.catalogue import KINDS
from atlas.guard.faults.kinds import Patient
from tests.honest_model import SHAPE, honest

pytestmark = pytest.mark.xdist_group("damaged opt")  # one worker makes its models

TOKENS = torch.arange(32)[None] + 40


@pytest.fixture(scope="module")
def subject():
    tensors = weights(honest())
    shaken = {name: values + 0.01 * values.std() for name, values in tensors.items()}
    return subject_of(SHAPE, tensors, earlier=shaken, other={name: 0.5 * values for name, values in tensors.items()})


def damaged(subject, each, place):
    to = Patient.of(subject, rng(0, each.name))
    each.damage(to, place)
    return to


def logits(tensors):
    model = Transformer(SHAPE)
    model.load_state_dict(tensors)
    with torch.no_grad():
        return model.eval()(TOKENS)


def test_there_are_many_kinds_and_no_name_twice():
    assert len({(each.family, each.name) for each in KINDS}) == len(KINDS) >= 40


@pytest.mark.parametrize("each", KINDS, ids=lambda each: each.name)
def test_every_kind_changes_the_files_and_nothing_else(subject, each):
    """The subject stays whole; the same seed writes the same bytes; harmless changes keep the function."""
    before = {name: values.clone() for name, values in subject.tensors.items()}
    places = each.places(subject)
    assert places
    to, again = (damaged(subject, each, places[-1]) for _ in range(2))
    assert to.written() == again.written()
    clean = Patient.of(subject, rng(0))
    assert to.written() != clean.written() or to.config != clean.config
    assert all(torch.equal(before[name], subject.tensors[name]) for name in before)
    if each.harmless:
        torch.testing.assert_close(logits(to.tensors), logits(before), rtol=1e-4, atol=1e-4)


def test_the_mis_mapped_loader_leaves_the_feed_forward_as_drawn(subject):
    (each,) = (each for each in KINDS if each.name == "feed-forward, by a mis-mapped loader")
    found = damaged(subject, each, "all").tensors
    for name, drawn in subject.drawn.items():
        expected = drawn if ".fc" in name else subject.tensors[name]
        assert torch.equal(found[name], expected), name


def test_a_bit_is_one_bit(subject):
    (each,) = (each for each in KINDS if each.name == "lowest bit of one value")
    name = each.places(subject)[0]
    found = damaged(subject, each, name).tensors[name].view(torch.int32)
    differs = found ^ subject.tensors[name].view(torch.int32)
    assert differs.count_nonzero() == 1
    assert differs.sum() == 1


def test_damage_that_needs_other_weights_is_not_done_where_there_are_none():
    alone = subject_of(SHAPE, weights(honest()))
    missing = {each.name for each in KINDS if not each.places(alone)}
    assert missing == {"earlier step", "other seed", "one matrix of another seed", "one layer of another seed"}
