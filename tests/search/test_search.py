"""The search: its candidates, its rungs on a tiny run, its table."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

from atlas.errors import AtlasError
from atlas.pool.facts import pool_table, read_pool
from atlas.search import edit_rung, rung
from atlas.search.halving import TRIALS, neighbours, ranked
from atlas.study import config
from atlas.study.arm import Arm
from atlas.study.search_space import Search, Sweep
from atlas.study.tuning import in_words
from atlas.tables import found_recipes
from atlas.tables.intervals import Sample, estimate
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
RATES = [0.01, 0.02, 0.04]
GRID = {"grid": {"recipe": STEPS, "rates": RATES}}


def study(**search):
    given = {"arms": ARMS, "sweeps": SWEEPS, "rungs": [2, 4], "keep": 0.6, "jobs": 2} | search
    return config.study({"arms": ARMS, "checkpoints": [4], "search": given})


def test_all_combinations_are_candidates_under_the_name_of_their_sweep():
    found = study().search.settings("qv")
    assert list(found) == ["few_0", "few_1", "few_2", "few_3", "one"]
    recipes = [arm.recipe for arm, _ in found.values()]
    assert [(r["phases"]["all"]["steps"], r["loss"]) for r in recipes[:4]] == [
        (steps, loss) for steps in (1, 3) for loss in ("answer", "sentence")
    ]
    assert recipes[0]["preset"] == "own"


def test_a_drawn_part_of_the_combinations_is_always_the_same():
    sweep = Sweep(recipe=STEPS, vary={"phases.all.lr": [i / 100 for i in range(1, 30)]}, most=5)

    def rates_of(name):
        return [made.recipe["phases"]["all"]["lr"] for made in sweep.settings(name, Arm(targets=["q"])).values()]

    rates = rates_of("s")
    assert rates == rates_of("s")
    assert rates == sorted(set(rates))
    assert len(rates) == 5
    assert rates != rates_of("t")


def test_rates_are_tried_with_all_combinations_and_other_phases_keep_their_proportion():
    sweep = {"recipe": {"preset": "essay"}, "rates": [0.003, 0.006, 0.012], "vary": {"loss": ["answer", "sentence"]}}
    whole = study(sweeps={"a": sweep}).rung_spec("qv", 0)
    assert (whole.counts, [*whole.settings]) == ([6], ["a_0", "a_1"])
    tried = {whole.named(name, rate): whole.trial(name, rate).recipe for name, rate in whole.candidates}
    assert [*tried] == [f"a_{i}_{rate}" for i in (0, 1) for rate in ("0.003", "0.006", "0.012")]
    lrs = {name: [phase.lr for phase in recipe.active.values()] for name, recipe in tried.items()}
    assert lrs["a_0_0.003"] == [0.003, 0.001]  # the preset's own
    assert lrs["a_1_0.006"] == [0.006, 0.002]
    assert (tried["a_0_0.006"].loss, tried["a_1_0.006"].loss) == ("answer", "sentence")


def test_each_rung_keeps_its_share():
    assert study().search.counts() == [5, 3]
    assert Search(arms=ARMS, sweeps={"a": Sweep()}, rungs=[1, 2, 3], keep=0.1).counts() == [1, 1, 1]


def test_closing_rounds_follow_the_rungs_of_arms_that_have_a_grid():
    search = study(sweeps=GRID, keep=1, rounds=2, jobs=5).search
    assert search.lengths("qv") == [2, 4, 4, 4]
    assert [search.jobs_of(rung) for rung in range(4)] == [5, 5, 2, 2]
    assert study().search.lengths("qv") == [2, 4]


def test_a_rung_depends_on_what_comes_before_it_only():
    first, last = (study().rung_spec("qv", i) for i in (0, 1))
    assert (first.rungs, first.counts, first.run.checkpoints) == ([2], [5], [2])
    assert (last.rungs, last.counts, last.run.checkpoints) == ([2, 4], [5, 3], [4])
    assert last.trial("one", 0.003).recipe.preset == "essay"
    assert study(rungs=[2, 3]).rung_spec("qv", 0) == first
    assert study(arms=ARMS | {"k": {"targets": ["k"]}}).rung_spec("qv", 1) == last
    few, more = (study(sweeps=GRID, keep=1, rounds=rounds) for rounds in (1, 2))
    assert [few.rung_spec("qv", i) for i in range(3)] == [more.rung_spec("qv", i) for i in range(3)]
    closing = more.rung_spec("qv", 3)
    assert (closing.rungs, closing.counts, closing.round) == ([2, 4, 4, 4], [3, 3], 2)


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


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"seeds": [901, 902]}, "search.seeds: found 901 and 902, expected at least 3; name more"),
        ({"seeds": [901, 901, 901]}, "search.seeds: found 901, expected at least 3"),
        ({"seeds": []}, "search.seeds: found none, expected at least 3"),
        (
            {"keep": 0.4},
            "search.keep: 0.4 leaves 2 candidates of 5 to the last rung, expected at least 3, .*; raise it",
        ),
        ({"rungs": [1, 2, 4]}, "search.keep: 0.6 leaves 2 candidates of 5 to the last rung"),
        ({"sweeps": {"a": {"recipe": STEPS}}}, "search.sweeps: found 1 candidate of an arm, expected at least 3"),
        (
            {"sweeps": {"a": {"rates": [0.1, 0.2]}}},
            "search.sweeps.a.rates: found 0.1 and 0.2, expected at least 3, each at least 5% above",
        ),
        ({"sweeps": {"a": {"rates": [0.1, 0.3, 0.2]}}}, "search.sweeps.a.rates: found 0.1, 0.3 and 0.2, expected"),
        ({"sweeps": {"a": {"rates": [0.1, 0.2, 0.201]}}}, "a.rates: found 0.1, 0.2 and 0.201, expected"),
        ({"sweeps": {"a": {"rates": [0.1, 0.2, 2]}}}, "search.sweeps.a.rates.2: .*less than 1, found 2"),
        (
            {"sweeps": {"a": {"methods": ["rome"], "rates": [0.1, 0.2, 0.3]}}, "arms": {"rome": {"method": "rome"}}},
            "search.sweeps.a.rates: found 0.1, 0.2 and 0.3, but methods .'rome'. train nothing; leave the key out",
        ),
        (
            {"sweeps": {"a": {"recipe": {"phases": {"fast": None, "slow": None}}, "rates": RATES}}},
            "search.sweeps: candidate a trains nothing, so it has no learning rate; leave out `rates`",
        ),
        (
            {"sweeps": {"a": {"recipe": STEPS, "rates": RATES, "vary": {"phases.all.lr": [0.1, 0.2]}}}},
            "search.sweeps: candidates a_0 and a_1 are the same; vary another key",
        ),
        ({"sweeps": SWEEPS | {"two": {"recipe": {"preset": "essay"}}}}, "candidates one and two are the same"),
        ({"arms": {}}, "search.arms: none"),
    ],
)
def test_a_search_that_could_not_tell_the_best_is_refused(search, said):
    with pytest.raises(AtlasError, match=said) as caught:
        study(**search)
    assert "\n" not in str(caught.value)


def test_all_mistakes_of_a_search_are_said_at_once():
    sweeps = {"a": {"recipe": STEPS, "rates": [0.2, 0.1]}, "b": {"methods": ["rome"], "recipe": STEPS}}
    with pytest.raises(AtlasError) as caught:
        study(seeds=[3], rungs=[4, 2], keep=0.1, sweeps=sweeps, arms=ARMS | {"rome": {"method": "rome"}})
    keys = (
        "seeds: found",
        "seeds: seed 3",
        "rungs",
        "sweeps.a.rates",
        "sweeps.b.recipe",
        "sweeps: arm 'rome'",
        "sweeps: found 1 c",
    )
    assert [key for key in keys if f"search.{key}" not in str(caught.value)] == []


def test_arms_of_unlike_budgets_are_refused():
    sweeps = SWEEPS | {"layers": {"methods": ["rome"], "vary": {"layer": [1, 2]}}}
    with pytest.raises(AtlasError, match="arm 'rome' would try 2 candidates, 'qv' 5"):
        study(arms=ARMS | {"rome": {"method": "rome"}}, sweeps=sweeps)


def test_a_sweep_is_of_methods_that_train_or_of_editors():
    with pytest.raises(AtlasError, match="some that train and some that edit"):
        study(sweeps={"a": {"methods": ["lora", "rome"]}})
    with pytest.raises(AtlasError, match=r"search\.sweeps\.a\.recipe: not of methods"):
        study(sweeps={"a": {"methods": ["rome"], "recipe": STEPS}})


def test_settings_of_an_editor_are_searched_and_keep_its_own_defaults():
    sweep = {"methods": ["memit"], "vary": {"layers": [[0], [1, 2]], "value.clamp": [1, 4]}}
    whole = study(arms={"memit": {"method": "memit"}}, sweeps={"a": sweep}, keep=1).rung_spec("memit", 0)
    run = whole.trial("a_2", None)
    assert run.editing is not None
    assert (run.editing.layers, run.editing.value.clamp, run.editing.value.decay) == ([1, 2], 1, 2)
    assert run.ranks == [0, 128, 128, 0]


def test_a_rung_that_is_written_and_read_has_the_same_rates():
    rates = {"recipe": {"preset": "recall"}, "rates": [0.001, 0.002, 0.004]}
    whole = study(sweeps={"a": rates}, keep=1).rung_spec("qv", 0)
    read = type(whole).model_validate_json(whole.model_dump_json())
    assert read == whole
    assert [read.trial(*one).recipe.phases["all"].lr for one in read.candidates] == [0.001, 0.002, 0.004]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Both rungs of a tiny search, run in two parts each."""
    folder = make_inputs(tmp_path_factory.mktemp("search"))
    return folder, {number: tried(folder, number) for number in (0, 1)}


