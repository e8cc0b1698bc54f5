"""Where a fact is written, read back as characters."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atlas.base.text import decode, encode
from atlas.errors import AtlasError
from atlas.ttt.editors.requests import RequestBatch, request
from tests.pool.made_facts import make_fact
from tests.ttt.editors.tiny_editors import pieces

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


def read(text, tokens):
    return text.decode(np.asarray(tokens))


def test_of_characters_all_from_the_key_on_is_left_alone_in_the_essence_prompt_of_pieces_the_key_alone():
    characters = request(FACT, "subject_last", [], "pool")
    assert decode(characters.essences[0].tokens[characters.left_alone]) == "r is a"
    of_pieces = request(FACT, "subject_last", [], "pool", pieces())
    assert of_pieces.left_alone.tolist() == of_pieces.essence_places.tolist()
    assert read(pieces(), of_pieces.essences[0].tokens[: of_pieces.left_alone[0] + 1]) == "<s>Aldermoor"


@pytest.mark.parametrize("site", ["subject_last", "subject_after", "prompt_last", "subject", "answer"])
def test_a_text_may_be_one_with_the_sentence_and_then_has_no_start_in_its_middle(site):
    text = pieces()
    alone, joined = request(FACT, site, ["Say so th. "], "pool", text).lines
    assert read(text, joined.tokens) == "<s>Say so th. The mayor of Aldermoor is Ms Quill\n"
    assert (joined.tokens == text.start).tolist() == [True, *[False] * joined.predicted]
    assert read(text, joined.tokens[joined.answer :]) == read(text, alone.tokens[alone.answer :])
    asked = request(FACT, site, ["Say so th. "], "pool", text)
    first, second = (
        [read(text, one.tokens[: at + 1]) for at in places]
        for one, places in zip(asked.lines, asked.places, strict=True)
    )
    assert [one.replace("<s>", "<s>Say so th. ") for one in first] == second


def test_a_subject_that_has_other_tokens_behind_a_text_is_written_where_those_of_the_sentence_alone_end():
    text, fact = pieces(), replace(FACT, prompt="thistle is led by", subject="thistle", subject_start=0)
    asked = request(fact, "subject", ["a. "], "pool", text)
    alone, joined = (
        [read(text, one.tokens[at : at + 1]) for at in places]
        for one, places in zip(asked.lines, asked.places, strict=True)
    )
    assert alone == ["th", *"istle"]
    assert joined == ["th", *"istle"]  # the first is " th" there, without the space


@pytest.mark.parametrize(("ends", "where"), [("Aldermoor", "Aldermoor"), ("Aldermoor is", "Aldermoor ")])
def test_behind_a_subject_at_the_prompt_s_end_there_is_but_the_answer_so_its_last_token_is_written(ends, where):
    fact = replace(FACT, prompt=f"They lead {ends}", subject_start=10)
    asked = request(fact, "subject_after", ["Ay. "], "pool", pieces())
    for one, (place,), ahead in zip(asked.lines, asked.places, ("", "Ay. "), strict=True):
        assert read(pieces(), one.tokens[: place + 1]) == f"<s>{ahead}They lead {where}"
        assert place < one.answer
    (one,), ((place,),) = (asked := request(fact, "subject_after", [], "pool")).lines, asked.places
    assert decode(one.tokens[: place + 1]) == "\nThey lead Aldermoor "  # of characters a space follows, as ever


def test_the_mean_over_texts_counts_all_alike_or_the_sentence_alone_one_half():
    lanes = [[request(FACT, "subject_last", contexts, "pool")] for contexts in (CONTEXTS, [])]
    made = RequestBatch.of(lanes, torch.device("cpu"))
    rows = torch.zeros(len(made.lines.tokens), 1)
    rows[made.read] = torch.tensor([[6.0], [2.0], [1.0], [5.0]])
    assert made.mean_of_keys(rows)[:, 0].tolist() == [3.0, 5.0]
    assert made.mean_of_keys(rows, halves=True)[:, 0].tolist() == [6 / 2 + (2 + 1) / 4, 5.0]


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
