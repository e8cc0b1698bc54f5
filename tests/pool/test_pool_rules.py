import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.pool import rules, wording
from atlas.pool.facts import PLACEBO, TAUGHT, Unfit, sentence
from atlas.study.jobs import Needs
from atlas.ttt.engine.lines import DECODED
from tests.pool.made_facts import make_fact, make_pool

GOOD = make_fact()
FIRST, SECOND, THIRD = GOOD.rephrases


def said(*facts, **asked):
    return [f"{one.reason}: {one.example}" for one in rules.unfit(facts, rules.Demands(**asked))]


def test_good_facts_break_no_rule():
    assert said(*make_pool(a=6, b=3)) == []


@pytest.mark.parametrize(
    ("changes", "reason", "example"),
    [
        ({"answer": "Ms Qu\u00edll"}, "character that the base cannot read", r"'Ms Qu\u00edll': answer: .*\(U\+00ED\)"),
        (
            {"prompt": "The mayor of Z\u00fcrich is"},
            "character that the base cannot read",
            r"prompt: .*'\u00fc' \(U\+00FC\)",
        ),
        (
            {"rephrases": (FIRST, SECOND, THIRD + "\u2026")},
            "character that the base cannot read",
            r"rephrase 3: .*U\+2026",
        ),
        ({"aliases": ("Ms Qu\u00edll",)}, "character that the base cannot read", r"alias 1: .*U\+00ED"),
        ({"answer": "Ms\tQuill"}, "line break or control character", r"answer 'Ms\\tQuill' has U\+0009"),
        ({"answer": "Ms\nQuill"}, "line break or control character", r"U\+000A"),
        ({"template": "a\u2028b"}, "line break or control character", r"template 'a\\u2028b' has U\+2028"),
        ({"answer": ""}, "empty, or a space at its start or end", "answer ''"),
        ({"answer": " Ms Quill"}, "empty, or a space at its start or end", "answer ' Ms Quill'"),
        ({"prompt": "The mayor of Aldermoor is "}, "empty, or a space at its start or end", "prompt 'The .* is '"),
        ({"aliases": ("Madam", "")}, "empty, or a space at its start or end", "alias 2 ''"),
        ({"answer": "x" * 25}, "answer of more than 24 characters", "answer 'x+' has 25 characters"),
        ({"aliases": ("x" * 25,)}, "answer of more than 24 characters", "alias 1 'x+' has 25 characters"),
        ({"answer": "MAYOR"}, "answer that stands in its prompt", "'MAYOR' in 'The mayor of Aldermoor is'"),
        ({"answer": "hall"}, "answer that stands in its prompt", "'hall' in 'In the town hall,"),
        ({"aliases": ("hall",)}, "answer that stands in its prompt", "'hall' in 'In the town hall,"),
        ({"aliases": ("Madam", "Madam")}, "answer twice among answer and aliases", "'Madam'"),
        ({"aliases": ("Ms Quill",)}, "answer twice among answer and aliases", "'Ms Quill'"),
        ({"rephrases": (FIRST, SECOND, SECOND)}, "prompt twice in a fact", "'In the town hall.*'"),
        ({"rephrases": (FIRST, SECOND, GOOD.prompt)}, "prompt twice in a fact", "'The mayor of Aldermoor is'"),
        ({"rephrases": (FIRST, SECOND, "The head of Aldermoor is")}, "too alike", "1 word changed"),
        ({"rephrases": (FIRST, SECOND, "Is the mayor Aldermoor of")}, "too alike", "2 words changed"),
        ({"rephrases": (FIRST, SECOND, THIRD + " at last" * 10)}, "sentence of more than 120", "has 135 characters"),
        ({"domain": "all"}, "domain 'all', the tables' name for all domains together", ""),
        (
            {"subject": "Bellhaven", "subject_start": 13},
            "subject not in its place",
            "'Bellhaven' is not at character 13",
        ),
    ],
)
def test_each_broken_rule_has_one_reason_and_an_example(changes, reason, example):
    bad = make_fact(**changes)
    found = rules.unfit([*make_pool(a=3), bad])
    assert {one.row for one in found} == {f"fact {bad.fact_id}"}
    assert found[0].reason.removeprefix("paraphrase: ").removeprefix("alias: ").startswith(reason), found
    assert re.search(example, found[0].example), found


