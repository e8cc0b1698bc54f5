"""The search: its candidates, its rungs on a tiny run, its table."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from atlas.errors import AtlasError
from atlas.pool.facts import pool_table, read_pool
from atlas.search import edit_rung, rung
from atlas.search.halving import TRIALS, survivors
from atlas.study import config
from atlas.study.arm import Arm
from atlas.study.search_space import Search, Sweep
from atlas.tables import found_recipes
from atlas.ttt.course import Course
from atlas.workflow import files
from tests.ttt.tiny_run import arguments, make_inputs, make_measured, make_moments, spec
from tests.ttt.tiny_ttt import TINY

ARMS = {"qv": {"targets": ["q", "v"]}}
STEPS = {"preset": "own", "phases": {"all": {"steps": 2}}}
SWEEPS = {
    "few": {"recipe": STEPS, "vary": {"phases.all.steps": [1, 3], "loss": ["answer", "sentence"]}},
    "one": {"recipe": {"preset": "essay"}},
}


def study(**search):
    given = {"arms": ARMS, "sweeps": SWEEPS, "rungs": [2, 4], "keep": 0.4, "jobs": 2} | search
    return config.study({"arms": ARMS, "checkpoints": [4], "search": given})


def test_all_combinations_are_candidates_under_the_name_of_their_sweep():
    found = study().search.candidates("qv")
    assert list(found) == ["few_0", "few_1", "few_2", "few_3", "one"]
    recipes = [arm.recipe for arm in found.values()]
    assert [(r["phases"]["all"]["steps"], r["loss"]) for r in recipes[:4]] == [
        (steps, loss) for steps in (1, 3) for loss in ("answer", "sentence")
    ]
    assert recipes[0]["preset"] == "own"


def test_a_drawn_part_of_the_combinations_is_always_the_same():
    sweep = Sweep(recipe=STEPS, vary={"phases.all.lr": [i / 100 for i in range(1, 30)]}, most=5)

    def rates_of(name):
        return [made.recipe["phases"]["all"]["lr"] for made in sweep.candidates(name, Arm(targets=["q"])).values()]

    rates = rates_of("s")
    assert rates == rates_of("s")
    assert rates == sorted(set(rates))
    assert len(rates) == 5
    assert rates != rates_of("t")


def test_each_rung_keeps_its_share():
    assert study().search.counts() == [5, 2]
    assert Search(arms=ARMS, sweeps={"a": Sweep()}, rungs=[1, 2, 3], keep=0.1).counts() == [1, 1, 1]


def test_a_rung_depends_on_what_comes_before_it_only():
    first, last = (study().rung_spec("qv", i) for i in (0, 1))
    assert (first.rungs, first.counts, first.run.checkpoints) == ([2], [5], [2])
    assert (last.rungs, last.counts, last.run.checkpoints) == ([2, 4], [5, 2], [4])
    assert last.trial("one").recipe.preset == "essay"
    assert study(rungs=[2, 3]).rung_spec("qv", 0) == first
    assert study(arms=ARMS | {"k": {"targets": ["k"]}}).rung_spec("qv", 1) == last


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"seeds": [3]}, "search.seeds: seed 3 is one of the study's"),
        ({"rungs": [4, 2]}, r"search.rungs: \[4, 2\] must rise"),
        ({"rungs": [2, 9]}, "at most to the study's 4 sessions"),
        ({"arms": {"qv": {"targets": ["q"], "ranks": 900}}}, "search.arms.qv.ranks: rank 900 is impossible"),
        (
            {"sweeps": {"a": {"vary": {"phases.slow.lr": [7]}}}},
            r"candidate a.recipe.phases.slow.lr: .*less than 1, found 7",
        ),
    ],
)
def test_mistakes_are_named(search, said):
    with pytest.raises(AtlasError, match=said):
        study(**search)


def test_arms_of_unlike_budgets_are_refused():
    sweeps = SWEEPS | {"layers": {"methods": ["rome"], "vary": {"layer": [1, 2]}}}
    with pytest.raises(AtlasError, match="arm 'rome' would try 2 candidates, 'qv' 5"):
        study(arms=ARMS | {"rome": {"method": "rome"}}, sweeps=sweeps)


def test_a_sweep_is_of_methods_that_train_or_of_editors():
    with pytest.raises(AtlasError, match="some that train and some that edit"):
        study(sweeps={"a": {"methods": ["lora", "rome"]}})
    with pytest.raises(AtlasError, match="recipe: not of methods"):
        study(sweeps={"a": {"methods": ["rome"], "recipe": STEPS}})


def test_settings_of_an_editor_are_searched_and_keep_its_own_defaults():
    sweep = {"methods": ["memit"], "vary": {"layers": [[0], [1, 2]], "value.clamp": [1, 4]}}
    whole = study(arms={"memit": {"method": "memit"}}, sweeps={"a": sweep}).rung_spec("memit", 0)
    run = whole.trial("a_2")
    assert run.editing is not None
    assert (run.editing.layers, run.editing.value.clamp, run.editing.value.decay) == ([1, 2], 1, 2)
    assert run.ranks == [0, 128, 128, 0]


def test_a_rung_that_is_written_and_read_has_the_same_rates():
    rates = {"recipe": {"preset": "recall"}, "vary": {"phases.all.lr": [0.001, 0.002]}}
    whole = study(sweeps={"a": rates}).rung_spec("qv", 0)
    read = type(whole).model_validate_json(whole.model_dump_json())
    assert [read.trial(name).recipe.phases["all"].lr for name in ("a_0", "a_1")] == [0.001, 0.002]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Both rungs of a tiny search, run in two parts each."""
    folder = make_inputs(tmp_path_factory.mktemp("search"))
    return folder, {number: tried(folder, number) for number in (0, 1)}


