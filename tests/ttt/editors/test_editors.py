"""What an editor leaves behind: keys with their values, other lanes as they were, a state to go on from."""

from collections import namedtuple
from copy import deepcopy

import numpy as np
import pytest
import torch

from atlas.errors import AtlasError
from atlas.ttt.editors import memit, requests, rome
from atlas.ttt.editors.covariance import key_moments
from atlas.ttt.editors.memit import null_basis
from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lanes import base_weights
from atlas.ttt.engine.lines import line
from atlas.ttt.engine.scoring import score
from atlas.ttt.resume import packed, unpacked
from tests.ttt.editors.tiny_editors import FACTS, METHODS, edited, editor, theta, windows
from tests.ttt.tiny_ttt import make_model

Shown = namedtuple("Shown", "keys values hidden")
CPU = torch.device("cpu")
PATH = "model.decoder.layers.{}.fc2"
every_method = pytest.mark.parametrize("method", METHODS)


def close(one, other):
    """Alike but for float32 rounding, which the search and badly conditioned moments let grow."""
    np.testing.assert_allclose(one, other, rtol=1e-2, atol=2e-3 * np.abs(other).max())


def losses(one, facts):
    """Nats a character of each lane's answers, (lanes, facts)."""
    lines = [[line(fact.prompt, fact.answer, "pool") for fact in lane] for lane in facts]
    one.edits.bind(theta(one))
    return score(one.edits, lines, CPU).answer_nll


def reading(one, facts, slot, mean=False):
    """What one lane's facts show at an edited matrix: at keys of the sentence alone, or means over all texts."""
    (batch,) = one.batches([facts])
    seen = one.read(theta(one), batch)
    at = batch.mean_of_keys if mean else lambda rows: rows[batch.alone]
    return Shown(at(seen.keys[slot]), at(seen.values[slot]), at(seen.hidden))


@pytest.fixture
def additions(monkeypatch):
    """The additions of every search from now on, (keys, width)."""
    found = []

    def noting(search):
        def noted(*arguments):
            found.append(search(*arguments))
            return found[-1]

        return noted

    for module in (rome, memit):
        monkeypatch.setattr(module, "find_values", noting(module.find_values))
    return found


@pytest.mark.parametrize("site", ["answer", "subject", "subject_last", "subject_after", "prompt_last"])
def test_after_rome_the_sentence_s_own_keys_have_exactly_their_values(site, additions):
    one = editor("rome", site=site)
    before = reading(one, FACTS[:1], 0)
    one.edit([FACTS[:1]])
    after = reading(one, FACTS[:1], 0)
    assert len(after.keys) == {"answer": 4, "subject": 8}.get(site, 1)
    torch.testing.assert_close(after.values, before.values + additions[0].delta, rtol=1e-3, atol=1e-3)


def test_after_r_rome_the_averaged_keys_have_exactly_their_values(additions):
    one = editor("r_rome", contexts={"count": 3, "characters": 5})
    before = reading(one, FACTS[:1], 0)
    one.edit([FACTS[:1]])
    after = reading(one, FACTS[:1], 0, mean=True)
    torch.testing.assert_close(after.values, before.values + additions[0].delta, rtol=1e-3, atol=1e-3)


def test_r_rome_is_rome_where_the_averaged_key_is_the_key():
    shared = {"contexts": {"count": 0}, "layer": 1}
    close(edited("rome", [FACTS[:2]], **shared), edited("r_rome", [FACTS[:2]], **shared))
    shared = {"contexts": {"count": 2}, "layer": 1}
    assert not np.allclose(edited("rome", [FACTS[:1]], **shared), edited("r_rome", [FACTS[:1]], **shared), rtol=0.1)


@every_method
def test_no_facts_change_nothing(method):
    one = editor(method, lanes=2)
    before = packed(one.state)
    effort = one.edit([[], []])
    after = packed(one.state)
    assert all(np.array_equal(after[name], array) for name, array in before.items())
    assert not one.state.theta.any()
    assert np.isnan(effort.last).all()


