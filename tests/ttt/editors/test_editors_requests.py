"""Where a fact is written, read back as characters."""

from dataclasses import replace

import numpy as np
import pytest

from atlas.base.text import decode, encode
from atlas.errors import AtlasError
from atlas.ttt.editors.requests import request
from tests.pool.made_facts import make_fact

FACT = make_fact("Aldermoor", subject="Aldermoor", subject_start=13)  # The mayor of Aldermoor is / Ms Quill
CONTEXTS = [encode("To be or no"), encode("Ay")]


def behind(line, places):
    """The text up to and with each place: what the model has read where the key is taken."""
    return [decode(line.tokens[: place + 1]) for place in places]


@pytest.mark.parametrize(
    ("site", "texts"),
    [
        ("subject_last", ["The mayor of Aldermoor"]),
        ("subject_after", ["The mayor of Aldermoor "]),
        ("prompt_last", ["The mayor of Aldermoor is"]),
        ("subject", [f"The mayor of {'Aldermoor'[:n]}" for n in range(1, 10)]),
        ("answer", [f"The mayor of Aldermoor is {'Ms Quill'[:n]}" for n in range(9)]),
    ],
)
def test_a_site_is_these_characters_of_the_sentence_alone_and_behind_every_text(site, texts):
    asked = request(FACT, site, CONTEXTS, "pool")
    assert asked.keys == len(texts)
    for line, ahead in zip(asked.lines, ("", "\nTo be or no", "\nAy"), strict=True):
        where = asked.places[[len(one.tokens) for one in asked.lines].index(len(line.tokens))]
        assert behind(line, where) == [f"{ahead}\n{text}" for text in texts]
        assert decode(line.tokens) == f"{ahead}\nThe mayor of Aldermoor is Ms Quill\n"
        assert decode(line.tokens[line.answer :]) == "Ms Quill\n"


@pytest.mark.parametrize(
    ("site", "texts"),
    [
        ("subject_last", ["\nAldermoor"]),
        ("subject_after", ["\nAldermoor "]),
        ("prompt_last", ["\nAldermoor is a"]),
        ("subject", [f"\n{'Aldermoor'[:n]}" for n in range(1, 10)]),
    ],
)
def test_a_site_in_the_essence_prompt(site, texts):
    asked = request(FACT, site, [], "pool")
    (essence,) = asked.essences
    assert behind(essence, asked.essence_places) == texts
    assert decode(essence.tokens) == "\nAldermoor is a\n"
    assert essence.answer == len(essence.tokens)


def test_the_answer_is_in_no_essence_prompt():
    assert request(FACT, "answer", [], "pool").essences == ()


def test_an_essence_prompt_opens_with_a_capital_as_every_prompt_does():
    fact = replace(FACT, prompt="Old town is led by", subject="old town", subject_start=0)
    asked = request(fact, "subject_last", [], "pool")
    assert decode(asked.essences[0].tokens) == "\nOld town is a\n"
    assert behind(asked.lines[0], asked.places[0]) == ["\nOld town"]


@pytest.mark.parametrize("site", ["subject", "subject_last", "subject_after"])
def test_a_site_in_the_subject_needs_one_and_says_where_from(site):
    with pytest.raises(AtlasError, match=rf"^mine.csv: fact {FACT.fact_id} has no subject.*'{site}'.*column 'subject'"):
        request(make_fact(), site, [], "mine.csv")


@pytest.mark.parametrize("site", ["answer", "prompt_last"])
def test_other_sites_do_without_a_subject(site):
    asked = request(make_fact(), site, CONTEXTS, "mine.csv")
    np.testing.assert_array_equal(asked.places, request(FACT, site, CONTEXTS, "mine.csv").places)
    assert asked.essences == ()
