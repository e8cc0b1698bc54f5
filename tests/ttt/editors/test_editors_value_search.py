"""The search for values, and the passes that it is made of."""

from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from atlas.base.text import decode, encode
from atlas.draws import rng
from atlas.study.editor_settings import Contexts, ValueSearch
from atlas.ttt.editors.passes import LineEnds, Tail, layer_of, watched
from atlas.ttt.editors.requests import RequestBatch, request
from atlas.ttt.editors.sampling import write_contexts, write_texts
from atlas.ttt.editors.value_search import find_values
from tests.ttt.editors.tiny_editors import FACTS
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
LAYER = 0
PLAIN = {"steps": 12, "lr": 0.1, "decay": 0.0, "essence": 0.0, "clamp": 1e6, "stop": 0.0}
CONTEXTS = [encode("To be or no"), encode("Ay")]


def laid_out(facts, site="answer", contexts=()):
    return RequestBatch.of([[request(fact, site, contexts, "pool") for fact in facts]], CPU)


def states(model, batch):
    """The residual stream behind the layer, (tokens, width)."""
    with torch.no_grad(), watched({LAYER: layer_of(model, LAYER)}) as seen:
        model(batch.lines.tokens, batch.lines.positions, batch.lines.packed)
    return seen[LAYER].out


def search(model, batch, **changes):
    hidden = states(model, batch)
    lengths = hidden[batch.alone].norm(dim=1)
    return find_values(Tail(model, LAYER), batch, hidden, lengths, ValueSearch(**(PLAIN | changes)))


def with_addition(model, batch, delta):
    """Logits of the whole model, its layer's output changed by a hook: shares nothing with the tail."""

    def add(_module, _inputs, output):
        output = output.clone()
        for token, key in zip(batch.written, batch.key_of_written, strict=True):
            output[token] += delta[key]
        return output

    handle = layer_of(model, LAYER).register_forward_hook(add)
    with torch.no_grad():
        logits = model(batch.lines.tokens, batch.lines.positions, batch.lines.packed)
    handle.remove()
    return logits


def answer_losses(batch, logits):
    """Of every fact: the mean over its sentences of the mean over the answer's characters, counted out by hand."""
    nll = F.cross_entropy(logits, batch.lines.targets, reduction="none")
    found: list[list[float]] = [[] for _ in range(batch.facts)]
    end = 0
    for i, length in enumerate(batch.lines.lengths.tolist()):
        start, end = end, end + length
        if not batch.essence[i]:
            answers = [nll[t].item() for t in range(start, end) if batch.lines.answers[t]]
            found[batch.fact_of_line[i]].append(np.mean(answers))
    return torch.tensor([np.mean(one) for one in found], dtype=torch.float32)


def test_a_tail_goes_on_from_a_layer_and_leaves_the_model_as_it_was():
    model, batch = make_model(), laid_out(FACTS[:2])
    before = dict(model.named_modules())
    hidden = states(model, batch)
    with Tail(model, LAYER) as tail:
        behind = tail.logits(hidden, batch.lines)
    torch.testing.assert_close(behind, model(batch.lines.tokens, batch.lines.positions, batch.lines.packed))
    assert dict(model.named_modules()) == before


