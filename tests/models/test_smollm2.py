"""SmolLM2-135M-Instruct, quantised: a sound model that all checks pass, and that no damage to a matrix passes."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

import atlas
from atlas.guard.verification import read_foreign, verify_foreign
from atlas.pool.facts import Fact
from atlas.ttt.ask_base import knows
from atlas.ttt.editors.trace_columns import KINDS, POSITIONS
from atlas.ttt.editors.tracer import Tracer, fact_case
from tests.base.test_adopt import adopted

UP = "model.layers.15.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def foreign(smollm2):
    return read_foreign(smollm2)


def failures(certificate):
    return {check.name: check.tensors for check in certificate.checks if not check.passed}


def test_a_sound_model_gives_no_false_alarm(foreign):
    certificate = verify_foreign(foreign)
    assert failures(certificate) == {}
    words = "272 tensors of 134,515,008 numbers; GGUF: 210 as Q4_1, 61 as F32, 1 as Q8_0"
    assert foreign.words.startswith(f"llama, {words}")
    assert foreign.blueprint.tied
    aligned = next(check for check in certificate.checks if check.name == "aligned")
    assert (aligned.measured or 0) > 100  # 296; the limit is 5


def test_one_matrix_of_random_numbers_is_named(foreign):
    values = torch.randn(foreign.tensors[UP].shape, generator=torch.Generator().manual_seed(0)) * 0.02
    found = failures(verify_foreign(replace(foreign, tensors={**foreign.tensors, UP: values})))
    assert found == {"aligned": [UP], "spectrum": [UP]}


def test_what_transformers_loads_is_what_the_file_holds(smollm2):
    model = AutoModelForCausalLM.from_pretrained(smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32)
    assert atlas.verify(model, smollm2, trained=False).passed
    with torch.no_grad():
        model.get_parameter(UP)[0, 0] += 1
    with pytest.raises(atlas.GuardError, match=f"loaded .*{UP}"):
        atlas.verify(model, smollm2, trained=False)


def fact(country, capital, template="geography/capital"):
    prompt = f"The capital of {country} is"
    return Fact(country, "taught", "geography", template, prompt, capital, (), country, prompt.index(country))


@pytest.fixture(scope="module")
def base(smollm2, tmp_path_factory):
    """The model as a base, certified."""
    return adopted(smollm2, tmp_path_factory.mktemp("adopted") / "base", validation=0.4)


def test_as_a_base_it_knows_what_it_knew(base):
    facts = [fact("France", "Paris"), fact("Portugal", "Lisbon"), fact("Mongolia", "Paris"), fact("Atlasia", "Grubel")]
    assert list(knows(base, facts, "test").values()) == [True, True, False, False]


def test_what_it_knows_of_a_subject_comes_back_with_the_subject(base):
    case = fact_case(fact("Portugal", "Lisbon"), "test", base.text)
    traced = Tracer(base, samples=2, noise=0.3, window=6, seed=0).trace(case)
    assert traced.clean > 0.3
    assert traced.corrupted < 0.5 * traced.clean
    hidden = traced.effects[KINDS.index("hidden"), :, POSITIONS.index("subject_last")]
    end = traced.effects[KINDS.index("hidden"), :, POSITIONS.index("prompt_last")]
    assert hidden[0] > 0.5 * (traced.clean - traced.corrupted)  # early on it is all at the subject,
    assert end[-1] > 0.9 * (traced.clean - traced.corrupted)  # and at the end all where the answer is given
