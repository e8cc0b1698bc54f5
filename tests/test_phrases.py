"""Phrases that all messages are made of."""

import pytest

from atlas.phrases import plural


@pytest.mark.parametrize(
    ("words", "said"),
    [((1, "seed"), "1 seed"), ((0, "seed"), "0 seeds"), ((1520, "fact"), "1,520 facts")],
)
def test_a_number_has_its_noun(words, said):
    assert plural(*words) == said


def test_a_verb_goes_with_its_noun():
    assert [plural(number, "file is", "files are") for number in (1, 2)] == ["1 file is", "2 files are"]
