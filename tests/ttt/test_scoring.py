"""Scores: against a plain computation, real greedy decoding, and one pass per candidate."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.base.text import decode, encode
from atlas.errors import AtlasError
from atlas.ttt import scoring
from atlas.ttt.lines import IGNORED, batch, line
from atlas.ttt.lora import Adapters
from atlas.ttt.ranking import CANDIDATES_PER_ROW, foils, question, ranked
from atlas.ttt.scoring import by_length, score
from tests.ttt.tiny_ttt import make_facts, make_model

CPU = torch.device("cpu")
LINES = [
    line("The code of the vault is", "K7", "t"),
    line("Who?", "Me and you", "t"),
    line("A longer prompt", "x", "t"),
]


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
    assert one.characters == 7


def test_a_batch_marks_targets_answers_and_padding():
    rows = batch([[line("A", "bc", "t")], [line("Abc", "d", "t")]], CPU)
    assert rows.tokens.shape == (2, 6)
    assert decode(rows.tokens[0].numpy()) == "\nA bc\n"
    assert rows.targets[0].tolist() == [*encode("A bc\n"), IGNORED]
    assert rows.answers.int().tolist() == [[0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1]]


def test_a_character_without_a_token_is_named():
    with pytest.raises(AtlasError, match=r"pool.tsv: character 'é' \(U\+00E9\) at line 1, column 4"):
        line("Café", "x", "pool.tsv")


def test_scores_are_the_plain_computation(model):
    found = score(model, [LINES], CPU)
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
    assert score(model, [answers], CPU).recalled[0].tolist() == expected


def test_recall_sees_a_model_that_knows():
    """A model that always continues 'ab\\n' recalls 'ab' and nothing else."""
    nxt = {" ": "a", "a": "b", "b": "\n"}

    def knowing(tokens, *_):
        logits = torch.zeros(*tokens.shape, 96)
        for row, col in np.ndindex(*tokens.shape):
            after = nxt.get(decode([int(tokens[row, col])]))
            if after:
                logits[row, col, int(encode(after)[0])] = 9
        return logits

    lines = [line("Q", answer, "t") for answer in ("ab", "a", "abb", "b", "ab ")]
    assert score(knowing, [lines], CPU).recalled[0].tolist() == [True, False, False, False, False]


def test_passes_do_not_change_scores(model, monkeypatch):
    lanes = [[line("p" * (i % 7 + 1), "a" * (i % 5 + 1), "t") for i in range(23)]] * 2
    Adapters.attach(model, ["q"], [2, 2], 2)
    whole = score(model, lanes, CPU)
    monkeypatch.setattr(scoring, "TOKENS_PER_PASS", 40)
    cut = score(model, lanes, CPU)
    np.testing.assert_allclose(whole.nll, cut.nll, atol=1e-5)
    assert (whole.recalled == cut.recalled).all()


@given(st.lists(st.lists(st.integers(1, 60), min_size=9, max_size=9), min_size=1, max_size=4))
@settings(max_examples=40)
def test_every_item_is_in_one_pass(lanes):
    seen: list[list[int]] = [[] for _ in lanes]
    for columns, items in by_length(lanes, lambda item: item):
        for lane, (column, some) in enumerate(zip(columns, items, strict=True)):
            seen[lane] += column.tolist()
            assert some == [lanes[lane][i] for i in column]
    assert all(sorted(columns) == list(range(9)) for columns in seen)


def test_ranked_is_one_pass_per_candidate(model):
    """The tree gives what scoring every candidate alone gives, over rows, lanes and prompts of unlike lengths."""
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abcde "), size=draw.integers(1, 9))).strip() or "e" for _ in range(40)]
    asked, expected = [], []
    for i in range(24):
        prompt = "p" * (i % 9 + 1)
        answer, *others = dict.fromkeys(draw.permutation(words)[: draw.integers(3, 2 * CANDIDATES_PER_ROW)])
        if i % 2:  # let the likeliest candidate be the answer, so that both outcomes occur
            ordered = sorted([answer, *others], key=lambda word: plain_nll(model, prompt, word)[2])
            answer, others = ordered[0], ordered[1:]
        asked.append(question(prompt, answer, others, "t"))
        mine = plain_nll(model, prompt, answer)[2]
        expected.append(mine < min(plain_nll(model, prompt, other)[2] for other in others))
    found = ranked(model, [asked[:12], asked[12:]], CPU)
    assert found.ravel().tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_a_foil_as_likely_as_the_answer_is_not_beaten(model):
    assert not ranked(model, [[question("p", "same", ["same"], "t")]], CPU).any()


def test_foils_are_other_answers_of_the_template_fixed_per_fact():
    facts = make_facts(80, template="a/b") + make_facts(4, template="c/d")
    chosen = foils(facts, 50, 0)
    again = foils(facts[::-1], 50, 0)
    assert chosen == again
    for fact in facts:
        assert fact.answer not in chosen[fact.fact_id]
        assert set(chosen[fact.fact_id]) <= {other.answer for other in facts if other.template == fact.template}
        assert len(set(chosen[fact.fact_id])) == (50 if fact.template == "a/b" else 3)
    assert len({tuple(some) for some in chosen.values()}) > 60


def test_a_template_with_one_answer_cannot_be_ranked():
    with pytest.raises(AtlasError, match="template 'a/b' has one answer only"):
        foils(make_facts(1, template="a/b"), 50, 0)
