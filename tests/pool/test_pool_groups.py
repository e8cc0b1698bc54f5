"""Facts that say the same, or one the other, are of one group, and a group is never split."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atlas.pool.build import draw
from atlas.pool.facts import PLACEBO, TAUGHT, UNDRAWN, Fact
from atlas.pool.groups import groups
from atlas.study.pool_settings import Pool
from tests.pool.made_facts import make_fact, make_pool

PERU = make_fact(prompt="The capital of Peru is", answer="Lima", rephrases=(), template="own")
OTHERS = [
    replace(fact, prompt=f"The capital of {fact.fact_id[2:]}land is", rephrases=(), template="own")
    for fact in make_pool(a=6)
]


def about(prompt: str, answer: str = "Lima", **changes) -> Fact:
    return replace(PERU, fact_id=prompt, prompt=prompt, answer=answer, **changes)


ABOUT_PERU: dict[str, Any] = {"subject": "Peru", "subject_start": 15}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (PERU, about("Peru's capital is called"), True),
        (PERU, about("the capital, of PERU is:"), True),
        (PERU, about("The seat of government", rephrases=("THE CAPITAL OF PERU IS",)), True),
        (PERU, about("Tacna is a town of Peru; the first is"), True),
        (PERU, about("The capital of Peru was", "Cuzco"), False),
        (PERU, about("The capital of Chile is", "Santiago"), False),
        (PERU, about("The bean that is largest is the one of"), False),
        (PERU, about("Peru's capital is called", template="other"), False),
        (PERU, about("A town on the Rimac is", "LIMA", rephrases=("Peru is ruled from",)), True),
        (
            replace(PERU, **ABOUT_PERU),
            about("People of peru live in", subject="peru", subject_start=10, template="other"),
            True,
        ),
        (replace(PERU, **ABOUT_PERU), about("Anthem of Peru", "Hail", subject="Peru", subject_start=10), True),
        (
            replace(PERU, **ABOUT_PERU),
            about("Anthem of Peru", "Hail", subject="Peru", subject_start=10, template="anthem"),
            False,
        ),
        (
            replace(PERU, prompt="C was written by", answer="Ritchie"),
            about("C++ was written by", "Stroustrup"),
            False,
        ),
        (
            replace(PERU, prompt="\u79d8\u9c81\u7684\u9996\u90fd\u662f"),
            about("\u54ea\u5ea7\u57ce\u5e02\u662f\u79d8\u9c81\u9996\u90fd"),
            True,
        ),
    ],
)
def test_what_makes_a_group(one, other, same):
    found = groups([one, *OTHERS, other])
    assert (found[-1] == found[0] == 0) is same
    assert found[1:-1] == [*range(1, len(OTHERS) + 1)]


def test_groups_join_by_a_third_fact():
    three = [about("Peru's capital is"), about("The Rimac flows through"), about("The Rimac in Peru flows through")]
    assert groups([three[0], three[1], *OTHERS]) == [0, 1, *range(2, len(OTHERS) + 2)]
    assert groups([*three, *OTHERS]) == [0, 0, 0, *range(3, len(OTHERS) + 3)]


def test_a_word_that_facts_with_another_answer_have_tells_nothing():
    lived = [about(f"{name} lives in", town) for name, town in (("Ann", "Lima"), ("Ben", "Lima"), ("Cid", "Oslo"))]
    assert groups(lived) == [0, 1, 2]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2), st.booleans()), min_size=8, max_size=24),
    st.integers(0, 3),
)
def test_no_draw_splits_a_group(drawn, seed):
    """Facts about few subjects, over templates and domains, some of which say their subject."""
    facts = [
        Fact(
            fact_id=str(number),
            role=UNDRAWN,
            domain=f"domain {template % 2}",
            template=f"template {template}",
            prompt=f"Thing{subject} in telling {number} is",
            answer=f"answer {subject}",
            rephrases=(),
            subject=f"Thing{subject}" if says else None,
            subject_start=0 if says else None,
        )
        for number, (subject, template, says) in enumerate(drawn)
    ]
    found = dict(zip([fact.fact_id for fact in facts], groups(facts), strict=True))
    assume(max(Counter(found.values()).values()) < len(facts) / 5)  # or all may be of one side
    roles = {fact.fact_id: fact.role for fact in draw(Pool(source="own.csv", seed=seed), facts)}
    sides = {(group, roles[fact_id]) for fact_id, group in found.items() if fact_id in roles}
    assert len(sides) == len({group for group, _ in sides})
    assert {*roles.values()} == {TAUGHT, PLACEBO}
    assert roles.keys() == found.keys()  # nothing is lost
