"""What stands between the README's marks comes from the tables of a study, and all of it or nothing is replaced."""

import pyarrow as pa
import pytest

from atlas.errors import AtlasError
from atlas.metrics import OF_FACTS
from atlas.page import readme
from atlas.tables import ledger
from atlas.tables.columns import ARMS, BASE_LOSS, CLAIMS, RETENTION
from atlas.workflow import files


def row_of(schema, **values):
    """A row with zeros and empty strings where no value is given."""
    zeros = {pa.string(): "", pa.bool_(): False}
    return {field.name: values.get(field.name, zeros.get(field.type, 0)) for field in schema}


AMONG_TAUGHT = {"metric": "association", "alternatives": 4.0, "n_tests": 1080, "left_out": 120}


def retention(**values):
    defaults = {"arm": "qv", "domain": "all", "probe": "taught", "metric": "recall", "n_seeds": 4}
    defaults |= {"alternatives": None, "familiarity": None}
    return row_of(RETENTION, **{**defaults, **values})


BASES = {"base_fingerprints": {"1": "f" * 64, "2": "e" * 64}}


@pytest.fixture
def results(tmp_path):
    tables = {
        "arms": (ARMS, [row_of(ARMS, arm="qv", trainable_params=65536, share=0.0725)]),
        "base_loss": (BASE_LOSS, [row_of(BASE_LOSS, arm="qv", sessions=100, val_loss_base=1.5, val_loss=1.6789)]),
        "retention": (
            RETENTION,
            [
                retention(sessions=100, n_facts=300, value=0.5, ci_low=0.25, ci_high=0.75),
                retention(sessions=30, n_facts=90, value=0.123, ci_low=None, ci_high=None),
                retention(sessions=30, probe="placebo", metric="recognition", value=0.9, ci_low=0.8, ci_high=1.0),
                retention(sessions=30, n_facts=1, domain="codes", value=0.777),
                retention(sessions=100, n_facts=270, value=0.4, ci_low=0.3, ci_high=0.5, chance=0.2, **AMONG_TAUGHT),
                retention(
                    sessions=100, probe="placebo", value=0.1, ci_low=0.05, ci_high=0.2, familiarity=0.9, **AMONG_TAUGHT
                ),
            ],
        ),
    }
    for name, (schema, rows) in tables.items():
        files.write_parquet(tmp_path / "tables" / f"{name}.parquet", pa.Table.from_pylist(rows, schema), BASES)
    for replica, loss in enumerate((1.4999, 1.5123), start=1):
        manifest = {"val_loss": loss, "steps": 1500, "seconds": 420 * replica}
        files.write_json(tmp_path / "base" / str(replica) / "base.json", manifest)
    return tmp_path


def test_one_table_a_checkpoint_in_rising_order(results):
    text = readme.retention(results)
    assert text.index("After 30 sessions (90 facts)") < text.index("After 100 sessions (300 facts)")
    assert "| `qv` | 65,536 (7%) | 12.3% |  |  |  | 90.0% (80 to 100) |  |  |  |\n" in text
    told = (
        "50.0% (25 to 75) | 40.0% (30 to 50) |  | 90.0% (80 to 95) |  |  |  | 1.50 → 1.68 |"  # familiarity the fourth
    )
    assert told in text
    assert "Chance is 20%; on prompts never taught a taught answer comes first in 90% of cases. Association" in text
    assert "another answer taught in their template: 120 of 1,200 after 100 sessions.\n" in text
    assert text.count("Chance is") == 1  # after 30 sessions nothing could be associated
    assert "77.7" not in text  # single domains are not in these tables


def test_a_figure_that_few_seeds_carry_says_so(results):
    rows = [retention(sessions=30, n_facts=90, value=0.0, ci_low=0.0, ci_high=0.02, few_seeds=True)]
    files.write_parquet(results / "tables" / "retention.parquet", pa.Table.from_pylist(rows, RETENTION), BASES)
    text = readme.retention(results)
    assert "| 0.0% (0 to 2), few seeds |" in text
    assert "*few seeds*: fewer than half of them, or none, carry the figure" in text


def test_the_price_that_the_base_paid_is_told(results):
    text = readme.retention(results)
    assert (
        "base 1: 1.500 nats per character, after 1,500 steps in 7.0 minutes. Validation loss of base 2: 1.512" in text
    )
    assert "| 1.50 → 1.68 |" in text


BEGIN, END = readme.marks("retention")


def test_only_what_is_between_the_marks_changes():
    page = f"Before\n{BEGIN}\nold\n{END}\nAfter\n"
    once = readme.filled(page, {"retention": "new"}, "README.md")
    assert once == f"Before\n{BEGIN}\nnew\n{END}\nAfter\n"
    assert readme.filled(once, {"retention": "new"}, "README.md") == once


