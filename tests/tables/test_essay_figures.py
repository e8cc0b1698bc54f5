"""The uncertainty of the essay's figures: against published examples, scipy, and a plain regression."""

import numpy as np
import pytest
from scipy import stats

from atlas.tables import ledger
from atlas.tables.intervals import wilson
from atlas.tables.ledger import Combined, Measure, slope_weights, weighted_sum

BOOK = ledger.read()
CLAIMS = {claim.id: claim for claim in BOOK.all_claims if isinstance(claim, Combined)}


@pytest.mark.parametrize("place", [("qv", 30, "taught", "all"), ("ffn", 100, "taught", "identity")])
def test_a_figure_has_wilsons_interval(place):
    figure = BOOK.figure_of[place]
    found = ledger.share(figure)
    expected = stats.binomtest(figure.hits, figure.of).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((figure.hits / figure.of, *expected))


def test_eight_of_fifteen_reach_from_30_to_75_percent():
    found = ledger.share(BOOK.figure_of["qv", 100, "rephrase", "all"])
    assert (round(found.low, 2), round(found.high, 2)) == (0.30, 0.75)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 20), 0.6791, 1.0)],
)
def test_a_difference_has_the_interval_of_newcombes_table(a, b, low, high):
    """Newcombe, Interval estimation for the difference between independent proportions, 1998, table II, method 10."""
    parts = [Measure(hits / of, *wilson(hits / of, of)) for hits, of in (a, b)]
    found = weighted_sum([1, -1], parts)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_a_sum_of_one_is_the_part_itself_and_signs_turn_it_over():
    part = Measure(0.3, 0.1, 0.4)
    assert weighted_sum([1], [part]) == part
    turned = weighted_sum([-2], [part])
    assert (turned.value, turned.low, turned.high) == pytest.approx((-0.6, -0.8, -0.2))


def test_the_weights_of_a_slope_are_those_of_a_line_through_the_facts():
    sizes, hits = [90, 33, 6, 2], [90, 30, 3, 0]
    facts = [(np.log10(of), rank < kept) for of, kept in zip(sizes, hits, strict=True) for rank in range(of)]
    line = stats.linregress([x for x, _ in facts], [float(y) for _, y in facts])
    shares = [kept / of for of, kept in zip(sizes, hits, strict=True)]
    assert slope_weights(sizes) @ np.array(shares) == pytest.approx(line.slope)


def test_domains_of_one_size_have_no_slope():
    assert np.isnan(slope_weights([5, 5, 5])).all()


def published(name: str) -> Measure:
    found = ledger.published(CLAIMS[name], BOOK)
    assert found
    return found


def test_the_essays_own_order_at_30_sessions_is_within_its_noise_and_at_100_is_not():
    near, far = (published(f"attention_ahead_{sessions}") for sessions in (30, 100))
    assert near.low < 0 < near.value == pytest.approx(2 / 90)
    assert far.low > 0
    assert far.value == pytest.approx(16 / 300)


def test_the_widening_of_the_gap_is_the_difference_of_the_gaps():
    found = published("gap_widens")
    assert found.value == pytest.approx(16 / 300 - 2 / 90)
    assert found.low < 0


def test_what_the_essay_prints_no_figure_for_has_none():
    assert ledger.published(CLAIMS["middle_ahead_30"], BOOK) is None
    assert ledger.published(CLAIMS["random_base_turns_order"], BOOK) is None


def test_the_slope_of_the_essay_is_steep_under_ffn_and_none_under_qv():
    steep, flat = published("rare_fail_ffn"), published("even_under_qv")
    assert steep.low > 0.2
    assert flat.value == pytest.approx(0)
