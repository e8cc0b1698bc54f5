"""Scores: against a plain computation and real greedy decoding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.base.text import CHARACTERS, decode, encode
from atlas.errors import AtlasError
from atlas.ttt.engine import scoring
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import batch, line
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import score, together
from tests.ttt.tiny_ttt import make_ending_model, make_facts, make_model

CPU = torch.device("cpu")
LINES = [
    line("The code of the vault is", "K7", "t"),
    line("Who?", "Me and you", "t"),
    line("A longer prompt", "x", "t"),
]


def of_characters(forward):
    """A function in place of a model that reads characters."""
    forward.text = CHARACTERS
    return forward


def plain_nll(model, prompt: str, answer: str) -> tuple[float, float, float]:
    """Sentence nats per character, answer nats per character, answer nats in all: character by character."""
    text = f"{prompt} {answer}\n"
    known = encode("\n" + text).astype(np.int64)
    losses = []
    for i in range(1, len(known)):
        logits = model(torch.from_numpy(known[None, :i]))[0, -1]
        losses.append(-logits.log_softmax(-1)[known[i]].item())
    tail = losses[-len(answer) - 1 :]
    return float(np.mean(losses)), float(np.mean(tail)), float(np.sum(tail))


def greedy(model, prompt: str, most: int) -> str:
    known = list(encode(f"\n{prompt} "))
    start = len(known)
    while len(known) - start < most and (len(known) == start or decode(known[-1:]) != "\n"):
        known.append(int(model(torch.tensor([known], dtype=torch.int64))[0, -1].argmax()))
    return decode(known[start:])


def test_a_line_keeps_prompt_answer_and_line_end():
    one = line("A b", "cd", "t")
    assert decode(one.tokens) == "\nA b cd\n"
    assert decode(one.tokens[one.answer :]) == "cd\n"
    assert one.predicted == 7


def test_a_batch_marks_targets_answers_lines_and_lanes():
    rows = batch([[line("A", "bc", "t")], [line("Abc", "d", "t"), line("A", "b", "t")]], CPU)
    assert decode(rows.tokens.numpy()) == "\nA bc\nAbc d\nA b"
    assert rows.targets.tolist() == [*encode("A bc\n"), *encode("Abc d\nA b\n")]
    assert rows.answers.int().tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1]
    assert rows.positions.tolist() == [*range(5), *range(6), *range(4)]
    assert rows.lanes == rows.asked == (5, 10)
    assert rows.lengths.tolist() == [5, 6, 4]


def test_packed_lines_are_what_each_is_alone(model):
    rows = batch([LINES], CPU)
    together = LaneModel(model).logits(rows).split(rows.lengths.tolist())
    for one, logits in zip(LINES, together, strict=True):
        alone = model(torch.from_numpy(one.tokens[None, :-1].astype(np.int64)))[0]
        torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-5)


def test_gradients_flow_through_packed_attention_as_through_padded():
    """Every weight of the model gets the gradient that it gets from each line alone."""
    packed, plain = (make_model().requires_grad_(True) for _ in range(2))
    rows = batch([LINES], CPU)
    LaneModel(packed).logits(rows).square().sum().backward()
    for one in LINES:
        plain(torch.from_numpy(one.tokens[None, :-1].astype(np.int64))).square().sum().backward()
    expected = dict(plain.named_parameters())
    for name, parameter in packed.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=2e-3, rtol=1e-4)


def test_a_character_without_a_token_is_named():
    with pytest.raises(AtlasError, match=r"pool.tsv: character 'é' \(U\+00E9\) at line 1, column 4"):
        line("Café", "x", "pool.tsv")


def test_scores_are_the_plain_computation(model):
    found = score(LaneModel(model), [LINES], CPU)
    for i, (prompt, answer) in enumerate([("The code of the vault is", "K7"), ("Who?", "Me and you")]):
        nll, answer_nll, _ = plain_nll(model, prompt, answer)
        assert found.nll[0, i] == pytest.approx(nll, abs=1e-5)
        assert found.answer_nll[0, i] == pytest.approx(answer_nll, abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_recall_is_real_greedy_decoding(seed):
    """Answers are what the model decodes, or that with one character changed, so both outcomes occur."""
    model = make_model(seed)
    with torch.no_grad():
        model.head[0] += 0.1 * seed  # more or fewer early line ends
    answers, expected = [], []
    for prompt in ("The code is", "Q", "My dog is called"):
        decoded = greedy(model, prompt, most=5)
        end = decoded.endswith("\n")
        text = decoded.rstrip("\n") or "x"
        changed = text[:-1] + ("a" if text[-1] != "a" else "b")
        for answer in (text, changed, text + "z"):
            answers.append(line(prompt, answer, "t"))
            expected.append(greedy(model, prompt, most=len(answer) + 1) == answer + "\n")
        assert end or len(decoded) == 5
    assert score(LaneModel(model), [answers], CPU).recalled[0].tolist() == expected


def test_recall_sees_a_model_that_knows():
    """A model that always continues 'ab\\n' recalls 'ab' and nothing else."""
    nxt = {" ": "a", "a": "b", "b": "\n"}

    @of_characters
    def knowing(tokens, *_):
        logits = torch.zeros(*tokens.shape, 96)
        for i, token in enumerate(tokens):
            after = nxt.get(decode([int(token)]))
            if after:
                logits[i, int(encode(after)[0])] = 9
        return logits

    lines = [line("Q", answer, "t") for answer in ("ab", "a", "abb", "b", "ab ")]
    found = score(LaneModel(knowing), [lines], CPU)
    assert found.recalled[0].tolist() == [True, False, False, False, False]
    assert found.answered[0].tolist() == [True, True, False, False, False]  # "a" comes first, and then something else


def test_passes_do_not_change_scores(model, monkeypatch):
    lanes = [[line("p" * (i % 7 + 1), "a" * (i % 5 + 1), "t") for i in range(23)]] * 2
    adapters = Adapters.attach(model, ["q"], [2, 2], 2)
    adapters.bind(torch.randn(2, adapters.parameters, generator=torch.Generator().manual_seed(0)))
    whole = score(adapters, lanes, CPU)
    monkeypatch.setattr(scoring, "TOKENS_PER_PASS", {"cpu": 40})
    cut = score(adapters, lanes, CPU)
    np.testing.assert_allclose(whole.nll, cut.nll, atol=1e-5)
    assert (whole.recalled == cut.recalled).all()


@given(st.lists(st.lists(st.integers(1, 2000), max_size=9), min_size=1, max_size=4))
@settings(max_examples=40)
def test_every_item_is_in_one_pass(lanes):
    seen: list[list[int]] = [[] for _ in lanes]
    for lane, column in together(lanes, CPU, 96):
        assert lane.tolist() == sorted(lane)
        assert len(lane)
        for i, j in zip(lane, column, strict=True):
            seen[i].append(int(j))
    assert [sorted(columns) for columns in seen] == [list(range(len(lane))) for lane in lanes]


def test_an_alias_is_as_right_as_the_answer():
    """What greedy decoding gives, as the answer, as an alias, and as the beginning of neither."""
    model, prompts = make_ending_model(), [prompt for fact in make_facts(14) for prompt in fact.prompts]
    said = {prompt: greedy(model, prompt, most=24) for prompt in prompts}
    whole = {prompt: text[:-1] for prompt, text in said.items() if text.endswith("\n") and len(text) > 1}
    open_ended = {prompt: text for prompt, text in said.items() if not text.endswith("\n")}
    assert len(whole) > 2
    assert len(open_ended) > 2
    asked = [
        (prompt, aliases) for prompt in (*whole, *open_ended) for aliases in ((), ("no", said[prompt].rstrip("\n")))
    ]
    lines = [line(prompt, "zz", "t", aliases=aliases) for prompt, aliases in asked]
    found = score(LaneModel(model), [lines], CPU)
    assert found.recalled[0].tolist() == [prompt in whole and bool(aliases) for prompt, aliases in asked]
    assert found.answered[0].tolist() == [bool(aliases) for _, aliases in asked]