def on_the_tiny_base(whole, folder, out, tiny):
    """The command line of a rung whose candidates are tried in the place of a tiny run."""
    candidates = {name: one.model_copy(update={"ranks": tiny.ranks}) for name, one in whole.candidates.items()}
    whole = whole.model_copy(update={"run": tiny, "candidates": candidates})
    options = arguments(folder, out, tiny)
    options[options.index("--spec") + 1] = whole.model_dump_json()
    return options


def command(folder, number, part, out):
    whole = study().rung_spec("qv", number)
    tiny = spec(seeds=[1, 2], checkpoints=[whole.rungs[-1]])
    options = on_the_tiny_base(whole, folder, out, tiny)
    before = [str(folder / f"{number - 1}-{i}.parquet") for i in range(2)] if number else []
    return [*options, "--part", str(part), "--previous", *before]


def tried(folder, number):
    paths = [folder / f"{number}-{part}.parquet" for part in range(2)]
    for part, path in enumerate(paths):
        rung.main(command(folder, number, part, path))
    return pd.concat([files.read_parquet(path, TRIALS).to_pandas() for path in paths])


def test_the_first_rung_tries_all_and_the_next_the_survivors(searched):
    _, found = searched
    assert sorted(found[0]["candidate"].unique()) == ["few_0", "few_1", "few_2", "few_3", "one"]
    assert (found[0].groupby("candidate")["seed"].apply(list).apply(tuple) == (1, 2)).all()
    assert set(found[1]["candidate"]) == set(survivors(found[0], 2))
    assert set(found[1]["sessions"]) == {4}


def test_a_part_that_is_left_without_candidates_writes_an_empty_table(searched, tmp_path):
    folder, _ = searched
    options = command(folder, 1, 2, tmp_path / "empty.parquet")
    rung.main(options)
    assert files.read_parquet(tmp_path / "empty.parquet", TRIALS).num_rows == 0


def test_a_trial_counts_what_it_trained(searched):
    few = searched[1][0].set_index(["candidate", "seed"])["characters"].unstack()
    assert (few.loc["few_3"] == 3 * few.loc["few_1"]).all()
    assert (few.loc["few_0"] < few.loc["few_1"]).all()  # answers are shorter than sentences


def test_a_killed_rung_goes_on_and_ends_the_same(searched, tmp_path, monkeypatch):
    folder, found = searched
    out = tmp_path / "0-0.parquet"
    teach, calls = Course._teach, []

    def until(self, session):
        calls.append(session)
        if len(calls) > 5:
            raise KeyboardInterrupt
        teach(self, session)

    with monkeypatch.context() as patch:
        patch.setattr("atlas.ttt.resume.SHARE", 1e9)
        patch.setattr(Course, "_teach", until)
        with pytest.raises(KeyboardInterrupt):
            rung.main(command(folder, 0, 0, out))
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Course, "_teach", lambda self, session: teach(self, calls.append(session) or session))  # type: ignore[func-returns-value]
        rung.main(command(folder, 0, 0, out))
    assert calls == [2]  # of three candidates with two sessions each, five sessions were done
    again = files.read_parquet(out, TRIALS).to_pandas().drop(columns="core_seconds")
    names = set(again["candidate"])
    whole = found[0][found[0]["candidate"].isin(names)].drop(columns="core_seconds")
    pd.testing.assert_frame_equal(again, whole.reset_index(drop=True))
    assert [path.name for path in tmp_path.glob(".*") if path.is_dir()] == []


