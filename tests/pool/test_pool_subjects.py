"""Subjects of facts: where they stand in the prompt, and that knowing them changed nothing else."""

import hashlib
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from atlas.errors import AtlasError
from atlas.pool import builtin, rules
from atlas.pool.build import build
from atlas.pool.facts import POOL_SCHEMA, SUBJECT_SCHEMA, Fact, pool_table, read_pool
from atlas.pool.streams import draw
from atlas.study.jobs import StreamSpec
from atlas.study.pool_settings import SHARES, Pool
from atlas.workflow import files
from tests.pool.made_facts import as_row, make_fact, with_roles
from tests.pool.strict_reading import facts_of

ABOUT = make_fact(subject="Aldermoor", subject_start=13)


def digest(value) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def test_pool_and_streams_change_with_the_tables_alone():
    """A change of the code keeps these draws; whoever changes a table pins the new ones."""
    facts = build(Pool())
    assert digest([[getattr(fact, name) for name in POOL_SCHEMA.names] for fact in facts]) == "e1575749a5a3dc1f"
    assert digest([draw(StreamSpec(seed=1, sessions=100, facts_per_session=3), facts)]) == "56a6017a6005c7c7"


def test_every_fact_of_atlas_has_its_subject_where_the_prompt_has_it():
    for fact in builtin.read_facts(SHARES):
        assert fact.subject
        there = fact.prompt[fact.subject_start : fact.subject_end]
        assert fact.subject in (there, there[0].lower() + there[1:])


def test_a_subject_may_open_the_prompt_with_a_capital():
    relation = builtin.read_relations(builtin.DATA / "geography.yaml")["city_country"]
    fact = builtin.make_fact("geography", builtin.TableLine("city_country", "the old town", "Peru"), relation)
    assert (fact.prompt[:12], fact.subject, fact.subject_start, fact.subject_end) == (
        "The old town",
        "the old town",
        0,
        12,
    )
    assert fact.subject_in_place


@pytest.mark.parametrize(
    ("subject", "start", "right"),
    [
        ("Aldermoor", 13, True),
        ("ALDERMOOR", 13, True),
        (None, None, True),
        ("Aldermoor", 12, False),
        ("Aldermoor", -12, False),
        ("Bellhaven", 13, False),
        ("", 13, False),
        (None, 13, False),
        ("Aldermoor", None, False),
    ],
)
def test_a_subject_that_is_not_in_its_place_breaks_a_rule(tmp_path, subject, start, right):
    fact = replace(ABOUT, subject=subject, subject_start=start)
    said = [one.reason for one in rules.unfit([fact])]
    assert said == [] if right else said[0].startswith("subject not in its place")
    files.write_parquet(tmp_path / "pool.parquet", pool_table(with_roles([fact])), {})
    if right:
        assert read_pool(tmp_path / "pool.parquet") == with_roles([fact])
    else:
        with pytest.raises(AtlasError, match=r"pool.parquet: fact towns/mayor/aldermoor: subject .* remake the pool"):
            read_pool(tmp_path / "pool.parquet")


def test_a_pool_without_subjects_is_read(tmp_path):
    table = pool_table(with_roles([ABOUT])).drop_columns(SUBJECT_SCHEMA.names)
    files.write_parquet(tmp_path / "pool.parquet", table, {})
    assert read_pool(tmp_path / "pool.parquet") == with_roles([replace(ABOUT, subject=None, subject_start=None)])


def read_row(tmp_path, **changes) -> Fact:
    row = {name: cell for name, cell in (as_row(ABOUT) | changes).items() if cell is not None}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row), encoding="utf-8")
    return facts_of(tmp_path / "mine.jsonl")[0]


def test_an_own_pool_may_leave_it_to_atlas_where_a_subject_stands(tmp_path):
    assert read_row(tmp_path, subject="aldermoor", subject_start=None).subject_start == 13


def test_an_own_subject_that_is_there_twice_needs_its_place(tmp_path):
    prompt = "Aldermoor the town, not Aldermoor the wood, is led by"
    with pytest.raises(
        AtlasError, match=r"mine.jsonl: (line|record) 1: subject: not once in .*'Aldermoor' is 2 times in"
    ):
        read_row(tmp_path, prompt=prompt, subject_start=None)
    assert read_row(tmp_path, prompt=prompt, subject_start=24).subject_start == 24
    with pytest.raises(AtlasError, match="'Bellhaven' is 0 times in 'The"):
        read_row(tmp_path, subject="Bellhaven", subject_start=None)


def test_a_csv_cell_says_where_a_subject_stands_and_a_wrong_one_is_named(tmp_path):
    head, cells = "prompt,answer,rephrases,subject,subject_start", "The mayor of Aldermoor is,Ms Quill,a | b,Aldermoor"
    path = tmp_path / "mine.csv"
    path.write_text(f"{head}\n{cells},13\n", encoding="utf-8")
    assert facts_of(path)[0].subject_start == 13
    path.write_text(f"{head}\n{cells},early\n", encoding="utf-8")
    with pytest.raises(AtlasError, match=r"mine.csv: line 2: subject_start: .*found 'early'"):
        facts_of(path)


def test_a_pool_that_atlas_made_is_read_back_with_its_subjects_and_nothing_unused(tmp_path, capsys):
    pq.write_table(pool_table(with_roles([ABOUT])), tmp_path / "pool.parquet")
    assert facts_of(tmp_path / "pool.parquet") == with_roles([ABOUT])
    assert "not used" not in capsys.readouterr().err