def on_the_tiny_base(whole, folder, out, tiny):
    """The command line of a rung whose candidates are tried in the place of a tiny run."""
    settings = {name: one.model_copy(update={"ranks": tiny.ranks}) for name, one in whole.settings.items()}
    whole = whole.model_copy(update={"run": tiny, "settings": settings})
    options = arguments(folder, out, tiny)
    options[options.index("--spec") + 1] = whole.model_dump_json()
    return options


def command(folder, number, part, out, **search):
    whole = study(**search).rung_spec("qv", number)
    tiny = spec(seeds=[1, 2], checkpoints=[whole.rungs[-1]])
    options = on_the_tiny_base(whole, folder, out, tiny)
    before = [str(out.with_name(f"{rung}-{i}.parquet")) for rung in range(number) for i in range(2)]
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
    assert set(found[1]["candidate"]) == {*ranked(found[0]).index[:3]}
    assert set(found[1]["sessions"]) == {4}
    assert found[1]["lr_below"].isna().all()


def test_a_part_that_is_left_without_candidates_writes_an_empty_table(searched):
    folder, _ = searched
    rung.main(command(folder, 1, 3, out := folder / "1-3.parquet"))
    assert files.read_parquet(out, TRIALS).num_rows == 0


def made_up(folder, number, recalled, sessions):
    """A rung's parts, as if these rates had been recalled so often by both seeds, of 100 facts."""
    rows = [
        {"candidate": f"grid_{lr:g}", "settings": "grid", "lr": lr, "recall": hits / 100, "seed": seed, "n_facts": 100}
        | dict(zip(("lr_below", "lr_above"), neighbours(RATES, lr), strict=True))
        | {"rung": number, "round": max(0, number - 1), "sessions": sessions, "characters": 1}
        for lr, hits in recalled.items()
        for seed in (1, 2)
    ]
    table = pa.Table.from_pandas(trials(**pd.DataFrame(rows)), schema=TRIALS, preserve_index=False)
    for part in range(2):
        files.write_parquet(folder / f"{number}-{part}.parquet", table.slice(0, None if part == 0 else 0), {})


