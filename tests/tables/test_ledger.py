"""The ledger: complete, coherent with itself and with the study, and clear about its mistakes."""

import copy
from pathlib import Path

import pytest
import yaml

from atlas.errors import AtlasError
from atlas.study import config
from atlas.tables import inference, ledger
from atlas.tables.ledger import Combined, Exact, Spread

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
                if cell.sessions == 1:  # the first edits have a study of their own
                    assert claim.topic == "editing"
                    assert cell.arm in baselines.arms, claim.id
                    assert 1 in baselines.checkpoints
                    continue
                assert cell.arm in study.arms or cell.arm in study.ablations, claim.id
                points = study.checkpoints if cell.arm in study.arms else study.ablation_points
                assert cell.sessions in points, claim.id
        if isinstance(claim, Spread):
            for place, arms in claim.grid.items():
                for arm in arms:
                    assert study.arm(arm).targets == study.arm(place).targets
                    assert claim.sessions in study.ablation_points


def test_eight_seeds_can_settle_every_family():
    """Holm's correction multiplies the smallest p by the claims of a topic: it must be able to fall below the level."""
    topics = [claim.topic for claim in BOOK.claims if claim.rule in ("order", "spread")]
    largest = max(topics.count(topic) for topic in topics)
    assert inference.attainable(8, largest) < inference.LEVEL


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
