"""What a prompt resembles, tried on the built-in facts: their paraphrases, and questions that have nothing to do."""

import re

import numpy as np
import pytest

from atlas.guard.foreign_text import ENGLISH
from atlas.memory.likeness import differing, nearest
from atlas.pool.builtin import read_facts
from atlas.study.pool_settings import SHARES
from tests.test_house import PACKAGE


@pytest.fixture(scope="module")
def drawn():
    facts = read_facts(SHARES)
    return [facts[at] for at in np.random.default_rng(0).permutation(len(facts))]


@pytest.mark.parametrize("count", [1, 3, 30, 200])
def test_paraphrases_resemble_their_prompts_and_other_sentences_do_not(drawn, count):
    assert ENGLISH
    sentences = re.split(r"(?<=[.?!])\s+", (PACKAGE / "guard" / "english.txt").read_text().replace("\n", " "))
    others = [sentence for sentence in sentences if 20 < len(sentence) < 90][:40]
    near, right, strange = [], [], []
    for first in range(0, 200 if count < 200 else 1, max(10, count)):
        taught = drawn[first : first + count]
        prompts = [fact.prompt for fact in taught]
        for place, fact in enumerate(taught[:10]):
            found = [nearest(prompt, prompts) for prompt in fact.rephrases[-3:]]
            near += [one.resembles for one in found]
            right += [one.place == place for one in found]
        strange += [nearest(sentence, prompts).resembles for sentence in others[:10]]
    assert np.mean(near) > 0.9
    assert np.mean(right) > 0.85
    assert np.mean(strange) < 0.1


def test_the_same_words_are_nearest_of_all():
    found = nearest("the CAPITAL of Peru is", ["The capital of Chile is", "The capital of Peru is"])
    assert (found.place, found.resembles) == (1, True)
    assert found.degree == pytest.approx(1)


def test_other_alphabets_are_compared_too():
    assert nearest("столица Перу это город", ["столица Чили это", "столица Перу это"]).place == 1
    assert not nearest("秘鲁的首都是", ["столица Перу это"]).resembles
    assert nearest("秘鲁的首都是", ["秘鲁的首都是"]).resembles


def test_nothing_is_near_where_nothing_is_taught():
    assert not nearest("anything", []).resembles
    assert not nearest("???", ["The capital of Peru is"]).resembles


def test_words_that_differ_are_told_in_their_order():
    assert differing("The capital of Chile is", "of Peru the capital was") == (["chile", "is"], ["peru", "was"])
