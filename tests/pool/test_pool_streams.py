"""Streams: stratified, in random order, the same every time, and read back as they were drawn."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.pool.build import build
from atlas.pool.facts import PLACEBO, STREAM_SCHEMA, TAUGHT, pool_table, read_pool, read_stream, sentence
from atlas.pool.shares import largest_remainder
from atlas.pool.streams import draw, stream_table
from atlas.study.jobs import StreamSpec
from atlas.study.pool_settings import SHARES, Pool
from atlas.workflow import files
from tests.pool.made_facts import make_pool, with_roles

FACTS = build(Pool())
BY_ID = {fact.fact_id: fact for fact in FACTS}
SPEC = StreamSpec(seed=1, sessions=100, facts_per_session=3)


def domains(lessons):
    return Counter(BY_ID[lesson.fact_id].domain for lesson in lessons)


def test_the_essay_s_300_facts_are_spread_over_the_domains_in_shares():
    counts = domains(draw(SPEC, FACTS))
    assert [counts[domain] for domain in SHARES] == [90, 70, 50, 34, 33, 15, 6, 2]


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 8))
def test_a_stream_is_stratified_complete_and_without_repeats(seed, sessions, facts_per_session):
    lessons = draw(StreamSpec(seed=seed, sessions=sessions, facts_per_session=facts_per_session), FACTS)
    assert [(session, slot) for session, slot, _ in lessons] == [
        (session, slot) for session in range(1, sessions + 1) for slot in range(facts_per_session)
    ]
    assert len({lesson.fact_id for lesson in lessons}) == len(lessons)
    assert {BY_ID[lesson.fact_id].role for lesson in lessons} == {TAUGHT}
    shares = Counter(fact.domain for fact in FACTS if fact.role == TAUGHT)
    expected = largest_remainder(len(lessons), shares)
    assert domains(lessons) == {domain: count for domain, count in expected.items() if count}


@given(st.integers(0, 10**6))
def test_a_seed_always_draws_the_same_and_its_neighbour_something_else(seed):
    spec = SPEC.model_copy(update={"seed": seed})
    assert draw(spec, FACTS) == draw(spec, FACTS)
    assert draw(spec, FACTS) != draw(spec.model_copy(update={"seed": seed + 1}), FACTS)


def test_the_order_is_random_not_domain_by_domain():
    order = [BY_ID[lesson.fact_id].domain for lesson in draw(SPEC, FACTS)]
    changes = sum(a != b for a, b in pairwise(order))
    assert changes > 150  # about 240 of 299 in a random order; 7 if domain followed domain


def test_placebo_facts_do_not_change_the_stream():
    assert draw(SPEC, [fact for fact in FACTS if fact.role != PLACEBO]) == draw(SPEC, FACTS)


def test_all_taught_facts_can_be_taught_and_no_more():
    facts = with_roles(make_pool(towns=15, rivers=15))
    assert len(draw(StreamSpec(seed=1, sessions=8, facts_per_session=3), facts)) == 24
    with pytest.raises(AtlasError, match=r"9 sessions of 3 facts need 27, the pool has 24 to teach"):
        draw(StreamSpec(seed=1, sessions=9, facts_per_session=3), facts)


def run(pool, out, spec=SPEC):
    command = [sys.executable, "-m", "atlas.pool.streams", "--spec", spec.model_dump_json(), "--pool", str(pool)]
    return subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)


def test_the_step_writes_the_same_bytes_twice_and_what_was_drawn(tmp_path):
    files.write_parquet(tmp_path / "pool.parquet", pool_table(FACTS), {})
    for name in ("one", "two"):
        assert run(tmp_path / "pool.parquet", tmp_path / name).returncode == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert read_stream(tmp_path / "one") == draw(SPEC, FACTS)
    assert files.read_parquet(tmp_path / "one").schema.names == ["seed", "session", "slot", "fact_id"]
    assert files.provenance_of(tmp_path / "one")["pool_sha256"] == files.sha256(tmp_path / "pool.parquet")


def test_a_truncated_pool_ends_the_step_with_one_line(tmp_path):
    files.write_parquet(tmp_path / "pool.parquet", pool_table(FACTS), {})
    (tmp_path / "pool.parquet").write_bytes((tmp_path / "pool.parquet").read_bytes()[:5000])
    done = run(tmp_path / "pool.parquet", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pool.parquet: not a whole Parquet file" in done.stderr
    assert not (tmp_path / "out").exists()


def write_stream(path, *lessons):
    columns = dict(zip(STREAM_SCHEMA.names, zip(*((1, *lesson) for lesson in lessons), strict=True), strict=True))
    files.write_parquet(path, pa.table(columns, schema=STREAM_SCHEMA), {})
    return path


@pytest.mark.parametrize(
    ("lessons", "message"),
    [
        ([(1, 0, "a"), (1, 1, "b"), (3, 0, "c")], "row 3 is session 3, slot 0; expected session 2, slot 0"),
        ([(1, 0, "a"), (1, 2, "b")], "row 2 is session 1, slot 2; expected session 1, slot 1"),
        ([(0, 0, "a")], "row 1 is session 0, slot 0; expected session 1, slot 0"),
        ([(1, 0, "a"), (2, 0, "a")], "fact a is taught twice"),
        ([(1, 0, "a"), (1, 1, "b"), (2, 0, "c")], "found 3 facts, expected sessions of 2 each"),
        ([(1, 0, None)], "column 'fact_id' is empty in 1 row;"),
    ],
)
def test_a_spoilt_stream_is_refused(tmp_path, lessons, message):
    with pytest.raises(AtlasError, match=f"x.parquet: {message}"):
        read_stream(write_stream(tmp_path / "x.parquet", *lessons))


def test_an_empty_stream_is_refused(tmp_path):
    files.write_parquet(tmp_path / "x.parquet", STREAM_SCHEMA.empty_table(), {})
    with pytest.raises(AtlasError, match=r"x.parquet: found 0 facts"):
        read_stream(tmp_path / "x.parquet")


def test_a_pool_reads_back_as_it_was(tmp_path):
    files.write_parquet(tmp_path / "pool.parquet", pool_table(FACTS), {})
    assert read_pool(tmp_path / "pool.parquet") == FACTS


def test_a_spoilt_pool_is_refused(tmp_path):
    facts = with_roles(make_pool(towns=2))
    files.write_parquet(tmp_path / "twice.parquet", pool_table([*facts, facts[0]]), {})
    with pytest.raises(AtlasError, match=r"twice.parquet: fact towns/0 is there twice"):
        read_pool(tmp_path / "twice.parquet")
    files.write_parquet(tmp_path / "undrawn.parquet", pool_table(make_pool(towns=2)), {})
    with pytest.raises(AtlasError, match=r"undrawn.parquet: fact towns/0: role ''; expected 'taught' or 'placebo'"):
        read_pool(tmp_path / "undrawn.parquet")
    files.write_parquet(tmp_path / "less.parquet", pool_table(facts).drop_columns(["answer"]), {})
    with pytest.raises(AtlasError, match=r"less.parquet: no column 'answer'"):
        read_pool(tmp_path / "less.parquet")


def test_the_sentence_as_taught():
    assert sentence("The capital of France is", "Paris") == "The capital of France is Paris\n"


def test_a_stream_s_table_has_a_row_a_fact():
    table = stream_table(7, draw(SPEC, FACTS))
    assert table.num_rows == 300
    assert set(table.column("seed").to_pylist()) == {7}


KNOWN = [replace(fact, true_answer="what it says") if at % 7 == 0 else fact for at, fact in enumerate(FACTS)]


@pytest.mark.parametrize(("share", "contrary"), [(0, 0), (0.25, 12), (0.5, 24), (1, 48)])
def test_facts_that_contradict_the_base_have_the_share_that_is_asked_for(share, contrary):
    lessons = draw(StreamSpec(seed=3, sessions=16, facts_per_session=3, counterfactual=share), KNOWN)
    true = {fact.fact_id: fact.true_answer for fact in KNOWN}
    drawn = [true[lesson.fact_id] is not None for lesson in lessons]
    assert sum(drawn) == contrary
    assert len({lesson.fact_id for lesson in lessons}) == 48
    assert drawn != sorted(drawn)[::-1] or share in (0, 1)  # mixed, not one kind after the other


def test_too_few_facts_that_the_base_knows_are_said():
    few = [*KNOWN[:1], *(replace(fact, true_answer=None) for fact in KNOWN[1:])]
    with pytest.raises(AtlasError, match=r"0.5 of 12 facts asks for 6 that the base knows, the pool has 1 to"):
        draw(StreamSpec(seed=1, sessions=4, facts_per_session=3, counterfactual=0.5), few)
