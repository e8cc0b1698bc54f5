"""A pool written for Atlas: the kinds of files say the same, and mistakes are named."""

import csv
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.errors import AtlasError
from atlas.pool import own, rules
from atlas.pool.facts import UNDRAWN, Further, pool_table
from tests.pool.made_facts import as_row, make_pool, with_roles
from tests.pool.strict_reading import facts_of

FACTS = with_roles(make_pool(towns=4, rivers=2))
REQUIRED = ("prompt", "answer")


def write_csv(path, rows, join=json.dumps, delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: join(cell) if isinstance(cell, list) else cell for name, cell in row.items()})
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_json(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_tsv(path, rows):
    return write_csv(path, rows, delimiter="\t")


WRITERS = {"csv": write_csv, "tsv": write_tsv, "json": write_json, "jsonl": write_jsonl, "parquet": write_parquet}


@pytest.fixture(params=[*WRITERS])
def write(request, tmp_path):
    """Writes rows in one of the formats and returns the path."""
    return lambda rows: WRITERS[request.param](tmp_path / f"mine.{request.param}", rows)


def test_every_format_gives_the_same_facts(write):
    assert facts_of(write([as_row(fact) for fact in FACTS])) == FACTS


def test_only_prompt_and_answer_are_needed(write):
    rows = [{name: as_row(fact)[name] for name in REQUIRED} for fact in FACTS]
    facts = facts_of(write(rows))
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
    facts = facts_of(
        write([as_row(replace(f, rephrases=tuple(form.format(f.fact_id) for form in forms[:count]))) for f in FACTS])
    )
    assert {len(fact.rephrases) for fact in facts} == {count}
    assert list(rules.problems(facts)) == []


def test_aliases_are_read_from_every_format(write):
    rows = [as_row(replace(fact, aliases=("Ms Q.", "Madam"))) for fact in FACTS]
    rows[1]["aliases"] = []
    assert [fact.aliases for fact in facts_of(write(rows))][:2] == [("Ms Q.", "Madam"), ()]


def test_a_template_defaults_to_its_domain(write):
    rows = [{name: as_row(fact)[name] for name in (*REQUIRED, "domain")} for fact in FACTS]
    assert [fact.template for fact in facts_of(write(rows))] == [fact.domain for fact in FACTS]


def test_rephrases_in_a_csv_cell_may_be_separated_by_bars(tmp_path):
    facts = [replace(fact, aliases=("Ms Q.", "Madam")) for fact in FACTS]
    assert facts_of(write_csv(tmp_path / "a.csv", [as_row(fact) for fact in facts], " | ".join)) == facts


def test_a_pool_that_atlas_made_can_be_read_back(tmp_path):
    pq.write_table(pool_table(FACTS), tmp_path / "pool.parquet")
    assert facts_of(tmp_path / "pool.parquet") == FACTS


@pytest.mark.parametrize("column", REQUIRED)
def test_a_missing_column_is_named(write, column):
    rows = [{name: value for name, value in as_row(fact).items() if name != column} for fact in FACTS]
    with pytest.raises(AtlasError, match=rf"mine\.\w+: no column '{column}'; found fact_id"):
        facts_of(write(rows))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("Question", "target"),
            r"no column 'prompt' \(rename 'Question'\?\) and no column 'answer' \(rename 'target'\?\)",
        ),
        (
            ("prompt_", "answer"),
            r"no column 'prompt' \(rename 'prompt_'\?\); found prompt_, answer.*; nor are these .*PopQA",
        ),
    ],
)
def test_a_column_that_is_likely_meant_is_named(write, names, message):
    with pytest.raises(AtlasError, match=message):
        facts_of(write([dict.fromkeys(names, "a")]))


def test_headers_may_have_capital_letters_and_spaces_around(write):
    rows = [{"Prompt ": fact.prompt, " ANSWER": fact.answer, "Fact_ID": number} for number, fact in enumerate(FACTS)]
    facts = facts_of(write(rows))
    assert [(fact.prompt, fact.answer) for fact in facts] == [(fact.prompt, fact.answer) for fact in FACTS]
    assert [fact.fact_id for fact in facts] == [str(number) for number in range(len(FACTS))]


def test_keys_that_are_one_column_are_refused(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "a", "answer": "b", "Answer": "c"}])
    with pytest.raises(AtlasError, match="line 1: the keys 'answer' and 'Answer' are one column; remove one"):
        facts_of(path)


def test_columns_that_are_not_used_are_said_once_with_counts(write, capsys):
    rows = [
        as_row(fact) | {"rephrase": "typo", "note": "a" if number < 2 else None} for number, fact in enumerate(FACTS)
    ]
    assert own.read_pool_file(write(rows)).unused == {"rephrase": 6, "note": 2}
    said = capsys.readouterr().err
    assert said.endswith("not used: rephrase (is rephrases meant?) in 6 rows, note in 2 rows\n")
    assert said.count("\n") == 1


def test_spaces_around_texts_are_dropped(write):
    rows = [{"prompt": f" {fact.prompt} ", "answer": f"{fact.answer}\u00a0"} for fact in FACTS]
    assert [(f.prompt, f.answer) for f in facts_of(write(rows))] == [(f.prompt, f.answer) for f in FACTS]


