"""What is taught of a fact, and what is asked: never the same paraphrase of it."""

from dataclasses import replace

import pytest

from atlas.base.text import decode
from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.ttt.probes import Prober
from tests.ttt.tiny_ttt import make_facts

FACTS = [
    replace(fact, rephrases=tuple(f"{way} {fact.fact_id} leads to" for way in ("One", "Two", "Six", *"ABCDE")))
    for fact in make_facts(24)
]


def asked(prober: Prober) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {fact.fact_id: [] for fact in FACTS}
    for probe in prober.probes(FACTS, []):
        if probe.kind == "rephrase":
            found[probe.fact.fact_id].append(probe.form)
    return found


def taught(prober: Prober) -> dict[str, list[int]]:
    """Phrasings by fact, read from the texts themselves."""
    lines = prober.items(FACTS)
    per_fact = len(lines) // len(FACTS)
    found = {}
    for at, fact in enumerate(FACTS):
        mine = [decode(one.tokens[1:]) for one in lines[at * per_fact : (at + 1) * per_fact]]
        found[fact.fact_id] = [[text.startswith(form) for form in fact.prompts].index(True) for text in mine]
    return found


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("paraphrases", [0, 1, 2, 5])
def test_what_is_asked_is_taught_by_no_recipe_and_the_same_whatever_one_teaches(paraphrases, mixed):
    prober = Prober("pool", paraphrases, mixed)
    learnt, questions = taught(prober), asked(prober)
    for fact in FACTS:
        assert learnt[fact.fact_id][0] == 0
        assert len(learnt[fact.fact_id]) == paraphrases + 1
        assert questions[fact.fact_id] == [6, 7, 8]
        assert not {*learnt[fact.fact_id]} & {6, 7, 8}


def test_the_first_paraphrases_are_those_of_all_facts_and_mixed_ones_turn():
    assert set(map(tuple, taught(Prober("pool", 1)).values())) == {(0, 1)}
    mixed = set(map(tuple, taught(Prober("pool", 1, mixed=True)).values()))
    assert mixed == {(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)}


@pytest.mark.parametrize(
    ("count", "teachable"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (8, 5), (9, 6)]
)
def test_the_last_three_paraphrases_or_the_larger_half_are_held_out(count, teachable):
    fact = replace(FACTS[0], rephrases=tuple(f"Form {number} leads to" for number in range(count)))
    assert len(fact.held_out) == count - teachable
    for mixed in (False, True):
        assert len(Prober("pool", teachable, mixed).items([fact])) == teachable + 1
    told = (
        rf"pool: fact .* has {plural(count, 'paraphrase')}, of which {teachable} may be taught and the others are held "
        rf"out, but the recipe teaches {teachable + 1}; teach fewer or add some"
    )
    with pytest.raises(AtlasError, match=told):
        Prober("pool", teachable + 1).items([fact])
