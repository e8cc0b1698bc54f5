"""CounterFact and zsRE as pools, on files made in their shape."""

import copy
import json
from typing import Any

import pytest

from atlas.errors import AtlasError
from atlas.pool.build import build
from atlas.pool.facts import PLACEBO, TAUGHT, pool_table, read_pool
from atlas.study.pool_settings import Pool
from atlas.workflow import files
from tests.pool.strict_reading import facts_of

NEW = "requested_rewrite.target_new.str"
TOWNS = ["Aldermoor", "Bellhaven", "Cragford", "Dunwick", "Elmstead", "Fernhill"]
LANGUAGES = ["Welsh", "Basque", "Frisian", "Ladin", "Manx", "Sami"]


def counterfact(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A record with every field that the published file has; changes go by the path of a field, with dots."""
    town, language = TOWNS[number], LANGUAGES[number]
    record = {
        "case_id": 100 + number,
        "pararel_idx": 2796,
        "requested_rewrite": {
            "prompt": "The mother tongue of {} is",
            "relation_id": "P103",
            "target_new": {"str": language, "id": "Q1860"},
            "target_true": {"str": "French", "id": "Q150"},
            "subject": f"{town} Reed",
        },
        "paraphrase_prompts": [f"The wind went on. {town} Reed, a native", f"{town} Reed spoke the language"],
        "neighborhood_prompts": ["The mother tongue of Ms Quill is", "Mr Reed, speaker of"],
        "attribute_prompts": ["Ms Quill spoke the language"],
        "generation_prompts": [f"{town} Reed's mother tongue is"],
    }
    return changed(record, changes)


def zsre(number: int = 0, **changes: Any) -> dict[str, Any]:
    town = TOWNS[number]
    record = {
        "subject": f"{town} Hall",
        "src": f"What town does {town} Hall stand in?",
        "pred": "Quillham",
        "rephrase": f"In which town is {town} Hall to be found?",
        "alt": "Reedville",
        "answers": [f"{LANGUAGES[number]}ford", f"{LANGUAGES[number]} town"],
        "loc": "nq question: who rang the bell in the old tower",
        "loc_ans": "the sexton",
        "cond": f"Quillham >> Reedville || What town does {town} Hall stand in?",
    }
    return changed(record, changes)


def changed(record: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    record = copy.deepcopy(record)
    for path, value in changes.items():
        *above, last = path.split(".")
        inner = record
        for key in above:
            inner = inner[key]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return record


@pytest.fixture
def write(tmp_path):
    def written(records) -> str:
        (tmp_path / "set.json").write_text(json.dumps(records), encoding="utf-8")
        return str(tmp_path / "set.json")

    return written


def test_counterfact_is_a_pool_of_its_rewrites(write):
    fact = facts_of(write([counterfact(i) for i in range(6)]))[2]
    assert (fact.fact_id, fact.domain, fact.template) == ("counterfact/P103/102", "counterfact", "counterfact/P103")
    assert (fact.prompt, fact.answer) == ("The mother tongue of Cragford Reed is", "Frisian")
    assert fact.rephrases == ("The wind went on. Cragford Reed, a native", "Cragford Reed spoke the language")
    assert fact.prompt[fact.subject_start : fact.subject_end] == fact.subject == "Cragford Reed"


def test_zsre_is_a_pool_of_its_questions(write):
    fact = facts_of(write([zsre(i) for i in range(6)]))[1]
    assert (fact.fact_id, fact.domain, fact.template) == ("zsre/00002", "zsre", "zsre")
    assert (fact.prompt, fact.answer) == ("What town does Bellhaven Hall stand in?", "Basqueford")
    assert fact.rephrases == ("In which town is Bellhaven Hall to be found?",)
    assert fact.prompt[fact.subject_start : fact.subject_end] == fact.subject == "Bellhaven Hall"


@pytest.mark.parametrize("record", [counterfact, zsre])
def test_a_published_pool_is_drawn_and_read_as_any_other(write, record, tmp_path):
    facts = build(Pool(source=write([record(i) for i in range(6)])))
    assert [fact.role for fact in facts].count(TAUGHT) == 4
    assert [fact.role for fact in facts].count(PLACEBO) == 2
    files.write_parquet(tmp_path / "pool.parquet", pool_table(facts), {})
    assert read_pool(tmp_path / "pool.parquet") == facts


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (counterfact(case_id=None), r"record 2: case_id is missing \(found {'pararel_idx': "),
        (counterfact(0, **{"requested_rewrite.subject": None}), "record 2: requested_rewrite.subject is missing"),
        (counterfact(0, **{NEW: None}), "record 2: requested_rewrite.target_new.str is missing"),
        (counterfact(0, **{NEW: 7.0}), "record 2: requested_rewrite.target_new.str: a number with a point .*found 7.0"),
        (
            counterfact(0, **{"requested_rewrite.prompt": "The {} of {} is"}),
            r"record 2: requested_rewrite.prompt: expected {} once, for the subject \(found 'The {} of {} is'\)",
        ),
        (counterfact(paraphrase_prompts={"a": "b"}), "record 2: paraphrase_prompts: expected a list .found {'a': 'b'}"),
        (counterfact(requested_rewrite="one"), "record 2: requested_rewrite: expected an object .found 'one'"),
        (
            zsre(),
            "record 2: case_id is missing .found {'subject': .* | record 2: requested_rewrite is missing",
        ),
    ],
)
def test_wrong_fields_of_counterfact_are_named(write, record, message):
    path = write([counterfact(1), record])
    with pytest.raises(AtlasError, match=rf"^{path}: {message}"):
        facts_of(path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (zsre(answers=None), "record 2: answers is missing"),
        (zsre(answers=[]), r"record 2: answers: .*at least 1 item"),
    ],
)
def test_wrong_fields_of_zsre_are_named(write, record, message):
    path = write([zsre(1), record])
    with pytest.raises(AtlasError, match=rf"^{path}: {message}"):
        facts_of(path)


@pytest.mark.parametrize(
    ("record", "left"),
    [
        (counterfact(0, **{NEW: "Proven\u00e7al"}), LANGUAGES[1:]),
        (counterfact(0, **{NEW: "x" * 25}), LANGUAGES[1:]),
        (counterfact(0, paraphrase_prompts=["Aldermoor Reed " + "went on " * 14 + "and spoke"]), LANGUAGES),
        (counterfact(0, paraphrase_prompts=["Aldermoor Reed speaks Welsh; the language is"]), LANGUAGES),
    ],
)
def test_what_breaks_a_rule_is_refused_or_left_out(write, record, left):
    path = write([counterfact(i) for i in range(1, 6)] + [record])
    with pytest.raises(AtlasError, match=rf"^{path}: 1 of 6 facts break a rule: .*such as fact counterfact/P103/100: "):
        build(Pool(source=path))
    assert sorted(fact.answer for fact in build(Pool(source=path, unfit="skip"))) == sorted(left)


def test_published_rephrases_need_not_differ_as_ours_do_and_repeats_are_dropped(write):
    alike = counterfact(0, paraphrase_prompts=["The mother tongue of Aldermoor Reed was"])
    assert build(Pool(source=write([alike] + [counterfact(i) for i in range(1, 6)])))
    twice = counterfact(0, paraphrase_prompts=["The mother tongue of Aldermoor Reed is", "She spoke", "She spoke "])
    assert facts_of(write([twice]))[0].rephrases == ("She spoke",)