@every_method
def test_an_edit_makes_answers_likelier_and_is_no_edit_of_the_base(method):
    model = make_model()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    one = editor(method, model=model)
    facts = [FACTS[:2]]
    before = losses(one, facts)
    effort = one.edit(facts)
    after = losses(one, facts)
    assert (after < before - 0.1).all()
    assert effort.last < effort.first
    assert all(torch.equal(tensor, base[name]) for name, tensor in base_weights(model).items())
    one.edits.bind(None)
    tokens = torch.from_numpy(windows(2).astype(np.int64))
    torch.testing.assert_close(model(tokens), make_model()(tokens))


@every_method
def test_a_lane_gets_what_it_would_get_alone(method):
    sessions = [FACTS[:2], [], FACTS[2:3], FACTS[4:7]], [FACTS[7:], FACTS[:1], [], FACTS[3:4]]
    together = edited(method, *sessions)
    for lane, (first, second) in enumerate(zip(*sessions, strict=True)):
        close(together[lane], edited(method, [first], [second])[0])


@every_method
def test_a_lane_without_facts_stays_as_it_is(method):
    one = editor(method, lanes=2)
    one.edit([FACTS[:2], FACTS[2:4]])
    before = deepcopy(one.state)
    one.edit([FACTS[4:5], []])
    for name in ("theta", "written"):
        np.testing.assert_array_equal(getattr(one.state, name)[1], getattr(before, name)[1])
    assert not np.array_equal(one.state.theta[0], before.theta[0])


@every_method
def test_passes_of_another_size_give_the_same(method, monkeypatch):
    lanes = [FACTS[:3], FACTS[3:5]]
    whole = edited(method, lanes)
    monkeypatch.setitem(requests.TOKENS_PER_PASS, "cpu", 150)
    close(edited(method, lanes), whole)


@every_method
def test_a_state_that_was_saved_goes_on_as_if_nothing_had_happened(method):
    through = editor(method)
    through.edit([FACTS[:2]])
    fresh = editor(method)
    fresh.state = unpacked(type(through.state), packed(through.state))
    for one in (through, fresh):
        one.edit([FACTS[2:4]])
    first, second = packed(through.state), packed(fresh.state)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_memit_gives_the_last_layer_the_wanted_outputs_where_the_corpus_weighs_nothing(additions):
    one = editor("memit", covariance_weight=1e-6, contexts={"count": 0})
    before = reading(one, FACTS[:1], -1)
    one.edit([FACTS[:1]])
    after = reading(one, FACTS[:1], -1)
    torch.testing.assert_close(after.hidden, before.hidden + additions[0].delta, rtol=2e-2, atol=2e-2)


def test_memit_s_first_matrix_takes_its_share_of_what_is_missing(additions):
    one = editor("memit", covariance_weight=1e-6, contexts={"count": 0})
    keys = reading(one, FACTS[:1], 0).keys
    one.edit([FACTS[:1]])
    first, _ = one.edits.updates(theta(one))
    torch.testing.assert_close(keys @ first[0], additions[0].delta / 2, rtol=1e-2, atol=1e-2)


def test_memit_s_key_is_one_half_of_the_sentence_alone(additions):
    one = editor("memit", layers=[1], covariance_weight=1e-6, contexts={"count": 3, "characters": 5})
    (batch,) = one.batches([FACTS[:1]])
    keys = batch.mean_of_keys(one.read(theta(one), batch).keys[0], halves=True)
    one.edit([FACTS[:1]])
    (update,) = one.edits.updates(theta(one))
    torch.testing.assert_close(keys @ update[0], additions[0].delta, rtol=1e-2, atol=1e-2)


