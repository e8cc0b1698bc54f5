"""What is taught of a fact, and what is asked: never the same paraphrase of it."""

import pytest

from atlas.base.text import decode
from atlas.errors import AtlasError
from atlas.ttt.probes import Prober
from tests.ttt.tiny_ttt import make_facts

FACTS = make_facts(24)
ALTERNATIVES = {fact.fact_id: ["one", "two"] for fact in FACTS}


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
@pytest.mark.parametrize("paraphrases", [0, 1, 2])
def test_what_is_asked_was_not_taught_of_the_fact(paraphrases, mixed):
    prober = Prober(ALTERNATIVES, "pool", paraphrases, mixed)
    learnt, questions = taught(prober), asked(prober)
    for fact in FACTS:
        assert learnt[fact.fact_id][0] == 0
        assert len(learnt[fact.fact_id]) == paraphrases + 1
        assert sorted(learnt[fact.fact_id][1:] + questions[fact.fact_id]) == [1, 2, 3]


def test_the_first_paraphrases_are_those_of_all_facts_and_mixed_ones_turn():
    assert set(map(tuple, taught(Prober(ALTERNATIVES, "pool", 1)).values())) == {(0, 1)}
    mixed = set(map(tuple, taught(Prober(ALTERNATIVES, "pool", 1, mixed=True)).values()))
    assert mixed == {(0, 1), (0, 2), (0, 3)}


def test_a_fact_without_a_paraphrase_left_to_ask_is_refused():
    with pytest.raises(AtlasError, match=r"pool: fact .* has 3 paraphrases, but the recipe teaches 3, so none is left"):
        Prober(ALTERNATIVES, "pool", 3).items(FACTS)