def test_what_a_pool_does_not_ask_is_null(searched, tmp_path):
    """A pool without paraphrases, of templates of one answer."""
    folder = shutil.copytree(searched[0], tmp_path / "bare")
    facts = [replace(fact, rephrases=(), template=fact.fact_id) for fact in read_pool(folder / "pool.parquet")]
    files.write_parquet(folder / "pool.parquet", pool_table(facts), {})
    make_measured(folder)
    whole = study(sweeps={"few": {"recipe": STEPS}}, rungs=[2], jobs=1).rung_spec("qv", 0)
    rung.main(on_the_tiny_base(whole, folder, tmp_path / "0.parquet", spec(checkpoints=[2])))
    found = files.read_parquet(tmp_path / "0.parquet", TRIALS)
    assert {name for name in found.column_names if found[name].null_count} == {"association", "recall_rephrase"}
    rows = found_recipes.table(found.to_pandas())
    assert rows["association"].null_count == rows["recall_rephrase"].null_count == rows.num_rows == 1


def trials(**columns):
    base = dict.fromkeys(TRIALS.names, 0.5) | {"arm": "qv", "candidate": "a", "recipe": "{}", "rung": 0, "sessions": 2}
    return pd.DataFrame({name: columns.get(name, value) for name, value in base.items()})


def test_the_table_by_hand():
    rows = trials(
        candidate=["a", "a", "b", "b", "a", "a"],
        rung=[0, 0, 0, 0, 1, 1],
        sessions=[2, 2, 2, 2, 4, 4],
        seed=[1, 2, 1, 2, 1, 2],
        recall=[0.2, 0.4, 0.1, 0.1, 0.5, 0.7],
        recognition=[0.9, 0.9, 0.8, 0.8, 1.0, 1.0],
        recognition_placebo=[0.5, 0.7, 0.8, 0.8, 0.9, 0.9],
        val_loss_base=[1.5] * 6,
        val_loss=[1.7, 1.9, 1.5, 1.5, 2.0, 2.0],
        characters=[10, 20, 40, 40, 80, 80],
    )
    found = found_recipes.table(rows).to_pandas()
    assert found["candidate"].tolist() == ["a", "b", "a"]
    assert found["survived"].tolist() == [True, False, True]
    assert found["front"].tolist() == [True, False, True]
    assert found["front_rise"].tolist() == [True, True, True]  # b recalls less, and raises nothing
    np.testing.assert_allclose(found["recall"], [0.3, 0.1, 0.6])
    np.testing.assert_allclose(found["recall_low"], [0.2, 0.1, 0.5])
    np.testing.assert_allclose(found["recognition_net"], [0.3, 0.0, 0.1])
    np.testing.assert_allclose(found["rise"], [0.3, 0.0, 0.5])
    assert found["characters"].tolist() == [15, 40, 80]


def test_recipes_are_kept_whole(searched):
    found = found_recipes.table(searched[1][0]).to_pandas()
    assert json.loads(found.set_index("candidate").loc["one", "recipe"])["preset"] == "essay"


def test_an_editors_settings_are_tried_by_a_step_of_its_own(searched, tmp_path):
    folder, _ = searched
    make_moments(folder)
    editing = {"contexts": {"count": 1, "characters": 4}, "value": {"steps": 3}, "layers": [0, 1]}
    sweep = {"methods": ["memit"], "editing": editing, "vary": {"covariance_weight": [1, 50]}}
    whole = study(arms={"memit": {"method": "memit"}}, sweeps={"a": sweep}, jobs=1).rung_spec("memit", 0)
    tiny = spec(
        arm="memit",
        method="memit",
        targets=["down"],
        ranks=[TINY.width] * TINY.layers,
        checkpoints=[2],
        editing=whole.run.editing,
        recipe=whole.run.recipe,
    )
    options = on_the_tiny_base(whole, folder, tmp_path / "0-0.parquet", tiny)
    edit_rung.main(options)
    found = files.read_parquet(tmp_path / "0-0.parquet", TRIALS).to_pandas()
    assert sorted(zip(found["candidate"], found["seed"], strict=True)) == [
        (n, s) for n in ("a_0", "a_1") for s in (1, 2)
    ]
    assert [json.loads(text)["covariance_weight"] for text in found["recipe"]] == [1, 1, 50, 50]
    base_loss = found.groupby("candidate")["val_loss"].mean()
    assert base_loss["a_0"] != base_loss["a_1"]  # the settings reach the editor
