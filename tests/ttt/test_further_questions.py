"""Questions beside a fact, from the pool through a run to its files: asked in their own forms, and never taught."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from atlas.base.text import decode, encode
from atlas.errors import AtlasError
from atlas.pool.facts import TRUE_FORM, Further, pool_table, read_pool
from atlas.ttt.measured import MEASURED, read_measured
from atlas.ttt.probes import Prober
from atlas.workflow import files
from tests.ttt.test_alternatives import greedy
from tests.ttt.test_measured import STILL
from tests.ttt.tiny_run import make_measured, spec, teach
from tests.ttt.tiny_ttt import make_facts, make_model

KNOWN, UNKNOWN, HOP = "The mayor of Ely is", "The mayor of Ayr is", "Over Taught rules the daughter of"


def base_says(prompt: str, characters: int) -> str:
    return decode(greedy(make_model(), prompt))[:characters].replace("\n", "")


@pytest.fixture(scope="module")
def asked_beside(inputs, tmp_path_factory):
    """The inputs of a run. Beside fact 0 are two neighbours, of which the base knows one, and a hop; beside fact 1 is a
    reversed question, beside the others none. Facts 0 and 2 contradict what the file says, fact 0 what the base says.
    """
    folder = tmp_path_factory.mktemp("beside")
    for path in inputs.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    facts = {fact.fact_id: fact for fact in read_pool(folder / "pool.parquet")}
    first, second, third, *_ = facts
    neighbours = [Further("neighbour", KNOWN, ("Zzz", base_says(KNOWN, 3))), Further("neighbour", UNKNOWN, ("Zzz",))]
    hop, back = Further("hop", HOP, ("Zoe",)), Further("reversed", "Led by Bo is", ("Taught 1", "Town 1"))
    facts[first] = replace(facts[first], further=(*neighbours, hop), true_answer=base_says(facts[first].prompt, 3))
    facts[second] = replace(facts[second], further=(back,))
    facts[third] = replace(facts[third], true_answer="Zzz")
    files.write_parquet(folder / "pool.parquet", pool_table([*facts.values()]), {})
    return make_measured(folder)


@pytest.fixture(scope="module")
def beside(asked_beside, tmp_path_factory):
    return teach(asked_beside, tmp_path_factory.mktemp("beside") / "1-2")


def rows_of(folder) -> Any:
    """The rows of facts.parquet."""
    return pq.read_table(folder / "facts.parquet").to_pandas()


def test_a_pool_says_them_and_other_pools_have_no_such_column(asked_beside, inputs):
    first, second, third, fourth, *_ = read_pool(asked_beside / "pool.parquet")
    assert [one.prompt for one in first.further] == [KNOWN, UNKNOWN, HOP]
    assert [*first.further_forms] == [4, 5, 6]
    assert first.question(5) == (UNKNOWN, ("Zzz",))
    assert first.question(3) == (first.rephrases[2], (first.answer,))
    assert first.question(TRUE_FORM) == (first.prompt, (first.true_answer,))
    assert second.question(4) == ("Led by Bo is", ("Taught 1", "Town 1"))
    assert (third.true_answer, fourth.true_answer, fourth.further) == ("Zzz", None, ())
    columns = pq.read_schema(asked_beside / "pool.parquet").names
    assert {*columns} - {*pq.read_schema(inputs / "pool.parquet").names} == {"true_answer", "further"}


@pytest.mark.parametrize(
    "odd", [Further("foe", "Ask", ("Rue",)), Further("hop", "", ("Rue",)), Further("hop", "Ask", ())]
)
def test_one_of_an_unknown_probe_or_without_an_answer_is_refused(tmp_path, odd):
    (fact,) = make_facts(1)
    files.write_parquet(tmp_path / "pool.parquet", pool_table([replace(fact, further=(odd,))]), {})
    with pytest.raises(
        AtlasError, match=r"pool.parquet: fact .*probe='(foe|hop)'.*; expected a prompt, an answer and one"
    ):
        read_pool(tmp_path / "pool.parquet")


def test_they_are_asked_behind_all_others_of_the_facts_taught_so_far(asked_beside, beside):
    streams = {seed: pq.read_table(asked_beside / f"{seed}.parquet").to_pandas() for seed in (1, 2)}
    facts = {fact.fact_id: fact for fact in read_pool(asked_beside / "pool.parquet")}
    rows, counts = rows_of(beside), defaultdict[int, set[int]](set)
    for (seed, sessions), part in rows.groupby(["seed", "sessions"]):
        stream = streams[seed]
        taught = stream.loc[stream["session"] <= sessions, ["fact_id", "session"]].values.tolist()
        expected = [
            (one.probe, fact_id, 4 + at, session)
            for fact_id, session in taught
            for at, one in enumerate(facts[fact_id].further)
        ]
        found = part[["probe", "fact_id", "form", "session_taught"]].values.tolist()
        assert [tuple(row) for row in found[len(found) - len(expected) :]] == expected
        counts[sessions].add(len(expected))
        assert {row[0] for row in found[: len(found) - len(expected)]} == {"taught", "rephrase", "placebo"}
    assert len(counts[4]) == 2  # lanes that are asked unlike numbers
    further = rows[rows["form"] > 3]
    assert further["associated"].isna().all()
    assert (further["alternatives"] == 0).all()


def test_the_base_is_asked_once_and_any_right_answer_is_one(asked_beside, beside):
    rows, first = rows_of(beside), read_pool(asked_beside / "pool.parquet")[0].fact_id
    forms = {form: part for form, part in rows[rows["fact_id"] == first].groupby("form") if form > 3}
    assert {form: {*part["answered_base"]} for form, part in forms.items()} == {4: {True}, 5: {False}, 6: {False}}
    measured = read_measured(asked_beside / "base-1.parquet")
    assert {*forms[6]["nll_base"]} == {measured.scores.nll[measured.rows[first, 6]]}


def test_they_change_nothing_of_what_is_taught_nor_of_what_else_is_asked(beside, run):
    assert (beside / "adapters.safetensors").read_bytes() == (run / "adapters.safetensors").read_bytes()
    mine, plain = rows_of(beside), rows_of(run)
    assert list(mine.columns) == list(plain.columns)
    same = [name for name in plain if "nll" not in name and name != "contradicts"]
    others = mine[mine["form"] <= 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(others[same], plain[same], check_dtype=False)
    assert others["nll"].to_numpy() == pytest.approx(plain["nll"].to_numpy(), rel=1e-4)


def test_what_a_file_says_was_true_contradicts_where_the_base_says_it(asked_beside, beside):
    first, _, third, *_ = (fact.fact_id for fact in read_pool(asked_beside / "pool.parquet"))
    rows = rows_of(beside)
    assert {*rows.loc[rows["contradicts"], "fact_id"]} == {first}
    assert rows.loc[rows["fact_id"] == first, "contradicts"].all()
    measured = files.read_parquet(asked_beside / "base-1.parquet", MEASURED).to_pandas()
    assert {*measured.loc[measured["form"] == TRUE_FORM, "fact_id"]} == {first, third}
    assert third in {*rows["fact_id"]}


def test_an_arm_that_teaches_nothing_answers_them_as_the_base_does(asked_beside, tmp_path):
    rows = rows_of(teach(asked_beside, tmp_path / "out", spec(recipe=STILL)))
    further = rows[rows["form"] > 3]
    assert len(further)
    assert (further["nll"] == further["nll_base"]).all()
    assert (further["answered"] == further["answered_base"]).all()
    first = read_pool(asked_beside / "pool.parquet")[0].fact_id
    says = {form: base_says(prompt, 100) for form, prompt in ((4, KNOWN), (6, HOP))}
    for form, said in says.items():
        decoded = further.loc[(further["fact_id"] == first) & (further["form"] == form), "decoded"]
        assert len(decoded)
        assert all(said.startswith(one) and one for one in decoded)


def test_a_fact_asks_each_question_for_its_own_answers():
    (fact,) = make_facts(1)
    fact = replace(fact, further=(Further("hop", "Ask", ("Rue", "The Rue")),))
    (probe,) = Prober("pool").beside([fact])
    assert probe.kind == "hop"
    assert decode(probe.line.tokens[1:]) == "Ask Rue\n"
    assert probe.line.others == ("The Rue\n",)
    assert decode(probe.line.tokens[: probe.line.answer]) == decode(encode("\nAsk "))
    assert len(probe.alternatives) == 0