@every_method
@pytest.mark.parametrize("broken", [torch.nan, 1e38])
def test_an_edit_of_no_finite_numbers_is_left_out_in_its_lane_and_counted(method, broken, monkeypatch):
    """The second fact of the first lane is spoilt: one of the second turn of ROME, one of four of the others' edit."""
    turns = "rome" in method
    sound = edited(method, [FACTS[:1] if turns else [], FACTS[2:4]])
    module, searches = (rome, iter([-1, 0])) if turns else (memit, iter([1]))
    search = module.find_values

    def spoilt(*arguments):
        one = search(*arguments)
        one.delta[arguments[1].fact_of_key == next(searches)] = broken
        return one

    monkeypatch.setattr(module, "find_values", spoilt)
    one = editor(method, lanes=2)
    effort = one.edit([FACTS[:2], FACTS[2:4]])
    assert effort.unwritten.tolist() == [[not turns, True], [False, False]]
    close(theta(one).numpy(), sound)
    assert one.state.written.isfinite().all()


def editor_after(method, **changes):
    one = editor(method, **changes)
    one.edit([FACTS[:2]])
    return one


def test_a_heavier_corpus_holds_memit_back():
    norms = [theta(editor_after("memit", covariance_weight=weight)).norm() for weight in (1.0, 100.0, 10000.0)]
    assert norms[0] > norms[1] > norms[2] > 0


def test_alphaedit_does_not_touch_what_the_corpus_uses():
    one = editor("alphaedit", lanes=2)
    one.edit([FACTS[:2], FACTS[2:4]])
    moments = key_moments(make_model(), windows())
    for slot, update in zip(one.edits.slots, one.edits.updates(theta(one)), strict=True):
        basis = null_basis(moments[slot.site.path], 0.3)
        used = torch.linalg.eigh(moments[slot.site.path]).eigenvectors[:, basis.shape[1] :].T
        assert update.abs().max() > 1e-3
        torch.testing.assert_close(
            used @ update.double(), torch.zeros(2, *used.shape[:1], update.shape[2]).double(), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("method", ["memit_looking_back", "alphaedit"])
def test_looking_back_sums_the_keys_of_all_facts_under_the_edited_model(method):
    one = editor(method)
    sums = np.zeros(one.state.written[0].shape, np.float32)
    for facts in (FACTS[:2], FACTS[2:3]):
        one.edit([facts])
        for index in range(len(one.edits.slots)):
            keys = reading(one, facts, index, mean=True).keys.numpy()
            sums[index] += sum(np.outer(key, key) for key in keys)
    np.testing.assert_allclose(one.state.written[0], sums, rtol=1e-4, atol=1e-4)


def test_a_fact_written_before_moves_less_where_the_editor_looks_back():
    after = {}
    for method in ("memit", "memit_looking_back"):
        one = editor(method, covariance_weight=1.0, value={"steps": 20, "lr": 0.1, "decay": 0.0})
        one.edit([FACTS[:1]])
        first = losses(one, [FACTS[:1]])
        for fact in FACTS[1:4]:
            one.edit([[fact]])
        after[method] = losses(one, [FACTS[:1]]) - first
    assert after["memit_looking_back"] < after["memit"]


def test_edits_are_named_by_their_matrices_for_saving():
    one = editor_after("memit")
    named = one.edits.named(theta(one))
    assert {name: tuple(tensor.shape) for name, tensor in named.items()} == {
        f"{PATH.format(layer)}.update": (1, 64, 32) for layer in (0, 1)
    }
    model = make_model()
    for layer, update in enumerate(named.values()):
        model.get_parameter(f"{PATH.format(layer)}.weight").add_(update[0].T)
    tokens = torch.from_numpy(windows(2).astype(np.int64))
    one.edits.bind(theta(one))
    torch.testing.assert_close(one.edits.model(tokens), model(tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", [[2], [1, 0], [0, 0]])
def test_layers_that_do_not_exist_or_do_not_rise_are_refused(layers):
    with pytest.raises(AtlasError, match=r"editor: layers .*, expected some of 0 to 1, rising, each once"):
        Full.attach(make_model(), ["down"], layers)
