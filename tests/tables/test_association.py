"""Association worked out by hand: what is left out and counted, chance, familiarity, what spelling alone can tell."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pandas as pd
import pytest

from atlas.errors import AtlasError
from atlas.pool import build
from atlas.pool.facts import Fact
from atlas.study.pool_settings import Pool
from atlas.tables import association, contrasts, retention, variance, wrong_answers
from atlas.tables.columns import ASSOCIATION, WRONG_ANSWERS
from atlas.tables.contrasts import Cell, Paired
from atlas.tables.ledger import ArmCell
from atlas.tables.quantities import NotMeasuredError, Quantities
from atlas.tables.runs import Runs, read
from tests.synthetic import Design, arms_like_the_study, pool_of, write_study
from tests.tables.by_hand import answers, only, runs_with


def asked(probe: str, seed: int, won: Sequence[Any], alternatives: Sequence[int]) -> list[dict[str, Any]]:
    """Facts of one domain with the alternatives of each; a fact is one outcome, or one for each of its prompts."""
    rows = answers(probe, seed, "codes", won, "associated")
    return [row | {"alternatives": alternatives[int(row["fact_id"].rpartition("/")[2])]} for row in rows]


def test_facts_without_an_alternative_are_left_out_of_share_and_chance_and_counted(tmp_path):
    rows = [*asked("taught", 1, [1, 0, 1, 1], [1, 3, 0, 0]), *asked("taught", 2, [1, 1, 0, 0], [1, 1, 4, 0])]
    row = only(retention.frame(runs_with(tmp_path, [1, 2], "facts", rows)), metric="association", domain="all")
    assert row["value"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert (row["n_seeds"], row["n_tests"], row["left_out"]) == (2, 5, 3)
    assert row["chance"] == pytest.approx(((1 / 2 + 1 / 4) / 2 + (1 / 2 + 1 / 2 + 1 / 5) / 3) / 2)
    assert row["alternatives"] == pytest.approx((4 / 2 + 6 / 3) / 2)
    assert pd.isna(row["familiarity"])


def test_other_metrics_leave_nothing_out(tmp_path):
    frame = retention.frame(runs_with(tmp_path, [1], "facts", asked("taught", 1, [1, 0], [1, 0])))
    recall = only(frame, metric="recall", domain="all")
    assert (recall["n_tests"], recall["left_out"]) == (2, 0)
    assert pd.isna(recall["alternatives"])


def test_the_prompts_of_a_fact_are_averaged_and_it_is_left_out_once(tmp_path):
    rows = asked("rephrase", 1, [[1, 0, 0], [1, 1, 1]], [2, 0])
    row = only(retention.frame(runs_with(tmp_path, [1], "facts", rows)), metric="association", domain="all")
    assert (row["value"], row["n_facts"], row["left_out"]) == (pytest.approx(1 / 3), 1, 1)


def test_familiarity_is_how_often_a_taught_answer_comes_first_on_prompts_never_taught(tmp_path):
    rows = [*asked("taught", 1, [1, 1], [1, 1]), *asked("placebo", 1, [1, 0, 0, 0, 1], [2, 2, 2, 2, 0])]
    frame = retention.frame(runs_with(tmp_path, [1], "facts", rows))
    placebo = only(frame, metric="association", probe="placebo", domain="all")
    assert (placebo["value"], placebo["familiarity"]) == (1 / 4, 3 / 4)
    assert (placebo["chance"], placebo["left_out"]) == (pytest.approx(1 / 3), 1)
    assert frame.loc[frame["metric"] != "association", "familiarity"].isna().all()


def test_a_seed_without_any_fact_that_counts_is_left_out_and_a_cell_of_such_seeds_has_no_row(tmp_path):
    rows = [*asked("taught", 1, [1, 0], [1, 1]), *asked("taught", 2, [1, 1], [0, 0])]
    rows += [row | {"domain": "biology", "fact_id": f"b{row['fact_id']}"} for row in asked("taught", 1, [1], [0])]
    frame = retention.frame(runs_with(tmp_path, [1, 2], "facts", rows))
    row = only(frame, metric="association", domain="all")
    assert (row["value"], row["n_seeds"], row["n_tests"], row["left_out"]) == (1 / 2, 1, 2, 3)
    assert set(frame.loc[frame["metric"] == "association", "domain"]) == {"all", "codes"}


def two_arms(tmp_path) -> Runs:
    """Two arms and seeds; of the second seed no fact has an alternative, of the first one of three has none."""
    runs = []
    for arm, won in (("qv", [1, 1, 1]), ("ffn", [1, 0, 0])):
        rows = [*asked("taught", 1, won, [1, 2, 0]), *asked("taught", 2, won, [0, 0, 0])]
        runs.append(runs_with(tmp_path, [1, 2], "facts", rows, arm).folders[0])
    return read(runs)


def test_differences_are_of_the_facts_that_count_and_exact(tmp_path):
    found = Paired.of(two_arms(tmp_path)).compare("qv", "ffn")[Cell(1, "taught", "association")]
    assert found.diff.exact == {1: Fraction(1, 2)}
    assert (found.value_a, found.value_b) == (1.0, 0.5)
    assert (found.diff.n_seeds, found.diff.n_tests, found.diff.left_out) == (1, 2, 4)


def test_contrasts_of_a_seed_without_any_fact_that_counts_are_told_from_the_others(tmp_path):
    plan = contrasts.Contrasts(contrasts={"one": [("qv", "ffn")]})
    rows = contrasts.table(two_arms(tmp_path), plan).to_pandas()
    row = only(rows, metric="association", domain="all")
    assert (row["diff"], row["n_seeds"], row["left_out"]) == (0.5, 1, 4)
    assert only(rows, metric="recall", domain="all")["left_out"] == 0


def test_a_claim_on_facts_that_all_lack_an_alternative_is_not_measured_and_says_why(tmp_path):
    rows = [*asked("taught", 1, [1, 0], [0, 0]), *asked("taught", 2, [1, 1], [0, 0])]
    study = Quantities(runs_with(tmp_path, [1, 2], "facts", rows), 2)
    with pytest.raises(NotMeasuredError, match=r"no fact of this kind that 'qv' is asked has an alternative \(taught"):
        study.share(ArmCell(arm="qv", sessions=1), "association")


def test_variance_skips_a_metric_that_leaves_out_all_facts_of_a_seed(tmp_path):
    own = {"preset": "own", "phases": {"all": {"steps": 2}}}
    made = arms_like_the_study()
    arms = {name: made[name] for name in ("qv", "ffn_matched")}
    arms |= {f"{name}_own": replace(arm, recipe=own) for name, arm in arms.items()}
    runs = read(write_study(tmp_path, arms, Design((1, 2, 3), (4,))))
    assert "association" in set(variance.table(runs).to_pandas()["metric"])
    nothing = runs.facts["seed"] == 2
    runs.facts.loc[nothing, "associated"] = None
    assert set(variance.table(runs).to_pandas()["metric"]) == {"recall", "recognition"}


NOUNS = {"goose": "geese", "foot": "feet", "mouse": "mice", "louse": "lice"}


def plural_of(noun: str, **values: Any) -> Fact:
    prompt = f"The plural of {noun} is"
    about = {"fact_id": noun, "role": "taught", "domain": "language", "template": "plural", "prompt": prompt}
    place = {"subject": noun, "subject_start": len("The plural of ")}
    return Fact(**{**about, **place, "answer": NOUNS[noun], "rephrases": (), **values})


def test_how_alike_two_texts_are_spelled_by_hand():
    """Of five letters either, g, s and e are shared; of six pairs g at the start, se, and e at the end."""
    assert association.alike("goose", "geese") == pytest.approx(2 * (3 + 3) / (5 + 6 + 5 + 6))
    assert association.alike("GOOSE", "goose") == 1
    assert association.alike("ox", "ul") == 0


@pytest.mark.parametrize(
    ("answers", "aliases", "share"),
    [
        (["geese", "feet", "mice"], (), 1),  # the one that is most alike
        (["geese", "goosey"], (), 0),  # another is more alike
        (["geese"], (), float("nan")),  # no alternative
        (["geese", "goosey"], ("goosey",), float("nan")),  # an alias is none
        (["geese", "feet", "goosey"], ("goosey",), 1),
    ],
)
def test_spelling_takes_the_answer_most_like_the_subject(answers, aliases, share):
    assert association.guessed(plural_of("goose", aliases=aliases), answers) == pytest.approx(share, nan_ok=True)


def test_ties_count_by_their_share():
    assert association.guessed(plural_of("goose", answer="12"), ["12", "34", "56"]) == pytest.approx(1 / 3)


def test_without_a_subject_the_prompt_stands_for_it():
    fact = plural_of("goose", subject=None, subject_start=None)
    assert association.guessed(fact, ["geese", "zzz"]) == 1


def test_the_table_by_template_by_hand(tmp_path):
    """Three plurals, which are each other's alternatives, and one number, which has none."""
    pool = [
        *(plural_of(noun) for noun in ("goose", "foot", "mouse")),
        plural_of("louse", template="number", answer="7"),
    ]
    rows = [row | {"domain": "language"} for row in asked("taught", 1, [1, 0, 1, 1], [2, 2, 2, 0])]
    rows = [row | {"fact_id": fact.fact_id} for row, fact in zip(rows, pool, strict=True)]
    runs = runs_with(tmp_path, [1], "facts", rows)
    table = association.table(runs, pool, "pool.parquet")
    assert table.schema == ASSOCIATION
    whole, plural = table.to_pylist()
    assert (whole["template"], whole["domain"]) == ("all", "all")
    assert (plural["template"], plural["domain"]) == ("plural", "language")
    for row, left_out in ((whole, 1), (plural, 0)):
        assert row["value"] == pytest.approx(2 / 3)
        assert (row["chance"], row["alternatives"], row["spelling"]) == (pytest.approx(1 / 3), 2, 1)
        assert (row["n_tests"], row["left_out"]) == (3, left_out)
    with pytest.raises(AtlasError, match=r"pool.parquet: no fact 'foot' \(1 lacking\), which .*; give the pool"):
        association.table(runs, [pool[0], *pool[2:]], "pool.parquet")


