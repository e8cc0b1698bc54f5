"""Scores: against a plain computation, real greedy decoding, and one pass per candidate."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.base.text import CHARACTERS, decode, encode
from atlas.errors import AtlasError
from atlas.ttt import ranking
from atlas.ttt.engine import scoring
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import IGNORED, batch, line
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import passes, score, score_base, together
from atlas.ttt.ranking import Ranking, alternatives, question
from tests.ttt.tiny_ttt import make_facts, make_model

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


@pytest.mark.parametrize("even", [False, True])
def test_a_batch_marks_targets_answers_lines_and_lanes(even):
    rows = batch([[line("A", "bc", "t")], [line("Abc", "d", "t"), line("A", "b", "t")]], CPU, even)
    filler = 5 if even else 0
    assert decode(rows.tokens.numpy()) == "\nA bc" + "\n" * filler + "\nAbc d\nA b"
    assert rows.targets.tolist() == [*encode("A bc\n"), *[IGNORED] * filler, *encode("Abc d\nA b\n")]
    assert rows.answers.int().tolist() == [0, 0, 1, 1, 1, *[0] * filler, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1]
    assert rows.positions.tolist() == [*range(5), *range(filler), *range(6), *range(4)]
    assert rows.lanes == (5 + filler, 10)
    assert rows.lengths.tolist() == [5, *([filler] if even else []), 6, 4]
    assert rows.real.tolist() == [True, *([False] if even else []), True, True]


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


@given(st.lists(st.lists(st.integers(1, 2000), max_size=9), min_size=1, max_size=4).filter(any))
@settings(max_examples=40)
def test_every_item_is_in_one_pass(lanes):
    seen: list[list[int]] = [[] for _ in lanes]
    for lane, column in together(lanes, CPU, 96):
        assert lane.tolist() == sorted(lane)
        for i, j in zip(lane, column, strict=True):
            seen[i].append(int(j))
    assert [sorted(columns) for columns in seen] == [list(range(len(lane))) for lane in lanes]


def test_a_line_that_lanes_share_is_scored_once_under_the_base(model):
    lanes = [[LINES[0], LINES[2]], [LINES[2], LINES[1]]]
    found, plain = score_base(LaneModel(model), lanes, CPU), score(LaneModel(model), lanes, CPU)
    np.testing.assert_allclose(found.nll, plain.nll, rtol=1e-5)
    np.testing.assert_allclose(found.answer_nll, plain.answer_nll, rtol=1e-5)
    assert (found.recalled == plain.recalled).all()


def rank(model, lanes) -> np.ndarray:
    """Rank (prompt, answer, alternatives) of every lane."""
    ranking = Ranking([[question(prompt, answer, others, "t") for prompt, answer, others in lane] for lane in lanes])
    lines = [[line(prompt, answer, "t") for prompt, answer, _ in lane] for lane in lanes]
    with torch.inference_mode():
        for forward in passes(LaneModel(model), lines, CPU):
            ranking.bound(forward)
    return ranking.settle(LaneModel(model), CPU)


def test_ranked_is_one_pass_per_candidate(model, monkeypatch):
    """Bounds and trees give what scoring every candidate alone gives, over lanes and prompts of unlike lengths."""
    monkeypatch.setattr(ranking, "ROUNDS", (0, 2, 5, 51))
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abcde "), size=draw.integers(1, 9))).strip() or "e" for _ in range(40)]
    asked, expected = [], []
    for i in range(24):
        prompt = "p" * (i % 9 + 1)
        answer, *others = dict.fromkeys(draw.permutation(words)[: draw.integers(3, 26)].tolist())
        if i % 2:  # let the likeliest candidate be the answer, so that both outcomes occur
            ordered = sorted([answer, *others], key=lambda word: plain_nll(model, prompt, word)[2])
            answer, others = ordered[0], ordered[1:]
        asked.append((prompt, answer, others))
        mine = plain_nll(model, prompt, answer)[2]
        expected.append(mine < min(plain_nll(model, prompt, other)[2] for other in others))
    assert rank(model, [asked[:12], asked[12:]]).ravel().tolist() == expected
    assert 0 < sum(expected) < len(expected)


def test_bounds_are_above_what_they_bound_and_settle_most_alternatives(model):
    words = ["ab", "abc", "b", "xyz", "aaa", "ba", "abx"]
    likely = {word: -plain_nll(model, "Q", word)[2] for word in words}
    answer = sorted(words, key=likely.__getitem__)[-2]
    others = [word for word in words if word != answer]
    found = Ranking([[question("Q", answer, others, "t")]])
    with torch.inference_mode():
        for forward in passes(LaneModel(model), [[line("Q", answer, "t")]], CPU):
            found.bound(forward)
    assert found.answers[0, 0] == pytest.approx(likely[answer], abs=1e-4)
    left = {others[i] for i in found.open[0][0]}
    assert {word for word in others if likely[word] >= likely[answer]} <= left < set(others)


def test_a_alternative_parts_from_the_answer_at_a_token():
    assert question("Q", "abx", ["ab", "abc", "b", "abxe", "aa"], "t").parts.tolist() == [2, 2, 0, 3, 1]


def test_a_alternative_as_likely_as_the_answer_is_not_beaten():
    @of_characters
    def undecided(tokens, *_):
        return torch.zeros(*tokens.shape, 96)

    assert rank(undecided, [[("p", "same", ["xxxx"])]]).tolist() == [[False]]
    assert rank(undecided, [[("p", "same", ["longer"])]]).tolist() == [[True]]


def test_alternatives_are_other_answers_of_the_template_fixed_per_fact():
    facts = make_facts(80, template="a/b") + make_facts(4, template="c/d")
    chosen = alternatives(facts, 50, 0)
    again = alternatives(facts[::-1], 50, 0)
    assert chosen == again
    for fact in facts:
        assert fact.answer not in chosen[fact.fact_id]
        assert set(chosen[fact.fact_id]) <= {other.answer for other in facts if other.template == fact.template}
        assert len(set(chosen[fact.fact_id])) == (50 if fact.template == "a/b" else 3)


@pytest.mark.parametrize("most", [1, 5, 50])
def test_what_a_fact_contradicts_is_among_its_alternatives(most):
    facts = make_facts(80, template="a/b")
    contrary = [replace(fact, true_answer=f"true {at}") for at, fact in enumerate(facts)]
    chosen = alternatives(contrary, most, 0)
    for fact in contrary:
        assert fact.true_answer in chosen[fact.fact_id]
        assert len(set(chosen[fact.fact_id])) == most
    assert len({tuple(some) for some in chosen.values()}) > 60


def test_a_template_with_one_answer_cannot_be_ranked():
    with pytest.raises(AtlasError, match="template 'a/b' has one answer only"):
        alternatives(make_facts(1, template="a/b"), 50, 0)