def test_closing_rounds_go_on_beyond_the_grid_until_the_best_has_worse_on_both_sides(searched, tmp_path):
    search = {"sweeps": GRID, "keep": 1, "rounds": 3}
    made_up(tmp_path, 0, {0.01: 30, 0.02: 40, 0.04: 50}, 2)
    made_up(tmp_path, 1, {0.02: 40, 0.04: 50}, 4)  # 0.01 was not tried as long, but lies beside no best one
    for part in range(2):
        rung.main(command(searched[0], 2, part, tmp_path / f"2-{part}.parquet", **search))
    found, nothing = (files.read_parquet(tmp_path / f"2-{part}.parquet", TRIALS).to_pandas() for part in range(2))
    assert nothing.empty  # a single neighbour was missing
    told = {"candidate": "grid_0.08", "settings": "grid", "lr": 0.08, "lr_below": 0.04, "lr_above": 0.16}
    told |= {"rung": 2, "round": 1, "sessions": 4}
    assert found[[*told]].to_dict("records") == [told] * 2
    assert [json.loads(text)["phases"]["all"]["lr"] for text in found["recipe"]] == [0.08, 0.08]
    made_up(tmp_path, 2, {0.08: 45}, 4)
    rung.main(command(searched[0], 3, 0, tmp_path / "3-0.parquet", **search))
    assert files.read_parquet(tmp_path / "3-0.parquet", TRIALS).num_rows == 0


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
    whole = study(sweeps=GRID, rungs=[2], jobs=1).rung_spec("qv", 0)
    rung.main(on_the_tiny_base(whole, folder, tmp_path / "0.parquet", spec(checkpoints=[2])))
    found = files.read_parquet(tmp_path / "0.parquet", TRIALS)
    assert {name for name in found.column_names if found[name].null_count} == {"association", "recall_rephrase"}
    rows = found_recipes.table(found.to_pandas())
    assert rows["association"].null_count == rows["recall_rephrase"].null_count == rows.num_rows == 3


def trials(**columns):
    base = dict.fromkeys(TRIALS.names, 0.5) | {"arm": "qv", "recipe": "{}", "round": 0}
    return pd.DataFrame({name: columns.get(name, value) for name, value in base.items()})


