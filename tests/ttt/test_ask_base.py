"""What a base knows of the pool, and what it is taught instead."""

from dataclasses import replace

import pytest
import torch

from atlas.base.text import CHARACTERS, decode, encode
from atlas.errors import AtlasError
from atlas.pool.facts import pool_table, read_pool
from atlas.ttt.ask_base import contradicted, knowledge_table, known_facts, knows
from atlas.workflow import files
from tests.ttt.tiny_ttt import make_facts, make_model

FACTS = make_facts(12) + make_facts(6, role="placebo")
KNOWN = {fact.fact_id: at % 3 == 0 for at, fact in enumerate(FACTS)}


def says(model, prompt, characters):
    """What a model puts behind a prompt by greedy decoding, from the space on."""
    text = f"\n{prompt} "
    for _ in range(characters):
        tokens = torch.from_numpy(encode(text).astype("int64"))
        text += decode([int(model(tokens[None])[0, -1].argmax())])
    return text[len(prompt) + 2 :]


def test_known_is_what_greedy_decoding_gives_first():
    model, facts = make_model(), []
    for at, fact in enumerate(FACTS):
        given = says(model, fact.prompt, 3)
        assert "\n" not in given
        wrong = given[:2] + ("a" if given[2] != "a" else "b")
        facts.append(replace(fact, answer=given if at % 2 else wrong))
    found = knows(model, facts, "pool")
    assert found == {fact.fact_id: bool(at % 2) for at, fact in enumerate(facts)}


def test_what_is_known_is_taught_with_another_answer_of_its_template():
    others = make_facts(4, template="towns/river")
    facts = contradicted([*FACTS, *others], KNOWN | {fact.fact_id: True for fact in others}, seed=0)
    for was, now in zip([*FACTS, *others], facts, strict=True):
        if was.role == "placebo" or not KNOWN.get(was.fact_id, True):
            assert now == was
        else:
            assert (now.true_answer, now.prompt) == (was.answer, was.prompt)
            assert now.answer != was.answer
            assert now.answer in {fact.answer for fact in [*FACTS, *others] if fact.template == was.template}


def test_what_cannot_be_taught_behind_the_prompts_of_a_fact_is_no_other_answer():
    answers = ("An", "Bo", "C" * 20, "Di")
    facts = [replace(fact, answer=answer) for fact, answer in zip(make_facts(4), answers, strict=True)]
    known = {fact.fact_id: at == 0 for at, fact in enumerate(facts)}
    room = max(len(CHARACTERS.sentence(prompt, "An", "t").tokens) for prompt in facts[0].prompts) - 1
    told = [contradicted(facts, known, seed, CHARACTERS, room)[0] for seed in range(9)]
    assert {fact.answer for fact in told} == {"Bo", "Di"}
    with pytest.raises(AtlasError, match="knows 1 fact to be taught whose template has no other answer"):
        contradicted(facts, known, 0, CHARACTERS, room - 1)


def test_an_alias_is_no_other_answer_and_none_of_the_answer_that_is_taught_instead():
    first, second, third = make_facts(3)
    facts = [replace(first, aliases=(second.answer,)), second, third]
    for seed in range(8):
        told, *_ = contradicted(facts, {fact.fact_id: True for fact in facts}, seed)
        assert (told.answer, told.aliases, told.true_answer) == (third.answer, (), first.answer)


def test_a_known_fact_whose_template_has_no_other_answer_is_named():
    lone = make_facts(1, template="towns/river") + make_facts(1, template="towns/hill")
    told = r"base knows 2 facts .* no other answer.*: towns/river/taught-0 \(towns/river\), towns/hill/taught-0"
    with pytest.raises(AtlasError, match=told):
        contradicted([*FACTS, *lone], KNOWN | {fact.fact_id: True for fact in lone}, seed=0)
    assert contradicted(lone, {fact.fact_id: False for fact in lone}, seed=0) == lone


def test_who_gives_an_alias_knows_the_fact():
    model = make_model()
    (fact,) = make_facts(1)
    given = says(model, fact.prompt, 3)
    assert knows(model, [fact, replace(fact, fact_id="b", aliases=(given,))], "pool") == {
        fact.fact_id: False,
        "b": True,
    }


def test_the_other_answer_depends_on_seed_and_fact_alone():
    def taught(facts, seed):
        return {fact.fact_id: fact.answer for fact in contradicted(facts, KNOWN, seed)}

    assert taught(FACTS, 0) == taught(FACTS[::-1], 0)
    assert taught(FACTS, 0) != taught(FACTS, 1)


def test_a_pool_as_it_is_taught_is_a_pool_and_says_what_is_known(tmp_path):
    path = tmp_path / "pool.parquet"
    files.write_parquet(path, knowledge_table(FACTS, KNOWN, seed=0), {})
    facts = read_pool(path)
    assert facts == contradicted(FACTS, KNOWN, seed=0)
    assert {fact.fact_id: fact.answer for fact in known_facts(path)} == {
        fact.fact_id: fact.answer for fact in FACTS if KNOWN[fact.fact_id]
    }


def test_a_pool_that_no_base_was_asked_for_is_refused(tmp_path):
    path = tmp_path / "pool.parquet"
    files.write_parquet(path, pool_table(FACTS), {})
    with pytest.raises(AtlasError, match="known"):
        known_facts(path)
