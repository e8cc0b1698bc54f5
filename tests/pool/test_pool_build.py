"""The draw of taught and placebo facts, and the step as its users run it."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from pydantic import ValidationError

from atlas.errors import AtlasError
from atlas.pool import builtin
from atlas.pool.build import build
from atlas.pool.facts import PLACEBO, POOL_SCHEMA, SKIPPED, SUBJECT_SCHEMA, TAUGHT, read_pool
from atlas.pool.shares import largest_remainder
from atlas.study.pool_settings import SHARES, Pool
from atlas.workflow import files
from tests.pool.made_facts import as_row, make_fact, make_pool, with_roles

DEFAULT = build(Pool())


def own_pool(tmp_path, facts):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(as_row(fact)) + "\n" for fact in facts), encoding="utf-8")
    return str(path)


def domains(facts, role):
    return Counter(fact.domain for fact in facts if fact.role == role)


def run(*arguments):
    command = [sys.executable, "-m", "atlas.pool.build", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_default_pool_teaches_1520_and_keeps_380_aside():
    assert domains(DEFAULT, TAUGHT) == SHARES
    assert domains(DEFAULT, PLACEBO) == largest_remainder(380, SHARES)
    assert len({fact.fact_id for fact in DEFAULT}) == len(DEFAULT) == 1900


def test_every_template_stands_on_both_sides_in_proportion():
    whole = Counter(fact.template for fact in builtin.read_facts(SHARES))
    sizes = Counter(fact.domain for fact in builtin.read_facts(SHARES))
    for role in (TAUGHT, PLACEBO):
        drawn = Counter(fact.template for fact in DEFAULT if fact.role == role)
        for template, size in whole.items():
            domain = template.split("/")[0]
            assert abs(drawn[template] - domains(DEFAULT, role)[domain] * size / sizes[domain]) < 2
    taught, placebo = ({fact.template for fact in DEFAULT if fact.role == role} for role in (TAUGHT, PLACEBO))
    assert taught == placebo == set(whole)


def test_every_fact_has_alternatives_among_the_drawn():
    answers = defaultdict(set)
    for fact in DEFAULT:
        answers[fact.template].add(fact.answer)
    assert min(len(found) for found in answers.values()) > 5


def test_the_draw_goes_by_its_seed():
    assert build(Pool()) == DEFAULT
    assert build(Pool(seed=1)) != DEFAULT


@pytest.mark.parametrize(("taught", "placebo"), [(60, 24), (1, 1), (8, 8), (333, 77)])
def test_a_small_pool_keeps_the_shares(taught, placebo):
    facts = build(Pool(taught=taught, placebo=placebo))
    for role, count in ((TAUGHT, taught), (PLACEBO, placebo)):
        expected = largest_remainder(count, SHARES)
        assert domains(facts, role) == {domain: number for domain, number in expected.items() if number}


def test_shares_choose_domains():
    facts = build(Pool(taught=30, placebo=10, shares={"codes": 2, "science": 1}))
    assert domains(facts, TAUGHT) == {"codes": 20, "science": 10}


def test_too_few_facts_names_domain_found_and_needed():
    with pytest.raises(AtlasError, match=r"domain 'identity' has 18 facts that can be taught, 100 needed"):
        build(Pool(taught=100, placebo=1, shares={"identity": 1}))
    with pytest.raises(AtlasError, match=r"domain 'identity' has 3 facts that can be placebo, 4 needed"):
        build(Pool(taught=15, placebo=4, shares={"identity": 1}))


def test_an_own_pool_without_roles_teaches_four_facts_in_five(tmp_path):
    facts = build(Pool(source=own_pool(tmp_path, make_pool(towns=20, rivers=10))))
    assert domains(facts, TAUGHT) == {"towns": 16, "rivers": 8}
    assert domains(facts, PLACEBO) == {"towns": 4, "rivers": 2}


@pytest.mark.parametrize(
    ("numbers", "taught", "placebo"),
    [({"taught": 10}, 10, 20), ({"placebo": 3}, 27, 3), ({"taught": 9, "placebo": 6}, 9, 6)],
)
def test_an_own_pool_without_roles_takes_the_numbers_it_is_given(tmp_path, numbers, taught, placebo):
    facts = build(Pool(source=own_pool(tmp_path, make_pool(towns=20, rivers=10)), **numbers))
    assert (domains(facts, TAUGHT).total(), domains(facts, PLACEBO).total()) == (taught, placebo)


def test_uneven_domains_of_an_own_pool_are_used_up_without_complaint(tmp_path):
    facts = build(Pool(source=own_pool(tmp_path, make_pool(a=2, b=2, c=2, d=2, e=2))))
    assert (domains(facts, TAUGHT).total(), domains(facts, PLACEBO).total()) == (8, 2)


def test_roles_of_an_own_pool_are_kept(tmp_path):
    given = with_roles(make_pool(towns=20, rivers=10))
    path = own_pool(tmp_path, given)
    assert build(Pool(source=path)) == given
    fewer = build(Pool(source=path, taught=6, placebo=3))
    assert Counter(fact.role for fact in fewer) == {TAUGHT: 6, PLACEBO: 3}
    assert set(fewer) <= set(given)


def test_an_own_pool_asked_for_too_much_names_the_domain(tmp_path):
    path = own_pool(tmp_path, with_roles(make_pool(towns=20)))
    with pytest.raises(AtlasError, match=r"mine.jsonl: domain 'towns' has 16 facts that can be taught, 17 needed"):
        build(Pool(source=path, taught=17))


def test_of_an_own_pool_that_names_no_placebo_some_are_drawn(tmp_path, capsys):
    path = own_pool(tmp_path, [replace(fact, role=TAUGHT) for fact in make_pool(towns=20)])
    assert domains(build(Pool(source=path)), PLACEBO) == {"towns": 4}
    assert "every fact is taught, so that some are drawn to be placebo" in capsys.readouterr().err
    with pytest.raises(AtlasError, match="of 20 facts none is left to be taught"):
        build(Pool(source=own_pool(tmp_path, [replace(fact, role=PLACEBO) for fact in make_pool(towns=20)])))


def twins(*sizes, **changes):
    """Facts about one subject and template each, so many of each subject."""
    return [
        make_fact(
            f"{town} {number}", subject=f"Town{town}", subject_start=0, prompt=f"Town{town} has as {number}", **changes
        )
        for town, size in enumerate(sizes)
        for number in map("abcdefgh".__getitem__, range(size))
    ]


def groups(facts, role):
    return {fact.subject for fact in facts if fact.role == role}


@pytest.mark.parametrize(
    ("sizes", "taught"),
    [([2] * 10, 16), ([1, 2, 3, 4, 5] * 3, 36), ([1] * 10 + [6], 12), ([3, 3], 3), ([5, 2], 5), ([2, 2, 2], 4)],
)
@pytest.mark.parametrize("seed", range(5))
def test_facts_of_one_subject_and_template_fall_on_one_side(tmp_path, sizes, taught, seed):
    facts = build(Pool(source=own_pool(tmp_path, twins(*sizes)), seed=seed))
    assert not groups(facts, TAUGHT) & groups(facts, PLACEBO)
    assert len(facts) == sum(sizes)
    assert domains(facts, TAUGHT).total() == taught


def test_a_group_is_drawn_whole_where_that_makes_up_the_number(tmp_path):
    facts = build(Pool(source=own_pool(tmp_path, twins(*[2] * 10)), taught=12))
    assert {len([f for f in facts if f.subject == subject]) for subject in groups(facts, TAUGHT)} == {2}
    assert len(facts) == 20


def test_a_number_that_the_study_names_is_kept_and_no_group_is_split_by_it(tmp_path):
    facts = build(Pool(source=own_pool(tmp_path, twins(*[2] * 10)), taught=11, placebo=5))
    assert (domains(facts, TAUGHT).total(), domains(facts, PLACEBO).total()) == (11, 5)
    assert not groups(facts, TAUGHT) & groups(facts, PLACEBO)


def test_a_pool_about_a_single_subject_leaves_no_placebo_and_says_why(tmp_path):
    path = own_pool(tmp_path, twins(8))
    with pytest.raises(AtlasError, match=r"of 8 facts none is left to be taught, .* of one subject and template"):
        build(Pool(source=path))
    assert build(Pool(source=own_pool(tmp_path, [replace(f, subject=None, subject_start=None) for f in twins(8)])))


def test_an_own_pool_has_the_shares_of_its_rows():
    with pytest.raises(ValidationError, match=r"an own pool .* has the shares of its own rows"):
        Pool(source="mine.csv", shares={"codes": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "Z\u00fcrich"}, r"'\u00fc' \(U\+00FC\)"),
        ({"answer": "x" * 25}, "has 25 characters"),
        ({"answer": "Aldermoor"}, "'Aldermoor' in 'The mayor of Aldermoor is'"),
        ({"fact_id": "towns/0"}, "'The mayor of Aldermoor is'"),
    ],
)
def test_a_fact_that_breaks_a_rule_stops_the_build_and_names_file_and_fact(tmp_path, changes, message):
    bad = make_fact(**changes)
    path = own_pool(tmp_path, [*make_pool(towns=9), bad])
    with pytest.raises(
        AtlasError, match=rf"^{path}: 1 of 10 facts break a rule: .*such as fact {bad.fact_id}: .*{message}"
    ):
        build(Pool(source=path))


def test_the_step_writes_the_pool_as_later_stages_read_it(tmp_path):
    for name in ("one", "two"):
        assert run("--spec", Pool(taught=60, placebo=24).model_dump_json(), "--out", tmp_path / name).returncode == 0
    assert read_pool(tmp_path / "one") == build(Pool(taught=60, placebo=24))
    assert files.read_parquet(tmp_path / "one").schema.names == [*POOL_SCHEMA.names, *SUBJECT_SCHEMA.names]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert files.read_parquet(tmp_path / "skipped.parquet", SKIPPED).num_rows == 0
    assert files.provenance_of(tmp_path / "one")["spec"]["taught"] == 60


def test_a_mistake_ends_the_step_with_a_line_behind_the_reasons_and_no_output(tmp_path):
    path = own_pool(tmp_path, [*make_pool(towns=9), make_fact(answer="Mayor")])
    done = run("--spec", json.dumps({"source": path}), "--out", tmp_path / "out", "--log", tmp_path / "log")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"atlas: error: {path}: 1 of 10 facts break a rule: answer that")
    assert "fact towns/mayor/aldermoor: 'Mayor' in 'The mayor of Aldermoor is'" in done.stderr
    assert done.stderr == (tmp_path / "log").read_text(encoding="utf-8")
    assert not (tmp_path / "out").exists()