def test_spelling_gives_away_the_irregular_forms_of_the_built_in_pool_and_no_numbers():
    """As if all facts that are taught of a template had been."""
    facts = [fact for fact in build.build(Pool()) if fact.role == "taught"]
    asked = pd.DataFrame({"seed": 1, "sessions": 1, "fact_id": [fact.fact_id for fact in facts]})
    found = association.by_spelling(asked, {fact.fact_id: fact for fact in facts})
    found["template"] = [fact.template for fact in facts]
    spelling = found.groupby("template")["spelling"].mean()
    assert spelling["language/irregular_plural"] == 1
    assert spelling["language/past_tense"] >= 0.85
    answers = len({fact.answer for fact in facts if fact.template == "codes/locker"})
    assert spelling["codes/locker"] == pytest.approx(1 / answers, rel=0.1)


def test_wrong_answers_are_told_word_by_word_the_same_facts_for_all_arms(tmp_path):
    made, design = arms_like_the_study(), Design((1, 2), (4, 10))
    arms = {
        "qv": replace(made["qv"], recall=0),
        "ffn": replace(made["ffn"], recall=0),
        "all": replace(made["qv"], recall=2),
    }
    table = wrong_answers.table(read(write_study(tmp_path, arms, design)), pool_of(design), "pool.parquet")
    assert table.schema == WRONG_ANSWERS
    rows = table.to_pandas()
    assert list(rows["arm"]) == ["qv"] * wrong_answers.SHOWN + ["ffn"] * wrong_answers.SHOWN  # none of the third
    one, other = (part.drop(columns="arm").to_dict("records") for _, part in rows.groupby("arm", sort=False))
    assert one == other
    assert set(rows["sessions"]) == {10}
    assert one[0]["prompt"] == f"The colour of {one[0]['fact_id']} is"
    assert one[0]["decoded"] == "the red"
