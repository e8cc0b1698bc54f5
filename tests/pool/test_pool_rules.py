import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.pool import rules
from atlas.pool.facts import PLACEBO, TAUGHT, sentence
from tests.pool.made_facts import make_fact, make_pool

GOOD = make_fact()
FIRST, SECOND, THIRD = GOOD.rephrases


def said(*facts):
    return [text for _, text in rules.problems(facts)]


def test_good_facts_break_no_rule():
    assert said(*make_pool(a=6, b=3)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "Ms Qu\u00edll"}, r"answer 'Ms Qu\u00edll' has '\u00ed' \(U\+00ED\); only printable ASCII"),
        ({"answer": "Ms\tQuill"}, r"\(U\+0009\)"),
        ({"answer": "Ms\nQuill"}, r"\(U\+000A\)"),
        ({"prompt": "The mayor of Z\u00fcrich is"}, r"prompt .* has '\u00fc' \(U\+00FC\)"),
        ({"rephrases": (FIRST, SECOND, THIRD + "\u2026")}, r"rephrase 3 .* \(U\+2026\)"),
        ({"answer": ""}, "answer '' is empty"),
        ({"answer": " Ms Quill"}, "space at its start or end"),
        ({"prompt": "The mayor of Aldermoor is "}, "space at its start or end"),
        ({"answer": "x" * 25}, "answer .* has 25 characters, at most 24"),
        ({"answer": "MAYOR"}, "answer 'MAYOR' leaks into 'The mayor of Aldermoor is'"),
        ({"answer": "hall"}, "answer 'hall' leaks into 'In the town hall,"),
        ({"aliases": ("Ms Qu\u00edll",)}, r"alias 1 'Ms Qu\u00edll' has '\u00ed' \(U\+00ED\); only printable ASCII"),
        ({"aliases": ("Madam", "")}, "alias 2 '' is empty"),
        ({"aliases": ("x" * 25,)}, "alias .* has 25 characters, at most 24"),
        ({"aliases": ("hall",)}, "alias 'hall' leaks into 'In the town hall,"),
        ({"aliases": ("Madam", "Madam")}, "'Madam' is there twice among answer and aliases"),
        ({"aliases": ("Ms Quill",)}, "'Ms Quill' is there twice among answer and aliases"),
        ({"rephrases": (FIRST, SECOND, SECOND)}, "'In the town hall.*is there twice"),
        ({"rephrases": (FIRST, SECOND, GOOD.prompt)}, "'The mayor of Aldermoor is' is there twice"),
        ({"rephrases": (FIRST, SECOND, "The head of Aldermoor is")}, "are too alike: 1 word changed"),
        ({"rephrases": (FIRST, SECOND, "Is the mayor Aldermoor of")}, "are too alike"),
        ({"rephrases": (FIRST, SECOND, THIRD + " at last" * 10)}, "has 135 characters, at most 120"),
        ({"domain": "all"}, "the tables' name for all domains together"),
    ],
)
def test_each_broken_rule_is_named(changes, message):
    found = said(make_fact(**changes))
    assert any(re.search(message, text) for text in found), found


def test_a_prompt_that_serves_two_answers():
    other = make_fact("Bellhaven", answer="Mr Reed", prompt=GOOD.prompt)
    assert said(GOOD, other) == [
        "'The mayor of Aldermoor is' serves two answers, 'Ms Quill' and 'Mr Reed'; say which is meant, or where both "
        "are right keep one fact with the other answer in its aliases"
    ]


def test_a_rephrase_that_is_the_prompt_of_another_fact_but_for_case():
    other = make_fact("Bellhaven", answer="Mr Reed")
    other = replace(other, rephrases=(*other.rephrases[:2], GOOD.prompt.upper()))
    assert any("serves two answers" in text for text in said(GOOD, other))


def test_facts_of_one_subject_and_template_have_one_role():
    twins = [
        make_fact(subject="Aldermoor", subject_start=13, role=TAUGHT),
        make_fact("Bellhaven", subject="ALDERMOOR", subject_start=0, prompt="Aldermoor rose under", role=PLACEBO),
    ]
    assert said(*twins) == [
        "subject 'ALDERMOOR' of template 'towns/mayor' is taught in fact towns/mayor/aldermoor and placebo here, where "
        "one may tell the other; give both one role, or each a template of its own"
    ]
    assert said(twins[0], replace(twins[1], role=TAUGHT)) == []
    assert said(twins[0], replace(twins[1], template="towns/founder")) == []
    assert said(*(replace(fact, subject=None, subject_start=None) for fact in twins)) == []


def test_the_same_fact_twice():
    assert any("this fact_id is there twice" in text for text in said(GOOD, GOOD.__class__(**vars(GOOD))))


def test_check_names_file_fact_and_how_many_more():
    with pytest.raises(AtlasError) as caught:
        rules.check([make_fact(answer="x" * 30, rephrases=(FIRST, FIRST))], lambda fact: f"{fact.domain}.tsv")
    assert str(caught.value) == (
        f"towns.tsv: fact towns/mayor/aldermoor: answer {'x' * 30!r} has 30 characters, at most 24; shorten it "
        "(and 1 more problem)"
    )


@pytest.mark.parametrize(
    ("one", "other", "changed", "enough"),
    [
        ("The capital of Peru is", "The capital of Peru is", 0, False),
        ("The capital of Peru is", "The city of Peru is", 1, False),
        ("The capital of Peru is", "The main town of Peru is", 2, False),
        ("The capital of Peru is", "The capital city of Peru now is", 2, False),
        ("The capital of Peru is", "Is the Peru of capital", 3, False),
        ("The capital of Peru is", "The capital in Peru was", 2, False),
        ("The old capital of great Peru is", "The first capital in great Peru was", 3, False),
        ("The capital of Peru is", "Peru has as its capital", 4, True),
        ("The capital of Peru is", "Peru's seat of government stands in", 5, True),
        ("The author of Middlemarch is", "Middlemarch was written by", 4, True),
    ],
)
def test_differing_means_three_words_changed_one_new_and_not_all_in_place(one, other, changed, enough):
    assert rules.changed_words(one, other) == rules.changed_words(other, one) == changed
    assert rules.differ(one, other) is rules.differ(other, one) is enough


words = st.lists(st.sampled_from(["the", "capital", "of", "a", "country", "old", "town"]), min_size=1, max_size=12)


@given(words, st.data())
def test_swapping_one_word_never_makes_a_rephrase(form, data):
    swapped = list(form)
    swapped[data.draw(st.integers(0, len(form) - 1))] = "unseen"
    assert not rules.differ(" ".join(form), " ".join(swapped))


@given(words, words)
def test_changed_words_is_symmetric_and_bounded(one, other):
    a, b = " ".join(one), " ".join(other)
    assert rules.changed_words(a, b) == rules.changed_words(b, a)
    assert abs(len(one) - len(other)) <= rules.changed_words(a, b) <= max(len(one), len(other))


def test_the_sentence_limit_counts_the_line_end():
    longest = make_fact(prompt="x" * (rules.MAX_SENTENCE - len(" Ms Quill\n")))
    assert len(sentence(longest.prompt, longest.answer)) == rules.MAX_SENTENCE
    assert not any("characters" in text for text in said(longest))
    assert any("characters" in text for text in said(replace(longest, prompt=longest.prompt + "x")))