def test_blocks_do_not_meet():
    page = "\n".join(mark for name in ("headline", "retention") for mark in readme.marks(name))
    filled = readme.filled(page, {"retention": "tables", "headline": "claims"}, "README.md")
    assert filled.split("\n")[1::3] == ["claims", "tables"]


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}", 2 * BEGIN + END])
def test_missing_marks_are_named(page):
    with pytest.raises(AtlasError, match=r"README\.md: expected <!-- retention:begin --> once and, after it"):
        readme.filled(page, {"retention": "new"}, "README.md")


def claim(name, metric, **values):
    defaults = {"claim_id": name, "statement": f"About {name}.", "label": name, "metric": metric, "unit": "difference"}
    defaults["preset"] = "essay"
    nothing = {field.name: float("nan") for field in CLAIMS if field.type == pa.float64()}
    return row_of(CLAIMS, **{**nothing, **defaults, "kind": "order", "verdict": "unresolved", **values})


def test_the_headline_has_its_claims_with_figures_and_verdicts():
    rows = [claim(name, metric) for name in readme.HEADLINE for metric in OF_FACTS]
    rows[0] |= {"measured": 0.123, "ci_low": 0.1, "ci_high": 0.15, "unit": "share", "verdict": "contradicted"}
    rows[0] |= {"essay_value": 1.0, "essay_ci_low": 0.987, "essay_ci_high": 1.0}
    text = readme.headline(pa.Table.from_pylist(rows, CLAIMS).to_pandas())
    first = "| About retention_qv_100. *100.0% (99 to 100)* | 12.3% (10 to 15): **contradicted** | unresolved |"
    assert first in text
    assert text.count("\n| ") == len(["heading", "rule", *readme.HEADLINE])


def test_the_rule_stands_beside_the_claim_and_what_another_margin_changes_beside_the_verdict():
    asked = {"rule": "within 2.7 points of 94.7%", "measured": 0.93, "unit": "share", "verdict": "unresolved"}
    more = {"verdict_half": "unresolved", "verdict_twice": "reproduced"}
    rows = [claim(name, metric, **asked, **more) for name in readme.HEADLINE for metric in OF_FACTS]
    text = readme.headline(pa.Table.from_pylist(rows, CLAIMS).to_pandas())
    assert "Reproduced if within 2.7 points of 94.7%. | 93.0%: **unresolved**, reproduced at twice the margin |" in text


def test_a_further_preset_has_rows_of_its_own_below():
    rows = [claim(name, metric) for name in readme.HEADLINE for metric in OF_FACTS]
    again = claim(readme.HEADLINE[0], "recall", preset="recall", measured=0.98, unit="share", verdict="reproduced")
    rows += [again | {"metric": metric} for metric in OF_FACTS]
    lines = readme.headline(pa.Table.from_pylist(rows, CLAIMS).to_pandas()).splitlines()
    at = lines.index(next(line for line in lines if line.startswith("| About retention_qv_100.")))
    assert lines[at + 1].startswith("| The same with preset `recall` | 98.0%: **reproduced** |")
    assert len([line for line in lines if line.startswith("| ")]) == len(["heading", "rule", "again", *readme.HEADLINE])


def test_the_claims_of_the_headline_are_in_the_ledger():
    assert set(readme.HEADLINE) <= {one.id for one in ledger.read().all_claims}


def test_a_missing_table_is_named(results):
    (results / "tables" / "retention.parquet").unlink()
    with pytest.raises(AtlasError, match=r"retention\.parquet: no such file"):
        readme.retention(results)


def test_the_headline_chart_is_the_study_s(results, tmp_path):
    to = tmp_path / "docs" / "img" / "retention.png"
    with pytest.raises(AtlasError, match=r"retention\.png: no such file"):
        readme.publish_picture(results, to)
    (results / "charts").mkdir()
    (results / "charts" / "retention.png").write_bytes(b"picture")
    to.parent.mkdir(parents=True)
    readme.publish_picture(results, to)
    assert to.read_bytes() == b"picture"


def test_the_cost_of_all_runs_is_told(results):
    assert "hours of one core" not in readme.retention(results)
    for block in ("1-4", "5-8"):
        files.write_json(results / "ttt" / "qv" / block / "run.json", {"seconds": 5400.0})
    assert "All runs took 3.0 hours of one core." in readme.retention(results)


def test_a_single_session_and_seed_are_one(results):
    only = [retention(sessions=1, n_facts=1, n_seeds=1, value=1.0, ci_low=None, ci_high=None)]
    files.write_parquet(results / "tables" / "retention.parquet", pa.Table.from_pylist(only, RETENTION), BASES)
    text = readme.retention(results)
    assert "**After 1 session (1 fact)**" in text
    assert "Means over 1 seed, " in text
