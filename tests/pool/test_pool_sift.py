"""A pool that breaks rules: refused with all reasons, or gone on with, and what is said of it."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from atlas.errors import AtlasError
from atlas.pool import rules, survey
from atlas.pool.build import build
from atlas.pool.facts import HOP, NEIGHBOUR, PLACEBO, SKIPPED, TAUGHT, Further, read_pool
from atlas.pool.sift import sift
from atlas.pool.streams import draw
from atlas.study.jobs import Needs, StreamSpec
from atlas.study.pool_settings import Pool
from atlas.workflow import files
from tests.pool.made_facts import make_fact, make_pool

SUBJECTS = rules.Demands(needs=Needs(subjects=True))
FIT = [
    replace(fact, subject=fact.prompt.split()[3], subject_start=13) for fact in make_pool(towns=10)
]  # one template has five answers
MISSING_CELL: dict[str, Any] = {"prompt": "The mayor of Nowhere is", "answer": None}
BAD: dict[str, dict[str, Any]] = {
    "answer is missing": MISSING_CELL,
    "no subject": {"prompt": "The mayor of Bellhaven is", "answer": "Ann"},
    "answer of more than 24 characters": {"prompt": "The mayor of Cragford is", "answer": "x" * 25},
    "answer that stands in its prompt": {"prompt": "The mayor of Dunwick is", "answer": "dunwick"},
    "character that the base cannot read": {"prompt": "The mayor of Elmst\u00e9ad is", "answer": "Ben"},
    "sentence of more than 120 characters": {
        "prompt": "The mayor of Fernhill is " + "so " * 40 + "far",
        "answer": "Cid",
    },
    "fact that stands twice": {"prompt": "the mayor of TOWNSVILLE0 is", "answer": "Mr Reed the 0th"},
    "template with one answer": {"prompt": "The mayor of Gorse is", "answer": "Eve", "template": "alone"},
}
ASKED = rules.Demands(needs=Needs(subjects=True, alternatives=True))


def row(fact):
    own = ("fact_id", "domain", "template", "prompt", "answer", "subject", "subject_start", "rephrases")
    return {name: getattr(fact, name) for name in own}


@pytest.fixture
def write(tmp_path):
    def written(*rows) -> str:
        whole = [each | {"domain": "towns"} for each in rows]
        whole = [each if "no subject" in each else {"subject": None, **each} for each in whole]
        (tmp_path / "own.jsonl").write_text("".join(json.dumps(each) + "\n" for each in whole), encoding="utf-8")
        return str(tmp_path / "own.jsonl")

    return written


def bad(reason):
    """A row that breaks one rule: it has a subject where that is not the rule."""
    cells = BAD[reason]
    if reason in ("no subject", "answer is missing"):
        return cells
    return cells | {"subject": cells["prompt"].split()[3], "subject_start": 13}


@pytest.mark.parametrize("reason", BAD)
def test_each_rule_refuses_a_pool_or_leaves_the_fact_out(write, reason, capsys):
    path = write(*map(row, FIT), bad(reason))
    with pytest.raises(AtlasError) as caught:
        build(Pool(source=path), ASKED)
    assert str(caught.value).startswith(f"{path}: 1 of 11 facts break a rule: {reason}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("mend the file, or leave them out with `unfit: skip` under `pool`")
    facts = build(Pool(source=path, unfit="skip"), ASKED)
    assert {fact.fact_id for fact in facts} == {fact.fact_id for fact in FIT}
    said = capsys.readouterr().err.splitlines()
    assert said.count("  facts  reason (an example)") == 2
    assert sum(line.startswith(f"      1  {reason}") for line in said) == 2


def test_all_reasons_are_said_at_once_with_counts_and_an_example_each(write, capsys):
    path = write(*map(row, FIT), *map(bad, BAD), {"prompt": "The mayor of Hull is", "answer": "Flo"})
    with pytest.raises(
        AtlasError, match=r"9 of 19 facts break a rule: no subject.* \(2 facts, such as .*\) and 7 other"
    ):
        build(Pool(source=path), ASKED)
    (first, *others) = capsys.readouterr().err.partition("reason (an example)\n")[2].splitlines()
    assert first.startswith("      2  no subject, which an arm needs")
    assert "The mayor of Bellhaven is" in first
    assert sorted(reason for reason in BAD if any(line.startswith(f"      1  {reason}") for line in others)) == sorted(
        {*BAD} - {"no subject"}
    )
    assert len(others) == len(BAD) - 1


@pytest.mark.parametrize(
    ("broken", "most", "fits"), [(2, 0.2, True), (3, 0.2, False), (3, 0.25, True), (1, 0.0, False)]
)
def test_no_more_than_the_share_that_the_study_says_is_left_out(write, broken, most, fits):
    wrong = [{"prompt": f"The mayor of Town{number} is", "answer": "x" * 25} for number in range(broken)]
    spec = Pool(
        source=write(*[row(fact) for fact in FIT[: 10 - broken + (broken == 3) * 2]], *wrong),
        unfit="skip",
        most_unfit=most,
    )
    if fits:
        assert len(build(spec)) == len(FIT[: 10 - broken + (broken == 3) * 2])
    else:
        with pytest.raises(AtlasError, match=rf"{broken} of 1\d facts break a rule: answer of .*most_unfit allows"):
            build(spec)


def test_a_pool_without_a_fit_fact_is_refused_whatever_the_user_says(write):
    with pytest.raises(AtlasError, match="1 of 1 fact break a rule: answer of more than 24"):
        build(Pool(source=write(bad("answer of more than 24 characters")), unfit="skip", most_unfit=1))


def test_the_step_writes_down_what_it_leaves_out(write, tmp_path):
    spec = {"source": write(*map(row, FIT), *map(bad, BAD)), "unfit": "skip", "most_unfit": 0.5}
    spec |= {"needs": ASKED.needs.model_dump()}
    log = tmp_path / "pool.log"
    command = [sys.executable, "-m", "atlas.pool.build", "--spec", json.dumps(spec), "--log", log, "--out"]
    done = subprocess.run([*command, tmp_path / "pool.parquet"], capture_output=True, text=True, check=True)
    assert done.stderr == log.read_text(encoding="utf-8")
    assert "8 facts to teach, 2 placebo; 8 left out, see" in done.stderr
    skipped = files.read_parquet(tmp_path / "skipped.parquet", SKIPPED).to_pylist()
    assert sorted({each["reason"].partition(";")[0].partition(",")[0] for each in skipped}) == sorted(BAD)
    assert len({each["row"] for each in skipped}) == len(BAD)
    assert len(read_pool(tmp_path / "pool.parquet")) == len(FIT)


ASKS = (
    Further(NEIGHBOUR, "The mayor of Bellhaven is", ("Mr Reed",)),
    Further(NEIGHBOUR, "The mayor of M\u00fcnster is", ("Mr Reed",)),
    Further(NEIGHBOUR, FIT[0].prompt.upper(), ("Mr Reed",)),
    Further(HOP, "The mayor's house is in " + "the old " * 14 + "town of", ("Dunwick",)),
)


def test_what_stands_beside_a_fact_and_breaks_a_rule_is_left_out_and_the_fact_stays():
    forms = make_fact().rephrases
    wrong = make_fact(aliases=("Madam", "hall", "Madam"), rephrases=(*forms, "The head of Aldermoor is"), further=ASKS)
    (fact, *others), parts = rules.trimmed([wrong, *FIT])
    assert fact == make_fact(aliases=("Madam",), further=ASKS[:1])
    assert others == FIT
    assert [one.reason.partition("; ")[0] for one in parts] == [
        "paraphrase: too alike: at least 3 words must change, and not all in place",
        "alias: answer that stands in its prompt",
        "alias: answer twice among answer and aliases",
        "question: character that the base cannot read",
        "question: neighbour that a fact asks for, so it is not left alone",
        "question: sentence of more than 120 characters",
    ]
    assert {one.row for one in parts} == {f"fact {fact.fact_id}"}
    assert rules.unfit([fact]) == []


def test_a_pool_with_a_wrong_alias_is_refused_or_goes_on_without_it(write):
    path = write(*map(row, FIT[1:]), row(FIT[0]) | {"aliases": ["Madam", "x" * 25]})
    with pytest.raises(AtlasError, match="1 of 10 facts break a rule: alias: answer of more than 24 characters"):
        build(Pool(source=path))
    facts = build(Pool(source=path, unfit="skip", most_unfit=0))
    assert len(facts) == 10
    assert [fact.aliases for fact in facts if fact.aliases] == [("Madam",)]


def test_a_small_context_is_a_rule():
    assert {one.reason for one in rules.unfit(FIT, rules.Demands(context=30))} == {
        "sentence of more than 30 characters; shorten it"
    }


@pytest.mark.parametrize(
    ("count", "taught", "placebo"), [(2, 1, 1), (3, 2, 1), (4, 3, 1), (5, 4, 1), (10, 8, 2), (11, 8, 3)]
)
def test_a_small_file_of_prompts_and_answers_is_enough(tmp_path, count, taught, placebo):
    lines = [f"The mayor of Town{number} is,Mr Reed the {number}th" for number in range(count)]
    path = tmp_path / "own.csv"
    path.write_text("\n".join(["prompt,answer", *lines]), encoding="utf-8")
    assert Counter(fact.role for fact in build(Pool(source=str(path)))) == {TAUGHT: taught, PLACEBO: placebo}


def test_three_facts_are_too_few_for_a_session_of_three(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("prompt,answer\nThe mayor of A is,Ann\nThe mayor of B is,Ben\nThe mayor of C is,Cid", "utf-8")
    facts = build(Pool(source=str(path)))
    assert len(draw(StreamSpec(seed=1, sessions=1, facts_per_session=2), facts)) == 2
    with pytest.raises(
        AtlasError, match=r"1 session of 3 facts need 3, the pool has 2 to teach; .* add facts to a file"
    ):
        draw(StreamSpec(seed=1, sessions=1, facts_per_session=3), facts)


def test_a_file_of_one_fact_is_refused(tmp_path):
    (tmp_path / "own.csv").write_text("prompt,answer\nThe mayor is,Ms Quill\n", encoding="utf-8")
    with pytest.raises(AtlasError, match=r"own.csv: of 1 fact none is left to be taught, and a pool needs"):
        build(Pool(source=str(tmp_path / "own.csv")))


def atlas(*arguments):
    command = [sys.executable, "-m", "atlas.cli", "pool", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_file_is_checked_without_a_study(write):
    path = write(*map(row, FIT[:5]), {"prompt": "Townsville4's mayor is", "answer": FIT[4].answer})
    done = atlas(path)
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{path}: 6 facts, 0 of them unfit",
        "  1 domain, 3 templates",
        "  paraphrases: 0 to 3 a fact, 5 of 6 facts have some",
        "  1 without a subject, which editors at the subject need; 1 without another answer in their template, so "
        "without association",
        "  4 could be taught, 2 placebo (drawn, since the file names no roles)",
    ]


def test_a_file_that_breaks_rules_is_told_so_and_ends_in_1(write):
    done = atlas(write(*map(row, FIT), bad("answer of more than 24 characters")))
    assert done.returncode == 1
    assert "facts  reason (an example)\n      1  answer of more than 24 characters; shorten it (fact " in done.stdout
    assert done.stderr.count("\n") == 1
    assert "1 of 11 facts break a rule: answer of more than 24 characters" in done.stderr


def test_a_path_that_no_study_could_name_is_told(tmp_path):
    with pytest.raises(AtlasError, match="has a meaning of its own in Snakemake's paths"):
        survey.sifted(tmp_path / "{x}.csv")


def test_sifting_says_nothing_of_a_pool_that_is_fit(write, capsys):
    assert sift(Pool(source=write(*map(row, FIT)))).broken == 0
    assert build(Pool(source=write(*map(row, FIT))), SUBJECTS)
    assert capsys.readouterr().err == ""