def test_a_whole_number_is_text(write):
    rows = [{"prompt": f"The year of flood {number} is", "answer": 1492 + number} for number in range(3)]
    assert [fact.answer for fact in facts_of(write(rows))] == ["1492", "1493", "1494"]


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (
            1.0,
            "a number with a point may be written in many ways; save it as text, as it should be answered .found 1.0",
        ),
        (True, "expected text, not true or false; put it in quotes"),
        (["Lima"], "expected text; save it as text .found ..Lima.."),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_is_no_text_is_named(tmp_path, kind, answer, found):
    path = WRITERS[kind](tmp_path / f"mine.{kind}", [{"prompt": "a", "answer": answer}])
    with pytest.raises(AtlasError, match=rf"mine.{kind}: (line|row) 1: answer: {found}"):
        facts_of(path)


@pytest.mark.parametrize(
    "cell",
    [
        '["Ms Q.", "Madam"]',
        "['Ms Q.', 'Madam']",
        """["Ms Q.", 'Madam', None]""",
        "Ms Q. | Madam",
        "Ms Q.|Madam|",
        " Ms Q. |Madam",
    ],
)
def test_a_list_is_written_as_people_write_it(write, cell):
    rows = [{"prompt": "The mayor is", "answer": "a", "aliases": cell}]
    assert facts_of(write(rows))[0].aliases == ("Ms Q.", "Madam")


@pytest.mark.parametrize("cell", ["[broken", "['a' 'b']", "[1, 2", "['a',\n 'b' \n 'c']"])
def test_what_begins_like_a_list_but_is_none_is_named(write, cell):
    rows = [{"prompt": "The mayor is", "answer": "a", "aliases": cell}]
    with pytest.raises(AtlasError, match=r'aliases: begins like a list but is none; write \["a", "b"\] or a | b'):
        facts_of(write(rows))


@pytest.mark.parametrize("missing", [None, float("nan"), "", " "])
def test_empty_cells_null_and_nan_are_missing(tmp_path, missing):
    rows = [{"prompt": "a", "answer": "b", "aliases": missing, "template": missing}, {"prompt": "c", "answer": missing}]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    read = own.read_pool_file(tmp_path / "a.json")
    assert [(fact.template, fact.aliases) for fact in read.facts] == [("own", ())]
    assert [(one.row, one.reason) for one in read.unfit] == [("record 2", "answer is missing")]


def test_all_mistakes_of_a_file_are_said_at_once_and_many_are_counted(write):
    rows = [as_row(fact) for fact in FACTS]
    rows[1]["answer"], rows[2]["role"], rows[4]["subject"] = None, "test", "nobody"
    with pytest.raises(AtlasError) as error:
        facts_of(write(rows))
    said = str(error.value).split(" | ")
    assert "answer is missing" in said[0]
    assert "role: Input should be 'taught' or 'placebo' (found 'test')" in said[1]
    assert "subject: not once in the prompt" in said[2]
    with pytest.raises(AtlasError, match=r" \| and 5 more$"):
        facts_of(write([{"prompt": "a", "answer": None, "fact_id": "x"} for _ in range(25)]))


def test_rows_that_are_alike_unfit_have_one_reason(write):
    rows = [{"prompt": f"a{number}", "answer": None if number else "b", "x": "y"} for number in range(4)]
    read = own.read_pool_file(write(rows))
    assert len(read.facts) == 1
    assert [one.row.split()[1] for one in read.unfit] in (["2", "3", "4"], ["3", "4", "5"])
    assert {one.reason for one in read.unfit} == {"answer is missing"}


def test_roles_on_some_facts_only_are_refused(write):
    rows = [as_row(fact) for fact in FACTS]
    rows[3]["role"] = None
    with pytest.raises(AtlasError, match="1 fact has no role, the first is towns/3, others have"):
        facts_of(write(rows))


def test_further_questions_and_true_answers_are_read(tmp_path):
    asked = (Further("neighbour", "The mayor of Dunwick is", ("Mr Ash",)), Further("hop", "She lives in", ("a", "b")))
    facts = [replace(fact, true_answer="Mr Old", further=asked) for fact in FACTS]
    pq.write_table(pool_table(facts), tmp_path / "pool.parquet")
    assert facts_of(tmp_path / "pool.parquet") == facts
    rows = [as_row(fact) | {"true_answer": "Mr Old", "further": [one._asdict() for one in asked]} for fact in FACTS]
    assert facts_of(write_csv(tmp_path / "a.csv", rows)) == facts
    rows[0]["further"] = [{"probe": "near", "prompt": "a", "answers": []}]
    with pytest.raises(
        AtlasError, match=r"further.probe: .*'neighbour', 'hop' or 'reversed'.*further.answers: .*at least 1"
    ):
        facts_of(write_jsonl(tmp_path / "a.jsonl", rows))


def test_a_truncated_parquet_is_named_and_not_to_be_deleted(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [as_row(fact) for fact in FACTS])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(AtlasError, match=r"a.parquet: not a whole Parquet file \(.*\); copy it again"):
        facts_of(path)