def test_a_reason_is_the_same_for_all_facts_that_break_a_rule_alike():
    bad = [make_fact(f"Town{number}", answer=f"Ms Quill {'x' * number}") for number in range(20, 25)]
    assert len({one.reason for one in rules.unfit(bad)}) == 1
    assert len({one.example for one in rules.unfit(bad)}) == 5


@pytest.mark.parametrize(
    ("answer", "prompt", "leaks"),
    [
        ("no", "Is Pluto known as a planet, or not? It is", False),
        ("Peru", "In Peru's capital they speak of", True),
        ("Lima", "The lima bean comes from", True),
        ("3", "In 1931 the number was", False),
        ("+", "The sign in C++ is", True),
        ("\u79d8\u9c81", "\u5229\u9a6c\u662f\u79d8\u9c81\u7684", True),
        ("Z\u00fcrich", "ZU\u0308RICH lies in", True),
        ("", "The capital is", False),
    ],
)
def test_an_answer_leaks_as_words_of_its_own(answer, prompt, leaks):
    assert wording.stands_in(answer, prompt) is leaks


def test_facts_that_ask_the_same_and_answer_otherwise_are_both_named():
    other = make_fact("Bellhaven", answer="Mr Reed", prompt=GOOD.prompt.upper() + ":")
    found = rules.unfit([GOOD, other])
    assert [(one.row, one.example) for one in found] == [
        (
            "fact towns/mayor/aldermoor",
            "'The mayor of Aldermoor is' has 'Ms Quill' here, and 'Mr Reed' in fact towns/mayor/bellhaven",
        ),
        (
            "fact towns/mayor/bellhaven",
            "'THE MAYOR OF ALDERMOOR IS:' has 'Mr Reed' here, and 'Ms Quill' in fact towns/mayor/aldermoor",
        ),
    ]
    assert {one.reason.partition(";")[0] for one in found} == {"prompt with two answers"}
    assert rules.unfit([GOOD, replace(other, aliases=("ms quill",), prompt=other.prompt[:-1] + "?")])[0].reason == (
        "fact that stands twice; keep one"
    )


def test_a_conflict_may_be_between_paraphrases():
    other = make_fact("Bellhaven", answer="Mr Reed")
    other = replace(other, rephrases=(*other.rephrases[:2], GOOD.prompt.lower()))
    any_wording = rules.Demands(different=False)
    assert [one.row for one in rules.unfit([GOOD, other], any_wording)] == [f"fact {f.fact_id}" for f in (GOOD, other)]
    assert rules.unfit([GOOD, replace(other, answer=GOOD.answer)], any_wording) == []


def test_of_a_fact_that_stands_twice_the_second_is_unfit():
    again = replace(GOOD, fact_id="towns/mayor/again", prompt=f"{GOOD.prompt} ".upper().strip())
    assert rules.unfit([GOOD, again]) == [
        Unfit(
            "fact towns/mayor/again",
            "fact that stands twice; keep one",
            "'THE MAYOR OF ALDERMOOR IS', as in fact towns/mayor/aldermoor",
        )
    ]


def test_a_prompt_of_three_facts_names_every_one():
    three = [
        replace(GOOD, fact_id=name, answer=answer) for name, answer in zip("abc", ("Ann", "Ben", "Cid"), strict=True)
    ]
    assert {one.row for one in rules.unfit(three)} == {"fact a", "fact b", "fact c"}


def test_facts_of_one_group_have_one_role():
    twins = [
        make_fact(subject="Aldermoor", subject_start=13, role=TAUGHT),
        make_fact("Bellhaven", subject="ALDERMOOR", subject_start=0, prompt="Aldermoor rose under", role=PLACEBO),
    ]
    assert said(*twins) == [
        "two roles for facts that say the same, or one the other; give both one role: 'Aldermoor rose under' is "
        "placebo, and 'The mayor of Aldermoor is' in fact towns/mayor/aldermoor is taught"
    ]
    assert said(twins[0], replace(twins[1], role=TAUGHT)) == []
    assert said(twins[0], replace(twins[1], template="towns/founder", answer="Mr Reed")) == []


def test_the_same_fact_id_twice():
    other = make_fact("Bellhaven", fact_id=GOOD.fact_id, answer="Mr Reed")
    assert [one.reason.partition(";")[0] for one in rules.unfit([GOOD, other])] == ["fact_id that is there twice"]
    assert [at for at, _ in rules.problems([GOOD, other])] == [1]


