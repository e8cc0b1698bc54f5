"""The committed fact tables, held against every rule of the pool."""

from collections import Counter, defaultdict

import pytest

from atlas.base.text import gap
from atlas.errors import AtlasError
from atlas.pool import builtin, invent, rules
from atlas.pool.shares import largest_remainder
from atlas.study.pool_settings import SHARES

FACTS = builtin.read_facts(SHARES)
INVENTED = {"codes", "personal", "identity"}


def test_every_table_has_its_share_and_every_share_its_table():
    assert set(builtin.domains()) == set(SHARES)
    assert {path.stem for path in builtin.DATA.glob("*.yaml")} == set(SHARES)


@pytest.mark.parametrize("domain", SHARES)
def test_every_domain_has_enough_facts(domain):
    needed = largest_remainder(1520, SHARES)[domain] + largest_remainder(380, SHARES)[domain]
    assert sum(fact.domain == domain for fact in FACTS) >= needed


def test_every_rule_is_kept():
    assert [f"{fact.fact_id}: {text}" for fact, text in rules.problems(FACTS)] == []


def test_a_space_stands_before_every_answer():
    assert {gap(prompt) for fact in FACTS for prompt in fact.prompts} == {" "}


def test_alternatives_are_plenty():
    answers = defaultdict(set)
    for fact in FACTS:
        answers[fact.template].add(fact.answer)
    assert {template: len(found) for template, found in answers.items() if len(found) < 10} == {}


@pytest.mark.parametrize("domain", SHARES)
def test_prompts_differ_in_wording_and_word_order_whatever_the_subject(domain):
    for name, relation in builtin.read_relations(builtin.DATA / f"{domain}.yaml").items():
        fact = builtin.make_fact(domain, builtin.TableLine(name, "Zzz", "answer"), relation)
        assert [text for _, text in rules.problems([fact]) if "alike" in text or "twice" in text] == []


def test_prompts_start_with_a_capital_or_a_digit():
    assert [form for fact in FACTS for form in fact.prompts if form[0] != form[0].upper()] == []


@pytest.mark.parametrize("domain", SHARES)
def test_sources_are_named(domain):
    relations = builtin.read_relations(builtin.DATA / f"{domain}.yaml").values()
    assert {relation.source == "invented by atlas.pool.invent" for relation in relations} == {domain in INVENTED}


def test_fact_ids_are_domain_relation_and_subject():
    by_id = {fact.fact_id: fact for fact in FACTS}
    paris = by_id["geography/capital/france"]
    assert (paris.prompt, paris.answer, paris.template) == ("The capital of France is", "Paris", "geography/capital")
    assert all(fact.fact_id.startswith(f"{fact.template}/") for fact in FACTS)


def test_committed_inventions_are_in_step_with_their_generator():
    assert set(invent.read_words().relations) == INVENTED
    for domain in sorted(INVENTED):
        assert invent.table(domain) == (builtin.DATA / f"{domain}.tsv").read_text(encoding="utf-8"), (
            f"{domain}.tsv is out of step; run python -m atlas.pool.invent"
        )


def test_a_relation_of_an_invented_domain_spreads_its_answers_evenly():
    for domain in INVENTED:
        for relation in builtin.read_relations(builtin.DATA / f"{domain}.yaml"):
            times = Counter(fact.answer for fact in FACTS if fact.template == f"{domain}/{relation}")
            assert max(times.values()) - min(times.values()) <= 1


def write_domain(
    folder, table="capital\tPeru\tLima\n", form="The capital of {subject} is", rephrases=builtin.REPHRASES
):
    (folder / "own.tsv").write_text("relation\tsubject\tanswer\taliases\n" + table, encoding="utf-8")
    prompts = [
        form,
        '"{subject} has as its capital"',
        "Government sits for {subject} in",
        "Whoever rules {subject} does so from",
        *(f"Guide number {number} of {{subject}} points to" for number in range(2, builtin.REPHRASES)),
    ][: rephrases + 1]
    prompt, *others = prompts
    listed = "".join(f"\n    - {rephrase}" for rephrase in others)
    (folder / "own.yaml").write_text(
        f"capital:\n  source: a book\n  prompt: {prompt}\n  rephrases:{listed}\n", encoding="utf-8"
    )


def test_a_new_line_in_a_table_is_a_new_fact(tmp_path):
    write_domain(tmp_path, "capital\tPeru\tLima\ncapital\tSan Remo's\tX-1\n")
    second = builtin.read_facts(["own"], tmp_path)[1]
    assert second.fact_id == "own/capital/san-remo-s"
    assert second.prompts[:2] == ("The capital of San Remo's is", "San Remo's has as its capital")


def test_aliases_stand_in_a_fourth_cell_where_there_are_any(tmp_path):
    write_domain(tmp_path, "capital\tPeru\tLima\ncapital\tUkraine\tKyiv\tKiev | Kyjiv\n")
    assert [fact.aliases for fact in builtin.read_facts(["own"], tmp_path)] == [(), ("Kiev", "Kyjiv")]
    assert builtin.read_facts(["own"], tmp_path)[1].answers == ("Kyiv", "Kiev", "Kyjiv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "capital\tPeru\n"}, r"own.tsv: line 2 is 'capital\\tPeru'; expected 3 cells"),
        ({"table": "capital\tPeru\t\n"}, "own.tsv: line 2 .*expected 3 cells"),
        ({"table": "mayor\tPeru\tLima\n"}, "own.yaml: no relation 'mayor', which own.tsv uses"),
        ({"table": ""}, "own.tsv: no fact of relation 'capital'"),
        ({"table": "capital\tPeru\tLima\nmayor\ta\tb\ncapital\tOman\tMuscat\n"}, "line 4: 'capital' began further up"),
        ({"form": "The capital is"}, r"own.yaml: capital.prompt: a prompt contains \{subject\} once"),
        ({"form": "The {thing} of {subject} is"}, "own.yaml: capital.prompt: .*no other braces"),
        ({"form": "The capital of {subject} is?"}, "own.yaml: capital.prompt: .*without space or punctuation"),
        ({"form": "[1, 2"}, "own.yaml: not valid YAML"),
        ({"rephrases": 7}, "own.yaml: capital.rephrases: .*at least 8 items"),
    ],
)
def test_mistakes_in_a_table_are_named(tmp_path, changes, message):
    write_domain(tmp_path, **changes)
    with pytest.raises(AtlasError, match=message):
        builtin.read_facts(["own"], tmp_path)


def test_a_wrong_header_is_named(tmp_path):
    write_domain(tmp_path)
    (tmp_path / "own.tsv").write_text("subject\tanswer\n", encoding="utf-8")
    with pytest.raises(AtlasError, match=r"own.tsv: line 1 is 'subject\\tanswer'; expected the columns relation"):
        builtin.read_facts(["own"], tmp_path)


def test_an_unknown_domain_is_named():
    with pytest.raises(AtlasError, match=r"pool.shares: no domain 'cooking'; the tables of Atlas are biology, codes"):
        builtin.read_facts(["codes", "cooking"])
