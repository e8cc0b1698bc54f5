"""One token per character, and errors that name the character and its place."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.base.text import CHARACTERS, NEWLINE, SYMBOLS, decode, encode, gap
from atlas.errors import AtlasError


def test_there_are_96_symbols():
    assert len(set(SYMBOLS)) == len(SYMBOLS) == 96
    assert SYMBOLS[NEWLINE] == "\n"
    assert all(symbol.isprintable() for symbol in SYMBOLS if symbol != "\n")


@given(st.text(alphabet=SYMBOLS))
def test_every_text_comes_back(text):
    tokens = encode(text)
    assert tokens.dtype == np.uint8
    assert tokens.shape == (len(text),)
    assert decode(tokens) == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("To be,\nor n\u00f6t", "play.txt: character 'ö' (U+00F6) at line 2, column 5"),
        ("caf\u00e9 \u4e2d", "play.txt: character 'é' (U+00E9) at line 1, column 4"),
        ("\U0001f600", "play.txt: character '😀' (U+1F600) at line 1, column 1"),
        ("a\tb", "play.txt: character '\\t' (U+0009) at line 1, column 2"),
        ("one\ntwo\r\n", "play.txt: character '\\r' (U+000D) at line 2, column 4"),
        ("\x7f", "play.txt: character '\\x7f' (U+007F) at line 1, column 1"),
    ],
)
def test_other_characters_are_named_with_their_place(text, complaint):
    with pytest.raises(AtlasError, match=re.escape(complaint)) as error:
        encode(text, "play.txt")
    assert "\n" not in str(error.value)


def test_a_token_that_is_no_symbol_cannot_be_read():
    with pytest.raises(IndexError):
        decode([96])


@pytest.mark.parametrize(
    ("prompt", "between"),
    [
        ("The capital of Peru is", " "),
        ("The code of room 12:", " "),
        ("Who wrote it?", " "),
        ("It lies in 1492", " "),
        ("The dogs'", " "),
        ('She says "yes"', " "),
        ('The motto is "', ""),
        ("The motto is '", ""),
        ("The name (", ""),
        ('"', ""),
        ("The capital is ", ""),
        ("Das Buch zu „Faust“", " "),
        ("Das Buch heißt „", ""),
        ("Son nom est «", ""),
        ("»Faust« von", " "),
        ("수도는", " "),
        ("法国的首都是", ""),
        ("法国的首都是\N{FULLWIDTH COLON}", ""),
        ("法国的首都是:", " "),
        ("他生于1990", ""),
        ("红楼梦”的作者是「", ""),
        ("日本の首都は", ""),
        ("コーヒー", ""),
        ("人々", ""),
        ("が", ""),
        ("เมืองหลวงของไทยคือ", ""),
        ("ເມືອງຫຼວງແມ່ນ", ""),
        ("The word for water in Chinese is", " "),
        ("我的手机是iPhone", " "),
        ("Столица Перу —", " "),
        ("राजधानी है", " "),
        ("1 + 1 =", " "),
    ],
)
def test_what_stands_between_a_prompt_and_its_answer(prompt, between):
    assert gap(prompt) == between


def test_a_sentence_begins_with_the_opening_of_its_prompt():
    for prompt, text in (("The motto is", "The motto is Go on"), ('The motto is "', 'The motto is "Go on')):
        found = CHARACTERS.sentence(prompt, "Go on", "t")
        assert decode(found.tokens) == f"\n{text}\n"
        assert decode(found.behind) == "Go on\n"
        np.testing.assert_array_equal(found.tokens[: found.answer], CHARACTERS.opening(prompt, "t"))
        first, last = CHARACTERS.span(prompt, 4, 9)
        assert decode(found.tokens[first : last + 1]) == "motto"
