"""Research files as they are published, on small files of our own in each shape (``shapes/``)."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.pool import own
from atlas.pool.companions import companions
from atlas.pool.facts import Fact, Further, pool_table
from atlas.workflow import files
from tests.pool.strict_reading import facts_of

SHAPES = Path(__file__).parent / "shapes"
LAMA = "lama/people.person.place_of_birth"


def read(name):
    return own.read_pool_file(SHAPES / name)


@pytest.mark.parametrize(
    ("name", "facts", "unfit", "probes"),
    [
        ("counterfact.json", 4, 0, {"neighbour": 8}),
        ("zsre.json", 4, 0, {"neighbour": 4}),
        ("knowedit.json", 3, 0, {"neighbour": 5, "hop": 2, "reversed": 1}),
        ("mquake.json", 3, 0, {"hop": 3}),
        ("ripple.json", 3, 0, {"neighbour": 2, "hop": 3, "reversed": 2}),
        ("trex/P900.jsonl", 4, 0, {}),
        ("trex/P901.jsonl", 0, 3, {}),
        ("google_re.jsonl", 3, 1, {}),
        ("pararel/trex_lms_vocab/P902.jsonl", 4, 0, {}),
        ("popqa.tsv", 4, 0, {}),
        ("wikifactdiff.jsonl", 2, 1, {"neighbour": 1}),
    ],
)
def test_each_shape_is_read(name, facts, unfit, probes, tmp_path):
    found = read(name)
    assert (len(found.facts), len(found.unfit), found.published) == (facts, unfit, True)
    assert Counter(asked.probe for fact in found.facts for asked in fact.further) == probes
    assert all(fact.subject_in_place and fact.answer not in fact.aliases for fact in found.facts)
    assert len({fact.fact_id for fact in found.facts}) == facts
    files.write_parquet(tmp_path / "pool.parquet", pool_table(found.facts), {})
    if facts:
        assert own.read_pool_file(tmp_path / "pool.parquet") == own.Read(found.facts, [], {})


def test_counterfact_has_true_answers_and_neighbours():
    assert read("counterfact.json").facts[1] == Fact(
        fact_id="counterfact/P103/101",
        role="",
        domain="counterfact",
        template="counterfact/P103",
        prompt="The mother tongue of Bram Oster is",
        answer="Basque",
        rephrases=("The wind went on. Bram Oster, a native speaker of", "Bram Oster spoke the language"),
        subject="Bram Oster",
        subject_start=21,
        true_answer="French",
        further=(
            Further("neighbour", "The mother tongue of Old Ferris is", ("French",)),
            Further("neighbour", "Nan Ferris, a speaker of", ("French",)),
        ),
    )


def test_zsre_has_aliases_and_a_neighbour():
    fact = read("zsre.json").facts[0]
    assert (fact.prompt, fact.answers) == ("What town does Aldermoor Hall stand in?", ("Welshford", "Welsh Ford"))
    assert fact.further == (Further("neighbour", "who rang the bell in the old tower?", ("the sexton",)),)


def test_knowedit_has_paraphrases_aliases_and_questions_of_every_probe():
    first, second, third = read("knowedit.json").facts
    assert first.answers == ("Aldermoor", "Old Aldermoor")
    assert first.rephrases == ("Ada Quill first saw the light in", "The place of birth of the Lady of Ink is")
    assert first.true_answer == "Dunwick"
    assert Further("reversed", "The person born in Aldermoor who wrote ballads is", ("Ada Quill",)) in first.further
    assert Further("hop", "The river at the place of birth of Ada Quill is", ("Wend", "River Wend")) in first.further
    assert (second.true_answer, second.subject, second.subject_start) == ("Aspidae", "Tern hawk", 22)
    assert third.true_answer is None
    assert third.further[1] == Further("neighbour", "The post held by Old Ferris is", ("bell ringer", "ringer"))


def test_mquake_has_one_fact_for_an_edit_that_repeats_and_the_questions_of_single_edits():
    found = read("mquake.json")
    fact = found.facts[0]
    assert (fact.prompt, fact.answers) == ("Ada Quill is the mayor of", ("Cragford", "Cragford-on-Larrow"))
    assert fact.rephrases == ("Which town is Ada Quill the mayor of?",)
    assert [asked.answers for asked in fact.further] == [("the Larrow", "River Larrow")] * 2 + [("amber",)]
    assert [fact.further for fact in found.facts[1:]] == [(), ()]
    assert found.unused["questions (of several edits)"] == 1


def test_an_edit_of_ripple_is_parted_where_its_answer_begins():
    first, second, third = read("ripple.json").facts
    assert (first.prompt, first.answers, first.true_answer) == (
        "The name of the country of citizenship of Ada Quill is",
        ("Marrow Is", "Marrow Islands"),
        "Marsh Land",
    )
    assert first.rephrases == ("The name of the country of citizenship of the Lady of Ink is",)
    assert (second.prompt, second.answer) == ("The Bellhaven Fair is followed by", "the Cragford Fair")
    assert second.further == (Further("reversed", "The Cragford Fair follows", ("the Bellhaven Fair",)),)
    assert (third.prompt, third.answer, third.true_answer) == (
        "The names of the siblings of Cleo Harper are",
        "Jo Harper",
        "Al Harper",
    )


def test_lama_takes_the_template_beside_the_file_where_the_answer_ends_it():
    fact = read("trex/P900.jsonl").facts[0]
    assert (fact.fact_id, fact.prompt, fact.answer) == ("lama/P900/u-0", "Ada Quill was raised in", "Aldermoor")
    assert {(one.reason, one.row) for one in read("trex/P901.jsonl").unfit} == {
        ("the answer is not at the end; a prompt must end before it", f"line {number}") for number in (1, 2, 3)
    }


def test_lama_without_a_template_takes_masked_sentences():
    found = read("google_re.jsonl")
    assert found.facts[0].prompt == "A scribe by trade, Ada Quill was born in"
    assert (found.facts[0].template, found.facts[0].aliases) == (LAMA, ("Old Aldermoor",))
    assert found.unfit[0].example == "'Dov Marlin left [MASK] young.'"


def test_pararel_takes_its_patterns_as_paraphrases():
    fact = read("pararel/trex_lms_vocab/P902.jsonl").facts[1]
    assert fact.prompts == ("In Bellhaven, people speak", "Bellhaven, where the tongue is")
    assert (fact.subject, fact.subject_start, fact.answer) == ("Bellhaven", 3, "Basque")


def test_templates_may_stand_in_the_records_or_above_the_folder(tmp_path):
    shutil.copy(SHAPES / "trex" / "relations.jsonl", tmp_path)
    (tmp_path / "TREx").mkdir()
    path = shutil.copy(SHAPES / "trex" / "P900.jsonl", tmp_path / "TREx")
    assert [fact.prompt for fact in facts_of(path)][3] == "Dov Marlin was raised in"
    assert [place.resolve() for place in companions(path)] == [tmp_path / "relations.jsonl"]
    record = {"sub_label": "Dunwick", "obj_label": "Mr Ash", "template": "[X] is led by [Y] ."}
    (tmp_path / "mine.json").write_text(json.dumps([record]), encoding="utf-8")
    assert facts_of(tmp_path / "mine.json")[0].prompt == "Dunwick is led by"


def test_a_record_of_lama_without_any_template_is_told_where_to_get_one(tmp_path):
    path = shutil.copy(SHAPES / "pararel" / "trex_lms_vocab" / "P902.jsonl", tmp_path)
    with pytest.raises(AtlasError, match=r"P902.jsonl: line 1: no template; put LAMA's relations.jsonl or ParaRel's"):
        facts_of(path)


def test_popqa_has_its_possible_answers_as_aliases():
    fact = read("popqa.tsv").facts[2]
    assert (fact.fact_id, fact.prompt) == ("popqa/occupation/4002", "What is Cleo Harper's occupation?")
    assert (fact.answers, fact.subject, fact.subject_start) == (("miller", "millers"), "Cleo Harper", 8)


def test_wikifactdiff_teaches_what_is_to_be_learned():
    first, second = read("wikifactdiff.jsonl").facts
    assert (first.prompt, first.answer, first.true_answer) == ("The mayor of Aldermoor is", "Ada Quill", "Old Ferris")
    assert first.rephrases == ("Aldermoor is governed by",)
    assert first.further == (Further("neighbour", "The mayor of Cragford is", ("Cleo Harper",)),)
    assert (second.answers, second.true_answer) == (("the Larrow", "the Wend"), None)
    assert read("wikifactdiff.jsonl").unused["objects (none to learn)"] == 1


def test_what_is_not_used_is_said_once_with_counts(capsys):
    read("counterfact.json")
    said = "not used: attribute_prompts in 4 rows, generation_prompts in 4 rows, pararel_idx in 4 rows\n"
    assert capsys.readouterr().err == f"{SHAPES / 'counterfact.json'}: {said}"


def test_a_shape_is_known_by_any_record_in_any_kind_of_file(tmp_path):
    records = json.loads((SHAPES / "zsre.json").read_text(encoding="utf-8"))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [{"note": "v2"}, *records]))
    found = own.read_pool_file(tmp_path / "a.jsonl")
    assert len(found.facts) == 4
    assert {(one.row, one.reason) for one in found.unfit} == {
        ("line 1", f"{key} is missing") for key in ("subject", "src", "answers")
    }


def test_a_subject_that_is_not_in_its_prompt_is_none_and_counted(tmp_path):
    records = json.loads((SHAPES / "zsre.json").read_text(encoding="utf-8"))
    records[0]["subject"] = "the old hall"
    (tmp_path / "a.json").write_text(json.dumps(records), encoding="utf-8")
    found = own.read_pool_file(tmp_path / "a.json")
    assert [fact.subject for fact in found.facts][:2] == [None, "Bellhaven Hall"]
    assert found.unused["subject (not in the prompt)"] == 1


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("ripple.json", ("edit", "prompt"), "Ada Quill lives.", "record 1: edit.prompt: no verb before an answer"),
        ("knowedit.json", ("target_new",), 1.5, r"record 1: no answer; expected text \(found 'The place of birth"),
        ("knowedit.json", ("locality",), [], "record 1: locality: expected an object"),
        ("mquake.json", ("requested_rewrite",), [], "record 1: requested_rewrite: .*at least 1 item"),
        (
            "mquake.json",
            ("requested_rewrite", 0, "target_new"),
            "x",
            "record 1: requested_rewrite.target_new: expected an ob",
        ),
    ],
)
def test_wrong_fields_are_named(tmp_path, name, path, value, message):
    records = json.loads((SHAPES / name).read_text(encoding="utf-8"))
    inner = records[0]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / name).write_text(json.dumps(records), encoding="utf-8")
    with pytest.raises(AtlasError, match=rf"{name}: {message}"):
        facts_of(tmp_path / name)


def test_questions_of_an_unknown_form_or_without_an_answer_are_counted(tmp_path):
    records = json.loads((SHAPES / "knowedit.json").read_text(encoding="utf-8"))[:1]
    records[0]["portability"] = {
        "New": {"New Question": "a"},
        "Reasoning": [{"prompt": "The river is", "ground_truth": []}],
    }
    (tmp_path / "a.json").write_text(json.dumps(records), encoding="utf-8")
    unused = own.read_pool_file(tmp_path / "a.json").unused
    assert unused == {"portability.New": 1, "questions (without an answer)": 1}
