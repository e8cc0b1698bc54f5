"""The ledger: complete, coherent with itself and with the study, and clear about its mistakes."""

import copy
from pathlib import Path

import pytest
import yaml

from atlas.errors import AtlasError
from atlas.study import config
from atlas.tables import ledger, verdicts
from atlas.tables.ledger import Combined, Exact, PrintedValue, Same, Spread

BOOK = ledger.read()
REPOSITORY = Path(__file__).parents[2]


def raw():
    return copy.deepcopy(yaml.safe_load(ledger.SOURCE.read_text(encoding="utf-8")))


def refused(tmp_path, book) -> str:
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(book), encoding="utf-8")
    with pytest.raises(AtlasError) as caught:
        ledger.read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_every_figure_of_the_essay_is_there_once():
    places = {figure.place for figure in BOOK.figures}
    assert len(places) == len(BOOK.figures) == 12 + 2 * 8 + 1
    for arm in ("qv", "ffn", "qv_ffn"):
        for sessions in (30, 100):
            for probe in ("taught", "rephrase"):
                assert (arm, sessions, probe, "all") in places
    domains = {figure.domain for figure in BOOK.figures} - {"all"}
    assert len(domains) == 8
    assert places >= {(arm, 100, "taught", domain) for arm in ("qv", "ffn") for domain in domains}


def test_the_domains_agree_with_the_whole():
    """The counts behind the percentages are inferred: together they must be the 300 facts and the 16 lost."""
    of_ffn = [figure for figure in BOOK.figures if figure.arm == "ffn" and figure.domain != "all"]
    assert sum(figure.of for figure in of_ffn) == 300
    assert sum(figure.hits for figure in of_ffn) == BOOK.figure_of["ffn", 100, "taught", "all"].hits == 300 - 16


def test_the_sizes_of_adapters_are_claims():
    exact = {claim.id: claim.essay for claim in BOOK.claims if isinstance(claim, Exact)}
    assert [exact[f"params_{arm}"] for arm in ("qv", "ffn", "qv_ffn")] == [65_000, 164_000, 229_000]
    assert [exact[f"share_{arm}"] for arm in ("qv", "ffn", "qv_ffn")] == [0.07, 0.16, 0.21]
    assert len(exact) == 8


def test_claims_name_arms_and_checkpoints_of_the_default_study():
    study = config.load(REPOSITORY / "config.yaml")
    baselines = config.load(REPOSITORY / "config.yaml", REPOSITORY / "studies" / "baselines.yaml")
    for claim in BOOK.all_claims:
        if isinstance(claim, Combined):
            for _, cell in claim.signed:
                if claim.topic == "editing":  # which has a study of its own
                    assert cell.arm in baselines.arms, claim.id
                    assert cell.sessions in baselines.checkpoints
                    continue
                assert cell.arm in study.arms or cell.arm in study.ablations, claim.id
                points = study.checkpoints if cell.arm in study.arms else study.ablation_points
                assert cell.sessions in points, claim.id
        if isinstance(claim, Spread):
            for place, arms in claim.grid.items():
                for arm in arms:
                    assert study.arm(arm).targets == study.arm(place).targets
                    assert claim.sessions in study.ablation_points


VALUES = {claim.id: claim for claim in BOOK.all_claims if isinstance(claim, PrintedValue)}


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("retention_ffn_100", 100 * 16 / 300 / 2),  # 100.0 less 94.7
        ("retention_qv_100", 100 * 16 / 300 / 2),
        ("retention_qv_ffn_30", 100 * 2 / 90 / 2),
        ("rephrase_ffn_30", 100 * 5 / 15 / 2),
        ("history_qv_100", 100 * 4 / 34 / 2),
        ("codes_ffn_100", 100 * 16 / 300 / 2),  # no difference there: that over all facts
        ("retention_ffn_random_base_30", 100 * 3 / 90 / 2),  # 100 less 96.7, feed-forward on both bases
    ],
)
def test_the_margin_of_a_figure_is_half_of_the_essays_effect_there(name, points):
    assert 100 * BOOK.margin(VALUES[name]) == pytest.approx(points)


