"""Asking a memory: in another process, how sure it is, what a prompt resembles, and all that was taught."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.base.model import Transformer
from atlas.memory import asking, store, teaching
from atlas.memory.foundation import LoadedBase
from atlas.pool.facts import Fact
from atlas.study.base_settings import Base
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import line
from atlas.ttt.engine.scoring import passes
from atlas.ttt.recipe import Trainer
from tests.memory.conftest import FACTS, facts
from tests.ttt.tiny_ttt import TINY, make_ending_model

CPU = torch.device("cpu")


def test_another_process_answers(taught):
    command = [sys.executable, "-m", "atlas.cli", "ask", "My dog is called", "--memory", str(taught), "--json"]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert answer["answer"] == "Rex"
    assert answer["ended"]
    assert answer["taught"]
    assert answer["probability"] > 3 * answer["next"]["probability"] > 0
    assert answer["margin"] == pytest.approx(answer["probability"] - answer["next"]["probability"])
    assert answer["nearest"]["answer"] == "Rex"
    assert answer["nearest"]["likeness"] == pytest.approx(1)


@pytest.mark.parametrize(("prompt", "answer"), FACTS.items())
def test_a_taught_prompt_is_answered_in_words(atlas, taught, prompt, answer):
    said, sure, where = atlas("ask", f" {prompt} ", "--memory", taught).splitlines()
    assert said == answer
    assert sure.startswith("probability ")
    assert "the next answer, " in sure
    assert where == "taught by session 1"


def test_a_prompt_like_a_taught_one_is_told_from_it(atlas, taught):
    *_, where = atlas("ask", "The capital of Chile is", "--memory", taught).splitlines()
    assert where == "this prompt was not taught; it resembles 'The capital of Peru is' of session 1: chile for peru"


def test_a_prompt_that_nothing_resembles_is_said_to_be_one(atlas, taught):
    *_, where = atlas("ask", "How long must eggs boil? They boil", "--memory", taught).splitlines()
    assert where.startswith("nothing that was taught resembles this; nearest is '")
    answer = json.loads(atlas("ask", "How long must eggs boil? They boil", "--memory", taught, "--json"))
    assert not answer["resembles"]
    assert not answer["taught"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give one prompt, or --all"),
        (["My dog is called", "--all"], "give one prompt, or --all"),
        ([" "], "expected 2 to 96"),
        (["word " * 40], "the prompt has 201 tokens with the start of a line; expected 2 to 96"),
        (["Caf\u00e9 is"], "U+00E9"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(atlas, taught, options, said):
    assert said in atlas("ask", *options, "--memory", taught, fails=True)


def test_all_facts_are_tested_by_session(atlas, memory, tmp_path):
    row = {
        "prompt": "The mayor of Ulm is",
        "answer": "Ann",
        "rephrases": ["Ulm is led by", "Who leads Ulm? Her name is"],
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    atlas("teach", tmp_path / "mine.jsonl", "--memory", memory)
    first, *_, second, total = atlas("ask", "--all", "--memory", memory).splitlines()
    assert first.startswith("session 1 (20")
    assert first.endswith("): 3 of 3 recalled")
    assert "): 1 of 1 recalled, " in second
    assert second.endswith(" of 1 in other words")  # the first paraphrase might be taught
    assert total == "4 of 4 facts recalled after 2 sessions"


def test_what_is_lost_is_told_since_when_and_what_is_said_instead(atlas, memory):
    record, state = store.read_state(memory, CPU)
    state.learner.theta.zero_()  # as if another session had overwritten it all
    kept = [one.after(2, recalled=False) if number else one for number, one in enumerate(record.facts)]
    record = record.model_copy(update={"facts": kept, "sessions": record.sessions * 2})
    store.write(memory, record, state)
    _, unseen, lost, *_ = atlas("ask", "--all", "--memory", memory).splitlines()
    assert unseen.startswith("  'The capital of Peru is': says '")
    assert unseen.endswith("', taught 'Lima'; recalled since session 1, and no longer")
    assert lost.endswith("; lost since session 2")
    tested = json.loads(atlas("ask", "--all", "--json", "--memory", memory))
    assert tested["recalled"] == 0
    assert [one["lost_since"] for one in tested["facts"]] == [None, 2, 2]


def test_what_teaching_lost_is_said_when_it_is_lost(atlas, memory, monkeypatch):
    real = teaching.Workshop.recalled
    monkeypatch.setattr(
        teaching.Workshop, "recalled", lambda *given: [one and i != 1 for i, one in enumerate(real(*given))]
    )
    printed = atlas("teach", "--fact", "The chief of Rome is", "Bo", "--memory", memory)
    assert "recalled: 1 of 1 new fact, 2 of 3 taught before" in printed
    assert "lost: 'The river of Vienna is the' 'Danube'" in printed


def test_a_memory_of_nothing_says_so(atlas, memory):
    atlas("memory", "forget", *FACTS, "--memory", memory)
    assert atlas("ask", "--all", "--memory", memory) == "0 of 0 facts recalled after 1 session\n"
    assert atlas("ask", "My dog is called", "--memory", memory).splitlines()[-1] == "nothing is taught"
    atlas("teach", *facts(), "--memory", memory)
    assert len(store.read(memory).kept) == 3


def brute(model, prompt, longest):
    """Every answer of up to so many characters before its line end that has a chance, by running each of them."""
    found, going, text = {}, {"": 1.0}, model.text
    for _ in range(longest + 1):
        lines = [line(prompt, said, "", text) for said in going]
        further = {}
        for said, asked in zip(going, lines, strict=True):
            (forward,) = passes(LaneModel(model), [[asked]], CPU)
            chances = forward.logits[-1].double().softmax(-1)
            found[said] = going[said] * float(chances[0])
            for token in chances.topk(12).indices.tolist():
                if token:
                    further[said + text.decode(np.array([token]))] = going[said] * float(chances[token])
        going = dict(sorted(further.items(), key=lambda one: -one[1])[:40])
    return found


def test_probabilities_are_those_of_whole_answers():
    model = make_ending_model()
    workshop = teaching.Workshop(
        LoadedBase(model, Path(), "", Base(model=TINY)),
        store.Manner(targets=["q"], ranks=[1, 1], alpha=1, recipe={"preset": "essay"}, seed=1, base_seed=0),
        CPU,
    )
    state = workshop.begin(Trainer(workshop.adapters, workshop.manner.recipe, CPU))
    assert isinstance(model, Transformer)
    for prompt in ("The mayor of Ulm is", "My dog is called", "The chief is"):
        asked = line(prompt, "", "", model.text)
        workshop.adapters.bind(None)
        (forward,) = passes(workshop.adapters, [[asked]], CPU)
        found, every = asking.likeliest(forward, asked), brute(model, prompt, 3)
        short = {said: chance for said, chance in found.items() if len(said) <= 3}
        for said, chance in short.items():
            assert chance == pytest.approx(every[said], rel=1e-4), said
        answer = asking.ask(workshop, state, prompt)
        assert answer.next_text != answer.text
        if answer.text in short:
            assert answer.probability == pytest.approx(every[answer.text], rel=1e-4)


def test_the_answer_is_what_greedy_decoding_gives(taught):
    workshop = teaching.opened(taught, store.read(taught), None, "cpu", 1)
    record, state = store.read_state(taught, CPU)
    tested = asking.test_all(workshop, record, state)
    for one in tested:
        assert asking.ask(workshop, state, one.fact.fact.prompt).text == one.decoded
    strange = Fact("x", "taught", "own", "own", "Nobody was told that", "this", ())
    changed = record.model_copy(update={"facts": [store.KeptFact(fact=strange, session=1)]})
    (tested_strange,) = asking.test_all(workshop, changed, state)
    assert asking.ask(workshop, state, strange.prompt).text == tested_strange.decoded
    assert not tested_strange.recalled