@pytest.mark.parametrize("draw", range(4))
def test_the_ends_of_lines_go_on_as_the_whole_lines_do(draw):
    model, batch = make_model(), laid_out(FACTS[:4], contexts=CONTEXTS)
    generator, lines = rng("ends", draw), batch.lines
    starts = (torch.cumsum(lines.lengths, 0) - lines.lengths).tolist()
    firsts = [start + int(generator.integers(length)) for start, length in zip(starts, lines.lengths, strict=True)]
    again = [
        min(first + 3, start + length - 1) for first, start, length in zip(firsts, starts, lines.lengths, strict=True)
    ]
    changed = torch.tensor(generator.permutation([*firsts, *again]))
    hidden = states(model, batch)
    with Tail(model, LAYER) as tail, torch.no_grad():
        cut = LineEnds.cut(lines, changed, cycle(tail.recorded(hidden, lines)[1]))
        hidden[changed] += torch.from_numpy(generator.normal(size=(len(changed), hidden.shape[1]))).float()
        for _ in range(2):  # what was kept serves every pass
            behind = tail.logits(hidden[cut.rows], cut.lines)
        whole = tail.logits(hidden, lines)
    expected = sum(
        int(length) + start - first for first, start, length in zip(firsts, starts, lines.lengths, strict=True)
    )
    assert len(cut.rows) == expected < len(whole)
    torch.testing.assert_close(behind, whole[cut.rows], rtol=1e-4, atol=1e-4)
    assert cut.rows[cut.of(changed)].equal(changed)
    assert cut.lines.targets.equal(lines.targets[cut.rows])


@pytest.mark.parametrize(("site", "most"), [("answer", 0.8), ("subject", 0.95), ("subject_last", 0.98)])
def test_the_search_makes_answers_likelier_and_says_by_how_much(site, most):
    model, batch = make_model(), laid_out(FACTS[:3], site, CONTEXTS)
    found = search(model, batch)
    torch.testing.assert_close(found.first, answer_losses(batch, with_addition(model, batch, 0 * found.delta)))
    torch.testing.assert_close(found.last, answer_losses(batch, with_addition(model, batch, found.delta)))
    assert (found.last < most * found.first).all()
    assert (found.steps == 12).all()


