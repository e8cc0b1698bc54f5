"""What a study measures of a claim: slopes and variances by hand, against a regression, and by simulation."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from atlas.draws import rng
from atlas.tables import ledger
from atlas.tables.inference import sign_flip
from atlas.tables.intervals import Sample
from atlas.tables.ledger import ArmCell, Combined, Order, Spread
from atlas.tables.quantities import NotMeasuredError, Quantities, slopes, variances
from tests.tables.made_claims import AS_PUBLISHED, LOST_BY_FFN, study

YES_NO = np.array([0.0, 1.0])
CLAIMS = {claim.id: claim for claim in ledger.read().all_claims if isinstance(claim, Combined)}
(SPREAD,) = [claim for claim in ledger.read().claims if isinstance(claim, Spread)]


@pytest.fixture(scope="module")
def published() -> Quantities:
    return Quantities(study(AS_PUBLISHED, {("ffn", 100): LOST_BY_FFN}, arms=("qv", "ffn", "qv_mid"), seeds=(1, 2)), 3)


def domain(*hits_of: tuple[int, int]) -> Sample:
    """One domain: hits and facts, seed by seed."""
    return Sample(np.array([[of - hits, hits] for hits, of in hits_of]), YES_NO)


def test_a_slope_is_that_of_a_line_through_the_facts_of_a_seed():
    found = slopes([domain((90, 90), (80, 90)), domain((3, 10), (9, 10)), domain((0, 1), (1, 1))])
    assert set(found) == {0, 1}
    for seed, hits in enumerate([(90, 3, 0), (80, 9, 1)]):
        sizes = (90, 10, 1)
        x = np.repeat(np.log10(sizes), sizes)
        y = np.concatenate([np.arange(of) < kept for of, kept in zip(sizes, hits, strict=True)]).astype(float)
        assert float(found[seed]) == pytest.approx(stats.linregress(x, y).slope)


def test_a_domain_that_a_seed_lacks_does_not_count_for_it():
    with_gap = slopes([domain((100, 100)), domain((3, 10)), domain((0, 0))])
    assert [float(slope) for slope in with_gap.values()] == pytest.approx(
        [0.7]
    )  # from 3 of 10 to 100 of 100, over one tenfold


def test_variances_of_a_grid_by_hand():
    """Two placements, two recipes, nothing but a main effect: 4 between recipes is a variance of 8."""
    recipes, places = variances(np.array([[[1.0], [5.0]], [[1.0], [5.0]]]))
    assert (recipes.tolist(), places.tolist()) == ([8.0], [0.0])
    recipes, places = variances(np.array([[[1.0], [1.0]], [[5.0], [5.0]]]))
    assert (recipes.tolist(), places.tolist()) == ([0.0], [8.0])


def test_what_only_interacts_counts_for_neither_side():
    recipes, places = variances(np.array([[[1.0], [0.0]], [[0.0], [1.0]]]))  # the better recipe depends on the place
    assert recipes[0] == pytest.approx(places[0])
    assert recipes[0] <= 0


def test_noise_alone_favours_neither_recipes_nor_places():
    """Eight seeds of 90 facts each, 2 places, 4 recipes, all alike: a verdict in at most 5% of studies."""
    draws, trials = rng("spread without effects"), 400
    grids = draws.binomial(90, 0.3, size=(trials, 2, 4, 8)) / 90
    differences = [np.subtract(*variances(grid)) for grid in grids]
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(trials * 8)
    found = np.mean([sign_flip(dict(enumerate(map(Fraction, ones)))) < 0.05 for ones in differences])
    assert found < 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


def test_a_share_is_the_figure(published):
    assert published.share(ArmCell(arm="qv", sessions=30), "recall").value == pytest.approx(89 / 90)
    assert published.share(ArmCell(arm="ffn", sessions=100, domain="biology"), "association").value == pytest.approx(
        12 / 15
    )
    assert published.placebo(ArmCell(arm="qv", sessions=30), "recognition") == 1


def test_a_difference_and_a_difference_of_differences(published):
    near = published.combined(CLAIMS["attention_ahead_30"], "recall")
    assert near.by_seed == pytest.approx([2 / 90] * 2)
    widening = published.combined(CLAIMS["gap_widens"], "recall")
    assert widening.by_seed == pytest.approx([16 / 300 - 2 / 90] * 2)
    assert widening.detail == "from +2.2 points after 30 sessions to +5.3 after 100"
    assert widening.measure.low < widening.measure.value < widening.measure.high  # though both seeds agree


def test_the_slope_of_the_study_is_that_of_the_essay_where_the_facts_are_the_same(published):
    found = published.combined(CLAIMS["rare_fail_ffn"], "recall")
    assert found.measure.value == pytest.approx(0.3853, abs=1e-4)
    assert found.measure.low > 0.2


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (ArmCell(arm="o_only", sessions=30), "the study has no arm 'o_only'"),
        (ArmCell(arm="qv", sessions=60), "the study does not probe 'qv' after 60 sessions"),
        (ArmCell(arm="qv", sessions=30, domain="music"), "asks 'qv' no facts of this kind"),
    ],
)
def test_what_a_study_lacks_is_said(published, cell, said):
    claim = Order(id="x", topic="placement", label="x", statement="x", rule="order", plus=[cell])
    with pytest.raises(NotMeasuredError, match=said):
        published.combined(claim, "recall")


def test_a_spread_needs_every_arm_of_its_grid(published):
    with pytest.raises(NotMeasuredError, match="no arm 'qv_single_phase'"):
        published.spread(SPREAD, "recall")


def test_domains_of_one_size_give_no_slope():
    even = study({("ffn", 100, "taught"): Fraction(1)}, arms=("ffn",), seeds=(1, 2))
    even.facts["domain"] = "codes"
    with pytest.raises(NotMeasuredError, match="all domains of the study are of one size"):
        Quantities(even, 3).combined(CLAIMS["rare_fail_ffn"], "recall")


def test_sessions_of_other_sizes_test_no_claim():
    """After 30 sessions of other sizes other numbers of facts are known than the essay speaks of."""
    runs = study(AS_PUBLISHED, arms=("qv",), seeds=(1, 2))
    assert runs.facts_per_session == 3
    with pytest.raises(NotMeasuredError, match="the study teaches 3 facts a session, the essay 5"):
        Quantities(runs, 5).share(ArmCell(arm="qv", sessions=30), "recall")
