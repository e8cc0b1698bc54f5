"""A user's own pool: the three formats say the same, and mistakes are named."""

import csv
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.errors import AtlasError
from atlas.pool import own, rules
from atlas.pool.facts import UNDRAWN, pool_table
from tests.pool.made_facts import as_row, make_pool, with_roles

FACTS = with_roles(make_pool(towns=4, rivers=2))
REQUIRED = ("prompt", "answer")


def write_csv(path, rows, join=json.dumps):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: join(cell) if isinstance(cell, list) else cell for name, cell in row.items()})
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def write(request, tmp_path):
    """Writes rows in one of the formats and returns the path."""
    writers = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
    return lambda rows: writers[request.param](tmp_path / f"mine.{request.param}", rows)


def test_every_format_gives_the_same_facts(write):
    assert own.read_facts(write([as_row(fact) for fact in FACTS])) == FACTS


def test_only_prompt_and_answer_are_needed(write):
    rows = [{name: as_row(fact)[name] for name in REQUIRED} for fact in FACTS]
    facts = own.read_facts(write(rows))
    assert [fact.fact_id for fact in facts[:2]] == ["own/00001", "own/00002"]
    assert {(fact.role, fact.domain, fact.template) for fact in facts} == {(UNDRAWN, "own", "own")}
    assert [fact.prompts for fact in facts] == [(fact.prompt,) for fact in FACTS]
    assert {fact.aliases for fact in facts} == {()}
    assert list(rules.problems(facts)) == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_a_fact_may_have_any_number_of_paraphrases(write, count):
    forms = (
        "{} is led by",
        "Whoever rules, {} obeys",
        "In the town of {}, people follow",
        "Head of {}, long live",
        "Of {}",
    )
    facts = own.read_facts(
        write([as_row(replace(f, rephrases=tuple(form.format(f.fact_id) for form in forms[:count]))) for f in FACTS])
    )
    assert {len(fact.rephrases) for fact in facts} == {count}
    assert list(rules.problems(facts)) == []


def test_aliases_are_read_from_every_format(write):
    rows = [as_row(replace(fact, aliases=("Ms Q.", "Madam"))) for fact in FACTS]
    rows[1]["aliases"] = []
    assert [fact.aliases for fact in own.read_facts(write(rows))][:2] == [("Ms Q.", "Madam"), ()]


def test_a_template_defaults_to_its_domain(write):
    rows = [{name: as_row(fact)[name] for name in (*REQUIRED, "domain")} for fact in FACTS]
    assert [fact.template for fact in own.read_facts(write(rows))] == [fact.domain for fact in FACTS]


def test_rephrases_in_a_csv_cell_may_be_separated_by_bars(tmp_path):
    facts = [replace(fact, aliases=("Ms Q.", "Madam")) for fact in FACTS]
    assert own.read_facts(write_csv(tmp_path / "a.csv", [as_row(fact) for fact in facts], " | ".join)) == facts


def test_a_spreadsheet_s_byte_order_mark_is_no_part_of_a_column_name(tmp_path):
    path = write_csv(tmp_path / "a.csv", [as_row(fact) for fact in FACTS])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert own.read_facts(path) == FACTS


def test_a_pool_that_atlas_made_can_be_read_back(tmp_path):
    pq.write_table(pool_table(FACTS), tmp_path / "pool.parquet")
    assert own.read_facts(tmp_path / "pool.parquet") == FACTS


@pytest.mark.parametrize("column", REQUIRED)
def test_a_missing_column_is_named(write, column):
    rows = [{name: value for name, value in as_row(fact).items() if name != column} for fact in FACTS]
    with pytest.raises(AtlasError, match=rf"mine\.\w+: no column '{column}'; found fact_id"):
        own.read_facts(write(rows))


def test_columns_that_are_not_used_are_said(write, capsys):
    own.read_facts(write([as_row(fact) | {"answr": "typo"} for fact in FACTS]))
    assert "columns not used: answr" in capsys.readouterr().err


def test_an_unknown_role_is_named(write):
    rows = [as_row(replace(fact, role="test")) for fact in FACTS]
    with pytest.raises(AtlasError, match=r"mine\.\w+: fact towns/0: role: .*found 'test'"):
        own.read_facts(write(rows))


def test_roles_on_some_facts_only_are_refused(write):
    rows = [as_row(fact) for fact in FACTS]
    rows[3]["role"] = None
    with pytest.raises(AtlasError, match="fact towns/3 has no role, others have"):
        own.read_facts(write(rows))


def test_an_empty_answer_is_named(write):
    rows = [as_row(fact) for fact in FACTS]
    rows[1]["answer"] = None
    with pytest.raises(AtlasError, match=r"fact towns/1: answer: .*found None"):
        own.read_facts(write(rows))


def test_numbers_are_not_taken_for_text(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [as_row(fact) | {"answer": 42} for fact in FACTS])
    with pytest.raises(AtlasError, match="fact towns/0: answer: Input should be a valid string, found 42"):
        own.read_facts(path)


def test_a_truncated_parquet_is_named_and_not_to_be_deleted(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [as_row(fact) for fact in FACTS])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(AtlasError, match=r"a.parquet: not a whole Parquet file \(.*\); copy it again"):
        own.read_facts(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "prompt", r"unknown kind of pool '.txt'; expected .csv, .jsonl, .parquet"),
        ("a.csv", "prompt,answer,rephrases\n", "no facts"),
        ("a.csv", "", "no facts"),
        ("a.csv", "prompt,answer,rephrases\nThe mayor, so called,Ms Quill,a | b\n", "line 2 has not as many cells"),
        ("a.csv", "prompt,answer,rephrases\nThe mayor\n", "line 2 has not as many cells"),
        ("a.csv", 'prompt,answer,rephrases\n"The "mayor,a,b\n', "line 2: not valid CSV"),
        ("a.csv", "prompt,answer,rephrases\nThe mayor is,Ms Quill,[broken\n", "fact 1: rephrases: .*found '.broken'"),
        ("a.jsonl", '{"prompt": "The mayor is"', "line 1: not valid JSON"),
        ("a.jsonl", '\n["The mayor is"]', "line 2: found .*expected an object"),
        ("a.jsonl", '{"prompt": "a", "answer": "b", "rephrases": "c"}', "fact 1: rephrases: .*valid list, found 'c'"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(AtlasError, match=f"{name}: {message}"):
        own.read_facts(tmp_path / name)


def test_a_missing_file_and_one_that_is_not_text(tmp_path):
    with pytest.raises(AtlasError, match=r"none.csv: no such file"):
        own.read_facts(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"prompt,answer,rephrases\nZ\xfcrich,a,b\n")
    with pytest.raises(AtlasError, match=r"latin.csv: not UTF-8 text"):
        own.read_facts(tmp_path / "latin.csv")