def test_the_margin_of_an_even_slope_is_half_of_the_uneven_one():
    claims = {claim.id: claim for claim in BOOK.claims}
    even, uneven = claims["even_under_qv"], claims["rare_fail_only_ffn"]
    assert isinstance(even, Same)
    assert isinstance(uneven, Combined)
    said = ledger.published(uneven, BOOK)
    assert said
    assert BOOK.margin(even) == pytest.approx(said.value / 2)


def vague(margin: float | None = None) -> set[str]:
    """Figures whose own interval is wider than a margin, by default their own."""
    return {
        name
        for name, claim in VALUES.items()
        if verdicts.vague(ledger.share(BOOK.figure_of[claim.plus[0].place]), margin or BOOK.margin(claim))
    }


def test_eighteen_of_the_29_figures_are_too_vague_for_their_margin():
    fine = {f"retention_{arm}_100" for arm in ("qv", "qv_ffn", "ffn")}
    fine |= {f"{domain}_{arm}_100" for domain in ("codes", "personal", "identity") for arm in ("qv", "ffn")}
    fine |= {"history_qv_100", "language_qv_100"}
    assert vague() == set(VALUES) - fine
    assert len(vague()) == 18


def test_at_a_margin_of_ten_points_those_that_reach_beyond_it_were_sixteen():
    """The audit's count, of the rule that stood here before: an end of the figure's interval beyond the margin."""
    reach = {name: ledger.share(BOOK.figure_of[claim.plus[0].place]) for name, claim in VALUES.items()}
    beyond = [name for name, of in reach.items() if max(of.high - of.value, of.value - of.low) > 0.1]
    assert len(beyond) == 16


def test_a_figure_without_an_effect_is_named(tmp_path):
    book = raw()
    next(one for one in book["figures"] if one.get("effect"))["effect"] = ["qv", "rome"]
    said = refused(tmp_path, book)
    assert "claim retention_ffn_random_base_30: the essay prints no difference of qv and rome" in said


def test_labels_differ_within_a_topic_so_that_rows_of_the_chart_do():
    labels = [(claim.topic, isinstance(claim, ledger.PrintedValue), claim.label) for claim in BOOK.all_claims]
    assert len(set(labels)) == len(labels)


def test_a_figure_that_no_count_of_facts_gives_is_refused(tmp_path):
    book = raw()
    book["figures"][0]["of"] = 80
    assert "figures.0.printed: 98.9% is no whole number of 80 facts" in refused(tmp_path, book)


def test_a_claim_that_is_there_twice_is_named(tmp_path):
    book = raw()
    book["claims"].append(book["claims"][0])
    assert "claim params_qv is there twice" in refused(tmp_path, book)


def test_a_figure_that_is_there_twice_is_named(tmp_path):
    book = raw()
    book["figures"].append(book["figures"][3])
    assert "claim retention_qv_100 is there twice" in refused(tmp_path, book)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("rule", "likely", "rule"), ("topic", "weather", "topic"), ("because", "x", "because: unknown key")],
)
def test_a_wrong_key_or_value_is_named(tmp_path, key, value, said):
    book = raw()
    book["claims"][0][key] = value
    assert said in refused(tmp_path, book)


def test_a_grid_with_a_hole_is_refused(tmp_path):
    book = raw()
    grid = next(claim for claim in book["claims"] if claim["rule"] == "spread")["grid"]
    grid["qv"].pop()
    assert "every placement needs the same recipes" in refused(tmp_path, book)


def test_what_is_no_yaml_is_said_in_one_line(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("figures: [", encoding="utf-8")
    with pytest.raises(AtlasError, match=r"claims\.yaml: not valid YAML"):
        ledger.read(path)
