"""The rules, at their edges."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.tables import verdicts
from atlas.tables.ledger import Measure
from atlas.workflow.digest import definitions_of

NAN = math.nan


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (65_536, "reproduced"),
        (64_001, "reproduced"),
        (65_999, "reproduced"),
        (66_000, "contradicted"),
        (0, "contradicted"),
    ],
)
def test_a_count_may_be_rounded_or_cut_but_no_more(measured, verdict):
    assert verdicts.exact(measured, 65_000, within=1000) == verdict


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.0, -0.05, 0.05, "reproduced"),
        (0.04, 0.01, 0.07, "reproduced"),  # it differs, but by too little to matter
        (0.04, -0.02, 0.10, "unresolved"),  # may matter
        (0.09, 0.01, 0.17, "unresolved"),  # differs, perhaps by little
        (0.11, 0.01, 0.21, "unresolved"),  # so does this, though its middle lies beyond
        (0.15, 0.11, 0.19, "contradicted"),
        (-0.15, -0.19, -0.11, "contradicted"),
        (-0.11, -0.21, -0.01, "unresolved"),
        (-0.6, -0.9, -0.3, "contradicted"),
        (0.0, -0.5, 0.5, "unresolved"),
        (0.0, NAN, NAN, "unresolved"),
    ],
)
def test_a_difference_that_should_be_none(value, low, high, verdict):
    assert verdicts.near(Measure(value, low, high), margin=0.1) == verdict
    assert verdicts.near(Measure(-value, -high, -low), margin=0.1) == verdict  # whichever way


@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0.001, 0.5))
def test_what_is_reproduced_would_be_at_a_wider_margin_and_what_is_contradicted_at_a_narrower(value, half, margin):
    narrow, wide = (verdicts.near(Measure(value, value - half, value + half), at) for at in (margin, 2 * margin))
    assert narrow != "reproduced" or wide == "reproduced"
    assert wide != "contradicted" or narrow == "contradicted"


def test_a_figure_is_vague_where_its_interval_is_wider_than_the_margin_to_both_sides():
    assert verdicts.vague(Measure(0.9, 0.7, 1.0), margin=0.149)
    assert not verdicts.vague(Measure(0.9, 0.7, 1.0), margin=0.151)


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.5, 0.4, 0.6, "reproduced"),  # more is welcome
        (0.0, -0.09, 0.5, "reproduced"),
        (0.0, -0.11, 0.11, "unresolved"),
        (-0.2, -0.3, -0.11, "contradicted"),
    ],
)
def test_what_should_not_fall_short(value, low, high, verdict):
    assert verdicts.near(Measure(value, low, high), 0.1, one_sided=True) == verdict


def test_next_to_nothing_is_measured_by_what_there_is():
    slight = Measure(-0.01, -0.02, -0.001)
    assert verdicts.near(slight, margin=0.1) == "reproduced"
    assert verdicts.near(slight, margin=0.005) == "unresolved"
    assert verdicts.near(slight, margin=0.0005) == "contradicted"
    assert verdicts.near(Measure(0.0, 0.0, 0.0), margin=0.0) == "unresolved"  # nothing is kept by either


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "verdict"),
    [
        (0.1, 0.01, 0.2, 0.04, "reproduced"),
        (0.1, 0.01, 0.2, 0.05, "unresolved"),
        (0.1, -0.01, 0.2, 0.04, "unresolved"),
        (-0.1, -0.2, -0.01, 0.04, "contradicted"),
        (-0.1, -0.2, -0.01, 0.06, "unresolved"),
        (0.1, NAN, NAN, 0.04, "unresolved"),
    ],
)
def test_an_order_needs_its_interval_and_its_test(value, low, high, p, verdict):
    said, why = verdicts.above(Measure(value, low, high), p, attainable=0.01)
    assert said == verdict
    assert bool(why) == (verdict == "unresolved")


def test_too_few_seeds_say_so():
    said, why = verdicts.above(Measure(0.5, 0.4, 0.6), p_adjusted=0.125, attainable=0.125)
    assert said == "unresolved"
    assert "too few seeds" in why


def test_an_edit_of_the_rules_makes_the_ledger_anew():
    assert "RULES" in definitions_of("atlas.page.prose")["atlas.tables.verdicts"]