def test_the_table_by_hand():
    lr = [0.01, 0.01, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01]
    rows = trials(
        candidate=[f"a_{rate:g}" for rate in lr],
        settings="a",
        lr=lr,
        lr_below=[rate / 2 for rate in lr],
        lr_above=[rate * 2 for rate in lr],
        sessions=[2] * 4 + [4] * 4,
        seed=[1, 2] * 4,
        n_facts=[100] * 4 + [200] * 4,
        recall=[0.2, 0.4, 0.1, 0.1, 0.5, 0.7, 0.1, 0.2],
        recognition=[0.9, 0.9, 0.8, 0.8, 1.0, 1.0, 1.0, 1.0],
        recognition_placebo=[0.5, 0.7, 0.8, 0.8, 0.9, 0.9, 1.0, 1.0],
        val_loss_base=1.5,
        val_loss=[1.7, 1.9, 1.5, 1.5, 2.0, 2.0, 1.5, 1.5],
        characters=[10, 20, 40, 40, 80, 80, 80, 80],
    )
    found = found_recipes.table(rows, "studies/mine.yaml").to_pandas()
    assert found["candidate"].tolist() == ["a_0.01", "a_0.02", "a_0.02", "a_0.01"]
    assert found["chosen"].tolist() == [False, False, True, False]
    assert found["closed"].tolist() == [False] * 4  # 0.04 was not tried
    assert found["tuned"].tolist() == [
        *("", "", '{study: "studies/mine.yaml", seeds: [1, 2], rates: [0.01, 0.02]}', "")
    ]
    np.testing.assert_allclose(found["recall"], [0.3, 0.1, 0.6, 0.15])
    tally = Sample(np.array([[100, 100], [60, 140]]), np.array([0.0, 1.0]))
    expected = estimate(tally)
    assert expected
    assert found.loc[2, ["ci_low", "ci_high"]].tolist() == [expected.ci_low, expected.ci_high]
    np.testing.assert_allclose(found["recognition_net"], [0.3, 0.0, 0.1, 0.0])
    np.testing.assert_allclose(found["rise"], [0.3, 0.0, 0.5, 0.0])
    assert found["characters"].tolist() == [15, 40, 80, 80]


@pytest.mark.parametrize(("recall", "closed"), [([0.1, 0.2, 0.1], True), ([0.1, 0.2, 0.3], False)])
def test_an_arm_is_closed_where_its_best_rate_has_both_neighbours_and_what_is_told_of_it_can_be_pasted(recall, closed):
    beside = dict(
        zip(("lr_below", "lr_above"), zip(*(neighbours(RATES, lr) for lr in RATES), strict=True), strict=True)
    )
    rows = trials(candidate=[f"a_{lr}" for lr in RATES], settings="a", lr=RATES, recall=recall, sessions=4, **beside)
    (chosen,) = [row for row in found_recipes.table(rows.assign(seed=901, n_facts=100)).to_pylist() if row["chosen"]]
    assert chosen["closed"] is closed
    said = found_recipes.in_words(chosen)
    assert ("edge of what was tried as long: raise search.rounds" in said) is not closed
    arm = {"targets": ["q"], "recipe": STEPS | {"phases": {"all": {"steps": 2, "lr": chosen["lr"]}}}}
    tuned = yaml.safe_load(said[said.index("tuned: ") :])
    words = config.study({"arms": {"mine": arm | tuned}})
    told = in_words(words.arms["mine"].tuned, words.recipe_of("mine"), False)
    assert told.startswith(f"{chosen['lr']}, {'of' if closed else 'the highest of'} 3 rates tried (0.01 to 0.04)")


def test_recipes_are_kept_whole(searched):
    found = found_recipes.table(searched[1][0]).to_pandas()
    assert json.loads(found.set_index("candidate").loc["one", "recipe"])["preset"] == "essay"


def test_an_editors_settings_are_tried_by_a_step_of_its_own(searched, tmp_path):
    folder, _ = searched
    make_moments(folder)
    editing = {"contexts": {"count": 1, "characters": 4}, "value": {"steps": 3}, "layers": [0, 1]}
    sweep = {"methods": ["memit"], "editing": editing, "vary": {"covariance_weight": [1, 50, 90]}}
    whole = study(arms={"memit": {"method": "memit"}}, sweeps={"a": sweep}, keep=1, jobs=1).rung_spec("memit", 0)
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
        (n, s) for n in ("a_0", "a_1", "a_2") for s in (1, 2)
    ]
    assert [json.loads(text)["covariance_weight"] for text in found["recipe"]] == [1, 1, 50, 50, 90, 90]
    base_loss = found.groupby("candidate")["val_loss"].mean()
    assert base_loss["a_0"] != base_loss["a_1"]  # the settings reach the editor