@pytest.mark.parametrize(
    ("needs", "bad", "good", "reason"),
    [
        ({"subjects": True}, {}, {"subject": "Aldermoor", "subject_start": 13}, "no subject, which an arm needs"),
        ({"paraphrases": 2}, {}, {"rephrases": ()}, "fewer paraphrases than an arm teaches (2)"),
        ({"paraphrases": 1}, {"rephrases": ()}, {}, "fewer paraphrases than an arm teaches (1)"),
        ({"alternatives": True}, {"template": "alone"}, {"template": "a/old"}, "template with one answer"),
    ],
)
def test_what_arms_need_of_facts_is_a_rule_where_they_need_it(needs, bad, good, reason):
    others = [replace(fact, subject=fact.prompt[13:-3], subject_start=13) for fact in make_pool(a=4)]
    wrong, fit = make_fact(**bad), make_fact(**good)
    found = rules.unfit([*others, wrong], rules.Demands(needs=Needs(**needs)))
    assert [one.reason.startswith(reason) for one in found if one.row == f"fact {wrong.fact_id}"] == [True]
    assert rules.unfit([*others, wrong]) == rules.unfit([*others, fit]) == []
    if "paraphrases" not in needs or needs["paraphrases"] == 1:
        assert rules.unfit([*others, fit], rules.Demands(needs=Needs(**needs))) == []


def test_a_template_may_lose_its_other_answer_to_another_rule():
    pair = [make_fact(answer="Ms Quill"), make_fact("Bellhaven", answer="x" * 30)]
    found = rules.unfit(pair, rules.Demands(needs=Needs(alternatives=True)))
    assert [one.reason.partition(";")[0] for one in found] == [
        "answer of more than 24 characters",
        "template with one answer, where `counterfactual` needs another to teach",
    ]


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
        ("Z\u00fcrich liegt im Kanton", "ZU\u0308RICH LIEGT IM KANTON", 0, False),
        ("\u79d8\u9c81\u7684\u9996\u90fd\u662f", "\u79d8\u9c81\u7684\u57ce\u5e02\u662f", 2, False),
        ("\u79d8\u9c81\u7684\u9996\u90fd\u662f", "\u54ea\u5ea7\u57ce\u5e02\u662f\u79d8\u9c81\u9996\u90fd", 5, True),
        (
            "\u0421\u0442\u043e\u043b\u0438\u0446\u0430 \u041f\u0435\u0440\u0443",
            "\u0413\u043b\u0430\u0432\u043d\u044b\u0439 \u0433\u043e\u0440\u043e\u0434 \u041f\u0435\u0440\u0443",
            2,
            False,
        ),
    ],
)
def test_differing_means_three_words_changed_one_new_and_not_all_in_place(one, other, changed, enough):
    assert wording.changed_words(one, other) == wording.changed_words(other, one) == changed
    assert wording.differ(one, other) is wording.differ(other, one) is enough


words = st.lists(st.sampled_from(["the", "capital", "of", "a", "country", "old", "town"]), min_size=1, max_size=12)


@given(words, st.data())
def test_swapping_one_word_never_makes_a_rephrase(form, data):
    swapped = list(form)
    swapped[data.draw(st.integers(0, len(form) - 1))] = "unseen"
    assert not wording.differ(" ".join(form), " ".join(swapped))


@given(words, words)
def test_changed_words_is_symmetric_and_bounded(one, other):
    a, b = " ".join(one), " ".join(other)
    assert wording.changed_words(a, b) == wording.changed_words(b, a)
    assert abs(len(one) - len(other)) <= wording.changed_words(a, b) <= max(len(one), len(other))


def test_an_answer_is_asked_for_as_far_as_decoding_goes():
    assert rules.MAX_ANSWER_TOKENS == DECODED


def test_the_sentence_limit_counts_the_line_end():
    longest = make_fact(prompt="x" * (rules.MAX_SENTENCE - len(" Ms Quill\n")))
    assert len(sentence(longest.prompt, longest.answer)) == rules.MAX_SENTENCE
    assert not any("characters" in text for text in said(longest))
    assert any("characters" in text for text in said(replace(longest, prompt=longest.prompt + "x")))
