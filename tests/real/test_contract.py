"""What the workflow leaves behind: the files and columns that the contract names."""

import json
import re

import pyarrow.parquet as pq
import pytest

from atlas.workflow import files
from tests.page.test_page import without_library
from tests.real.checkout import STUDY

COLUMNS = {
    "pool/pool.parquet": "fact_id role domain template subject prompt answer aliases rephrases",
    "pool/streams/2.parquet": "seed session slot fact_id",
    "ttt/qv/1-2/facts.parquet": "arm seed base_replica sessions probe fact_id form domain session_taught nll_base nll"
    " answer_nll_base answer_nll recognised recalled"
    " associated alternatives decoded recalled_base answered answered_base",
    "ttt/ffn/1-2/matrix.parquet": "arm seed base_replica session fact_id nll recalled",
    "ttt/ffn/1-2/sessions.parquet": "arm seed base_replica session adapter_norm",
    "tables/arms.parquet": "arm targets ranks trainable_params base_params share",
    "tables/claims.parquet": "claim_id statement metric essay_value essay_ci_low essay_ci_high measured ci_low ci_high"
    " verdict note",
    "tables/contrasts.parquet": "arm_a arm_b sessions probe metric domain diff ci_low ci_high p_value p_adjusted"
    " n_seeds verdict",
    "tables/retention.parquet": "arm sessions probe metric domain n_seeds n_facts value ci_low ci_high",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_tables_have_their_columns_rows_and_provenance(finished, name):
    table = pq.read_table(finished.file(name))
    assert set(COLUMNS[name].split()) <= set(table.column_names)
    assert table.num_rows
    assert b"atlas" in table.schema.metadata


def test_both_bases_are_certified_and_runs_name_theirs(finished):
    fingerprints = []
    for replica, block in ((1, "1-2"), (2, "3")):
        base = json.loads(finished.file(f"base/{replica}/base.json").read_text())
        certificate = json.loads(finished.file(f"base/{replica}/certificate.json").read_text())
        assert certificate["passed"] is True
        assert {"name", "passed", "measured", "limit", "detail"} <= certificate["checks"][0].keys()
        assert {"config", "val_loss", "steps", "tokens", "seconds", "fingerprint", "sha256"} <= base.keys()
        assert base["config"]["replica"] == replica
        for arm in STUDY["arms"]:
            run = json.loads(finished.file(f"ttt/{arm}/{block}/run.json").read_text())
            assert run["base_fingerprint"] == base["fingerprint"] == certificate["fingerprint"]
            assert run["base_replica"] == replica
            assert run["code_digest"]
            for name in ("facts", "matrix", "sessions"):
                table = pq.read_table(finished.file(f"ttt/{arm}/{block}/{name}.parquet"))
                assert set(table["base_replica"].to_pylist()) == {replica}
        fingerprints.append(base["fingerprint"])
    assert len({*fingerprints}) == 2
    footer = files.provenance_of(finished.file("tables/retention.parquet"))
    assert footer["base_fingerprints"] == dict(zip("12", fingerprints, strict=True))


def test_tables_say_on_how_many_bases_they_rest_and_whether_these_agree(finished):
    for name in ("arms", "retention", "contrasts"):
        table = pq.read_table(finished.file(f"tables/{name}.parquet")).to_pandas()
        assert table["bases"].max() == 2, name
    each = pq.read_table(finished.file("tables/bases.parquet")).to_pandas()
    assert dict(each.groupby("base_replica")["n_seeds"].max()) == {1: 2, 2: 1}


def test_every_chart_comes_in_four_forms_and_opens_without_a_network(finished):
    charts = {path.stem for path in finished.file("charts").glob("*.json")}
    assert charts
    for name in charts:
        for suffix in ("html", "svg", "png"):
            assert finished.file(f"charts/{name}.{suffix}").stat().st_size > 1000, f"{name}.{suffix}"
        page = finished.file(f"charts/{name}.html").read_text()
        assert 'src="http' not in page
        assert "src='http" not in page


def test_there_is_a_page_and_its_links_lead_to_files(finished):
    text = finished.file("index.html").read_text()
    assert "<html" in text.lower()
    links = re.findall(r'href="([^"#]+)"', without_library(text))
    assert len(links) > len({*finished.file("charts").glob("*.svg")})
    for link in links:
        assert finished.file(link).is_file(), link


def test_every_job_kept_its_log(finished):
    assert sorted(path.name for path in finished.file("logs").iterdir()) == ["base", "charts", "pool", "tables", "ttt"]


def test_nothing_is_left_to_do_and_no_scraps_lie_about(finished):
    assert finished.planned() == set()
    assert not list(finished.file(".").rglob("*.partial"))


def test_the_report_of_snakemake_is_one_file(copy):
    copy.done("--report", "results/report.html")
    assert copy.file("report.html").stat().st_size > 100_000