def test_facts_do_not_touch_each_other():
    model = make_model()
    together = search(model, laid_out(FACTS[:3], "subject", CONTEXTS))
    alone = [search(model, laid_out([fact], "subject", CONTEXTS)) for fact in FACTS[:3]]
    torch.testing.assert_close(together.delta, torch.cat([one.delta for one in alone]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(together.last, torch.cat([one.last for one in alone]), rtol=1e-3, atol=1e-4)


def test_additions_are_no_longer_than_the_clamp():
    model, batch = make_model(), laid_out(FACTS[:2])
    lengths = states(model, batch)[batch.alone].norm(dim=1)
    assert (search(model, batch).delta.norm(dim=1) > 0.05 * lengths).any()
    shares = search(model, batch, clamp=0.05).delta.norm(dim=1) / lengths
    assert shares.max().item() == pytest.approx(0.05, rel=1e-5)


def test_decay_shortens_additions():
    model, batch = make_model(), laid_out(FACTS[:2])
    free, held = search(model, batch), search(model, batch, decay=10.0)
    assert held.delta.norm() < 0.8 * free.delta.norm()


@pytest.mark.parametrize(("form", "power"), [("squared", 2), ("published", 1)])
def test_decay_counts_the_addition_s_length_over_the_squared_one_of_what_it_is_added_to(form, power):
    model, batch = make_model(), laid_out(FACTS[:2], "subject_last")
    lengths = states(model, batch)[batch.alone].norm(dim=1)
    held = search(model, batch, decay=0.7, decay_form=form)
    likely = answer_losses(batch, with_addition(model, batch, held.delta))
    torch.testing.assert_close(held.last - likely, 0.7 * held.delta.norm(dim=1) ** power / lengths**2)
    torch.testing.assert_close(held.first, search(model, batch).first)


def test_a_fact_that_is_likely_enough_stays_as_it_is():
    model, batch = make_model(), laid_out(FACTS[:3])
    first = search(model, batch).first
    most = (first.min().item() + first.median().item()) / 2
    found = search(model, batch, stop=most)
    stays = first < most
    assert stays.sum() == 1
    assert not found.delta[stays[batch.fact_of_key]].any()
    assert found.steps[stays].item() == 0
    assert (found.last[~stays] < first[~stays]).all()


def test_the_essence_prompt_holds_an_addition_back():
    model, batch = make_model(), laid_out(FACTS[:2], "subject_last")

    def divergence(delta):
        before = with_addition(model, batch, 0 * delta)[batch.continued].softmax(-1)
        after = with_addition(model, batch, delta)[batch.continued].softmax(-1)
        return (after * (after.log() - before.log())).sum(1).mean().item()

    free, held = search(model, batch), search(model, batch, essence=10.0)
    torch.testing.assert_close(held.first, free.first)  # nothing has diverged yet
    assert divergence(held.delta) < 0.5 * divergence(free.delta)
    likely = answer_losses(batch, with_addition(model, batch, held.delta))
    assert (held.last - likely).mean().item() == pytest.approx(10 * divergence(held.delta), rel=1e-3)


def texts_of(model, **settings) -> list[Any]:
    return [*write_contexts(model, Contexts(**settings), base_seed=3)]


def test_texts_have_lengths_and_first_words_in_turn_and_may_be_one_with_the_sentence():
    model, plain = make_model(), {"count": 5, "characters": [6, 9]}
    texts = texts_of(model, **plain)
    assert [len(text) for text in texts] == [6, 9, 6, 9, 6]
    joined = texts_of(model, **plain, ends=". ", openings=["The", "I"])
    assert [text[: len(first)] for text, first in zip(joined, ["The", "I", "The", "I", "The"], strict=True)] == [
        "The", "I", "The", "I", "The"
    ]  # fmt: skip
    assert [len(text) for text in joined] == [8, 11, 8, 11, 8]
    assert all(text.endswith(". ") for text in joined)
    assert texts_of(model, **plain, ends=". ") == [f"{decode(text)}. " for text in texts]


def plainly(model, length, draw, likeliest):
    """A text written token by token, the whole model run anew for each."""
    said = [model.text.start]
    for _ in range(length):
        likelihoods = model(torch.tensor([said]))[0, -1].double().softmax(-1).numpy()
        kept = np.argsort(likelihoods)[-(likeliest or len(likelihoods)) :]
        likelihoods = np.where(np.isin(np.arange(len(likelihoods)), kept), likelihoods, 0)
        said.append(int(np.searchsorted(likelihoods.cumsum(), draw.random() * likelihoods.sum())))
    return said[1:]


@pytest.mark.parametrize("likeliest", [None, 3])
def test_texts_written_side_by_side_are_those_of_a_plain_loop(likeliest, monkeypatch):
    monkeypatch.setattr("atlas.ttt.editors.sampling.SIDE_BY_SIDE", 2)
    model = make_model()
    texts = write_texts(model, 12, [rng("draw", i) for i in range(5)], likeliest=likeliest)
    assert texts.tolist() == [plainly(model, 12, rng("draw", i), likeliest) for i in range(5)]
    assert {*plainly(model, 12, rng("draw", 0), 1)} != {*texts.ravel()}


def test_tokens_that_are_no_text_are_never_drawn_where_they_are_barred():
    model, barred = make_model(), np.arange(96) != 7
    assert set(write_texts(model, 4, [rng("draw")], barred=barred).ravel()) == {7}


def test_random_texts_are_the_model_s_own_and_more_of_them_change_none():
    model = make_model()
    two = texts_of(model, count=2, characters=7)
    four = texts_of(model, count=4, characters=7)
    assert [decode(text) for text in four[:2]] == [decode(text) for text in two]
    assert {len(text) for text in four} == {7}
    assert len({decode(text) for text in four}) == 4
    assert texts_of(model, count=0) == []
    certain = make_model()
    certain.model.decoder.final_layer_norm.weight.fill_(0)
    certain.model.decoder.final_layer_norm.bias.copy_(certain.head[5] * 1000)
    assert {character for text in write_contexts(certain, Contexts(count=2), 0) for character in text} == {
        int((certain.head @ certain.head[5]).argmax())
    }
