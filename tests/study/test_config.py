"""The study: what it accepts, how it is cut into runs, and how it complains."""

import itertools
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from atlas import cli
from atlas.errors import AtlasError
from atlas.pool import builtin
from atlas.pool.facts import HELD_OUT
from atlas.study import config, jobs
from atlas.study.base_settings import Model
from atlas.study.editor_settings import MemitSettings
from atlas.study.methods import OWN
from atlas.study.pool_settings import TEACHABLE
from atlas.study.recipes import Phase
from atlas.tables import decidable, level
from tests.study.made_study import jobs_of

REPOSITORY = Path(__file__).parents[2]
ARMS = {"qv": {"targets": ["q", "v"]}}


def study(**keys):
    return config.study({"arms": ARMS, **keys})


def laid_on(*names):
    """The default study with others on top."""
    return config.load(REPOSITORY / "config.yaml", *(REPOSITORY / "studies" / f"{name}.yaml" for name in names))


def test_the_default_study_has_the_arms_of_the_essay_its_controls_and_the_recipe_that_remembers():
    loaded = config.load(REPOSITORY / "config.yaml")
    assert list(loaded.arms) == [
        "qv",
        "ffn",
        "qv_ffn",
        "qv_mid",
        "qv_edge",
        "ffn_matched",
        "ffn_random_base",
        "qv_random_base",
        "untrained",
        "qv_recall",
        "ffn_matched_recall",
        "all_recall",
    ]
    assert {arm.method for arm in loaded.arms.values()} == {"lora"}
    assert len(loaded.ablations) == 6
    assert loaded.arms["qv_mid"].layer_ranks(4) == [4, 32, 32, 4]
    assert loaded.run_spec("ffn_random_base", "1-4").reinit == ["up", "down"]
    assert loaded.checkpoints == [30, 100]
    assert len(loaded.all_seeds) >= 4


def test_places_are_compared_at_equal_parameters():
    loaded = config.load(REPOSITORY / "config.yaml")
    sizes = {name: arm.adapter_parameters(loaded.shape) for name, arm in loaded.arms.items()}
    assert sizes["qv"] == 4 * 32 * 2 * (128 + 128) == 65_536
    assert [sizes[name] for name in ("qv_recall", "ffn_matched_recall", "all_recall")] == [65_536, 66_560, 64_512]
    assert sizes["ffn_matched"] == sizes["ffn_matched_recall"]
    budget, per_rank = sizes["qv"], sizes["all_recall"] // 7
    assert min(range(1, 129), key=lambda rank: abs(rank * per_rank - budget)) == 7  # no other rank comes nearer
    recall = {name: loaded.recipe_of(name) for name in ("qv_recall", "ffn_matched_recall", "all_recall")}
    same = {name: one.model_copy(update={"phases": {}}) for name, one in recall.items()}
    assert same["qv_recall"] == same["ffn_matched_recall"] == same["all_recall"]
    first, *others = (one.active["all"].model_copy(update={"lr": 0.5}) for one in recall.values())
    assert all(other == first for other in others)


def test_ablations_change_only_what_their_name_says():
    loaded = config.load(REPOSITORY / "config.yaml")
    for place in ("qv", "ffn"):
        plain = loaded.recipe_of(place)
        single = loaded.recipe_of(f"{place}_single_phase")
        slow = plain.active["slow"]
        assert slow.rehearsal
        assert list(single.active) == ["slow"]
        assert single.active["slow"].rehearsal == slow.rehearsal
        nothing = loaded.recipe_of(f"{place}_no_rehearsal")
        assert nothing.active == plain.active | {"slow": slow.model_copy(update={"rehearsal": None})}
        random = slow.rehearsal.model_copy(update={"choice": "random"})
        shuffled = loaded.recipe_of(f"{place}_random_rehearsal")
        assert shuffled.active == plain.active | {"slow": slow.model_copy(update={"rehearsal": random})}


def test_the_quick_study_has_of_each_kind_of_arm_one_on_two_bases():
    default, baselines, quick = (laid_on(*names) for names in ((), ("baselines",), ("quick",)))
    ours = [name for name in quick.arms if name in default.arms]
    assert [quick.arms[name] for name in ours] == [default.arms[name] for name in ours]

    def kinds(study, names):
        return {(study.recipe_of(name).preset, bool(study.arms[name].base.reinit)) for name in names}

    assert kinds(quick, ours) == kinds(default, default.arms)
    others = quick.arms.keys() - default.arms.keys()
    assert {name: quick.arms[name].method for name in others} == {name: baselines.arms[name].method for name in others}
    assert {quick.arms[name].method for name in others} == {"finetune", "rome"}
    assert len({quick.replica_of[block] for block in quick.blocks}) == 2
    assert quick.ablations


ON_TOP_OF = {
    "smollm2_edits": "smollm2",
    "smollm2_gpu": "smollm2",
    "first_edits": "baselines",
    "whole_pool": "baselines",
}


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("studies/*.yaml")), ids=lambda path: path.stem)
def test_every_study_fits_on_the_default_one_and_writes_elsewhere(path, monkeypatch):
    smollm2 = Model(layers=30, width=576, heads=9, ffn=1536, context=256)  # the one from outside, which is fetched
    monkeypatch.setattr(config, "shape_of", lambda _path: smollm2)
    below = [path.with_stem(ON_TOP_OF[path.stem])] if path.stem in ON_TOP_OF else []
    laid = config.load(REPOSITORY / "config.yaml", *below, path)
    assert laid.results == f"results-{path.stem.replace('_', '-')}"


def test_the_schema_of_the_editor_is_in_step():
    stored = (REPOSITORY / "docs" / "study.schema.json").read_text(encoding="utf-8")
    assert stored == cli.schema_text(), "docs/study.schema.json is out of step; run `make schema`"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sedes": [1]}, "^config.yaml: sedes: unknown key"),
        ({"recipe": {"fats": {}}}, r"recipe\.fats: unknown key"),
        (
            {"recipe": {"phases": {"fast": {"steps": 0}}}},
            r"recipe\.phases\.fast\.steps: .*greater than 0, found 0",
        ),
        ({"recipe": {"phases": {"fast": {"epochs": 2}}}}, r"recipe\.phases\.fast: a phase has either steps or epochs"),
        ({"recipe": {"preset": "nowhere"}}, r"recipe: preset 'nowhere' is none of .*essay"),
        (
            {"arms": {"a": {"targets": ["q"], "ranks": 129}}},
            r"arms\.a\.ranks: rank 129 is impossible; expected 0 to 128",
        ),
        ({"arms": {"a": {"targets": ["q"], "ranks": -1}}}, r"arms\.a\.ranks: rank -1 is impossible"),
        ({"arms": {"a": {"targets": ["q"], "ranks": [4, 4]}}}, r"arms\.a\.ranks: 2 ranks for 4 layers"),
        ({"arms": {"a": {"targets": ["q"], "ranks": [0, 0, 0, 0]}}}, r"arms\.a\.ranks: all ranks are 0"),
        ({"arms": {"a": {"targets": ["mlp"]}}}, r"arms\.a\.targets\.0: .*found 'mlp'"),
        ({"arms": {"a": {"targets": ["gate"]}}}, r"arms\.a\.targets: the base that is pretrained here has no gate"),
        ({"arms": {"a": {"targets": ["q", "q"]}}}, "names a role twice"),
        ({"arms": {"a": {"targets": ["q"], "recipe": {"rate": 1}}}}, r"arms\.a\.recipe\.rate: unknown key"),
        ({"arms": {"A b": {"targets": ["q"]}}}, "A b"),
        ({"arms": {"a": {"ranks": 4}}}, r"arms\.a\.targets: none, so nothing would be trained"),
        ({"arms": {"a": {"targets": ["q"], "method": "lore"}}}, r"arms\.a\.method: .*found 'lore'"),
        ({"arms": {"a": {"targets": ["q"], "editing": {"layer": 1}}}}, r"arms\.a\.editing: method 'lora' trains"),
        (
            {"arms": {"a": {"targets": ["q"], "method": "finetune", "ranks": 4}}},
            r"arms\.a\.ranks: finetune trains whole",
        ),
        ({"arms": {"a": {"targets": ["down"], "method": "rome"}}}, r"arms\.a\.targets: an editor writes into `down`"),
        ({"arms": {"a": {"method": "rome", "ranks": 4}}}, r"arms\.a\.ranks: an editor changes whole matrices"),
        ({"arms": {"a": {"method": "rome", "recipe": {}}}}, r"arms\.a\.recipe: an editor does not train"),
        ({"arms": {"a": {"method": "rome", "base": {"reinit": ["up"]}}}}, r"arms\.a\.base\.reinit: an editor knows"),
        ({"arms": {"a": {"method": "rome", "editing": {"layers": [1]}}}}, r"arms\.a\.editing\.layers: unknown key"),
        (
            {"keys": {"characters": 500}, "arms": {"a": {"method": "rome"}}},
            r"keys\.characters: found 500, expected at least 512, as many as the keys of the base have dimensions",
        ),
        ({"arms": {"a": {"method": "rome", "editing": {"layer": 4}}}}, r"arms\.a\.editing\.layer: found \[4\].*0 to 3"),
        ({"arms": {"a": {"method": "memit", "editing": {"layers": [2, 1]}}}}, r"arms\.a\.editing\.layers: .*rising"),
        ({"arms": {"a": {"method": "alphaedit", "editing": {"at_once": True}}}}, r"a\.editing\.at_once: unknown key"),
        ({"arms": {"a": {"method": "memit", "editing": {"method": "rome"}}}}, r"a\.editing\.method: the method stands"),
        (
            {"arms": {"a": {"method": "rome", "editing": {"value": {"lr": 0}}}}},
            r"arms\.a\.editing\.value\.lr: .*greater than 0, found 0",
        ),
        ({"only": ["qv", "b"]}, "only: 'b' is neither an arm nor an ablation"),
        ({"arms": {}}, "arms"),
        ({"ablations": ARMS}, "qv is an arm and an ablation"),
        ({"pool": {"taught": 60}}, "100 sessions of 3 facts need 300 facts, pool.taught has 60"),
        ({"checkpoints": [30, 10]}, r"\[30, 10\] must rise"),
        ({"checkpoints": []}, "checkpoints"),
        ({"seeds": [1, "1-2"]}, "seed 1 is listed twice"),
        ({"seeds": ["4-1"]}, "'4-1' is empty"),
        ({"base": {"model": {"width": 130}}}, "width 130 is not a multiple of heads 4"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(keys, message):
    with pytest.raises(AtlasError, match=message) as caught:
        study(**keys)
    assert "\n" not in str(caught.value)


def test_all_mistakes_of_a_study_are_said_at_once():
    arms = {**ARMS, "a": {"targets": ["mlp"]}, "b": {"targets": ["q"], "ranks": 129, "recipe": {"rate": 1, "clip": 0}}}
    with pytest.raises(AtlasError) as caught:
        study(one=1, two=2, arms=arms, contrasts={"x": [["qv", "nowhere"], ["a", "a"]]})
    assert [line.partition(": ")[2].partition(": ")[0] for line in str(caught.value).split(" | ")] == [
        *("arms.a.targets.0", "one", "two", "arms.b.ranks", "arms.b.recipe.clip", "arms.b.recipe.rate"),
        *("contrasts.x", "contrasts.x"),
    ]


def test_a_range_is_one_block_and_long_ranges_are_cut():
    assert study(seeds=["1-4"]).blocks == {"1-4": [1, 2, 3, 4]}
    assert study(seeds=["1-5"], lanes=2).blocks == {"1-2": [1, 2], "3-4": [3, 4], "5": [5]}


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 5))
def test_new_seed_entries_leave_the_old_blocks_alone(lengths, lanes):
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    entries = [f"{start}-{start + length - 1}" for start, length in zip(starts, lengths, strict=True)]
    before, after = study(seeds=entries[:-1] or [999], lanes=lanes), study(seeds=entries, lanes=lanes)
    assert after.all_seeds == list(range(sum(lengths)))
    assert [seed for block in after.blocks.values() for seed in block] == after.all_seeds
    if entries[:-1]:
        assert before.blocks.items() <= after.blocks.items()


def test_a_run_depends_on_its_own_arm_only():
    small = study()
    large = study(arms={**ARMS, "ffn": {"targets": ["up", "down"]}}, seeds=["1-8", 9])
    assert small.run_spec("qv", "1-4") == large.run_spec("qv", "1-4")


SUBJECTS = {"method": "memit", "editing": {"site": "subject_last"}}
FORMS = {"targets": ["q"], "recipe": {"paraphrases": 2}}


@pytest.mark.parametrize(
    ("keys", "needs"),
    [
        ({}, jobs.Needs()),
        ({"arms": {"a": {"method": "memit"}}}, jobs.Needs()),
        ({"arms": {"a": SUBJECTS}}, jobs.Needs(subjects=True)),
        ({"ablations": {"a": FORMS}, "recipe": {"paraphrases": 1}}, jobs.Needs(paraphrases=2)),
        ({"counterfactual": 0.5, "base": {"replicas": 1}}, jobs.Needs(alternatives=True)),
    ],
)
def test_what_arms_need_of_facts_is_asked_of_a_users_own_and_of_atlas_s_nothing(keys, needs):
    assert study(**keys, pool={"source": "own.csv"}).pool_spec.needs == needs
    assert study(**keys).pool_spec == study().pool_spec


def test_the_pool_goes_by_the_context_of_a_base_that_is_pretrained_here():
    assert study(base={"model": {"context": 128}}).pool_spec.context == 128


def test_no_more_paraphrases_of_atlas_s_facts_are_taught_than_may_be():
    assert builtin.REPHRASES - HELD_OUT == TEACHABLE
    with pytest.raises(
        AtlasError, match=r"arms.a.recipe.paraphrases: 6, but of those of a fact of Atlas 5 may be taught"
    ):
        study(arms={"a": {"targets": ["q"], "recipe": {"paraphrases": 6}}})


def test_overrides_merge_key_by_key():
    loaded = study(
        recipe={"phases": {"slow": {"lr": 5e-4}}},
        arms={
            **ARMS,
            "more": {"targets": ["q"], "recipe": {"phases": {"slow": {"epochs": 7}}}},
            "single": {"targets": ["q"], "recipe": {"phases": {"fast": None}}},
        },
    )
    slow = {name: loaded.recipe_of(name).active["slow"] for name in ("qv", "more", "single")}
    assert slow["more"] == slow["qv"].model_copy(update={"epochs": 7})
    assert slow["qv"].lr == slow["single"].lr == 5e-4
    assert list(loaded.recipe_of("single").active) == ["slow"]


def test_an_arm_brings_back_a_phase_that_the_study_leaves_out():
    again = {"phases": {"fast": {"steps": 4}}}
    loaded = study(recipe={"phases": {"fast": None}}, arms={"a": {"targets": ["q"], "recipe": again}})
    assert list(loaded.recipe.active) == ["slow"]
    fast = loaded.recipe_of("a").active["fast"]
    assert (fast.steps, fast.blend) == (4, 0.5)  # the rest as in the preset


def test_an_arm_with_a_preset_of_its_own_starts_from_there():
    own = {"preset": "mine", "loss": "answer", "phases": {"all": {"steps": 3}}}
    loaded = study(recipe={"clip": 0.5}, arms={**ARMS, "a": {"targets": ["q"], "recipe": own}})
    assert (loaded.recipe_of("qv").preset, loaded.recipe_of("qv").clip) == ("essay", 0.5)
    assert (loaded.recipe_of("a").preset, loaded.recipe_of("a").clip) == ("mine", 1.0)
    assert loaded.recipe_of("a").active == {"all": Phase(steps=3)}


def test_files_are_laid_on_top_of_each_other(tmp_path):
    (tmp_path / "a.yaml").write_text("arms: {qv: {targets: [q, v]}}\nlanes: 2\nrecipe: {phases: {fast: {steps: 4}}}\n")
    (tmp_path / "b.yaml").write_text("recipe: {phases: {fast: {lr: 0.1}}}\n")
    loaded = config.load(tmp_path / "a.yaml", tmp_path / "b.yaml")
    fast = loaded.recipe.active["fast"]
    assert (fast.steps, fast.lr, fast.blend) == (4, 0.1, 0.5)
    assert loaded.lanes == 2


def test_what_a_file_on_top_adds_comes_last_whatever_order_snakemake_hands_over(tmp_path):
    below, above = tmp_path / "config.yaml", tmp_path / "more.yaml"
    below.write_text("arms: {qv: {targets: [q, v]}, ffn: {targets: [up, down]}}\n")
    above.write_text("arms: {rome: {method: rome}}\n")
    merged = config.load(below, above)
    given = {"arms": {"rome": {"method": "rome"}, "ffn": {"targets": ["up", "down"]}, "qv": {"targets": ["q", "v"]}}}
    assert list(merged.arms) == list(config.study(given, [below, above]).arms) == ["qv", "ffn", "rome"]


def test_unreadable_study_files_are_named(tmp_path):
    with pytest.raises(AtlasError, match=r"nowhere\.yaml: no such file"):
        config.load(tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(AtlasError, match=r"bad\.yaml: not valid YAML") as caught:
        config.load(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)


def test_specs_survive_json():
    spec = study().run_spec("qv", "1-4")
    assert jobs.RunSpec.model_validate(json.loads(spec.model_dump_json())) == spec


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contrasts": {"essay": [["qv", "nowhere"]]}}, "contrasts.essay: 'nowhere' is neither an arm nor an ablation"),
        ({"contrasts": {"essay": [["qv", "qv"]]}}, "contrasts.essay: 'qv' is compared with itself"),
        ({"ablation_checkpoints": [7]}, "ablation_checkpoints: 7 is not among checkpoints"),
        ({"ablation_checkpoints": [100, 30]}, "ablation_checkpoints: .* must rise"),
        ({"interval": {"contrast": ["qv", "ffn"], "sessions": 31}}, "interval.sessions: 31 is not in"),
    ],
)
def test_planned_comparisons_are_of_arms_that_exist_where_they_are_probed(changes, said):
    plain = {"arms": {"qv": {"targets": ["q", "v"]}, "ffn": {"targets": ["up", "down"]}}}
    with pytest.raises(AtlasError, match=said):
        config.study({**plain, **changes})


def test_precision_is_of_all_runs_and_of_the_search():
    search = {
        "arms": {"mine": {"targets": ["q", "v"]}},
        "sweeps": {"mine": {"vary": {"clip": [0.5, 1, 2]}}},
        "rungs": [1],
    }
    plain, reduced = study(search=search), study(precision="bfloat16", search=search)
    assert plain.run_spec("qv", "1-4").precision == "float32"
    assert reduced.run_spec("qv", "1-4").precision == "bfloat16"
    assert [made.rung_spec("mine", 0).run.precision for made in (plain, reduced)] == ["float32", "bfloat16"]
    with pytest.raises(AtlasError, match="precision: Input should be 'float32' or 'bfloat16', found 'float16'"):
        study(precision="float16")


@pytest.mark.parametrize("old", [{"contrast": ["qv", "ffn"], "points": 2}, {}, None])
def test_what_precision_said_before_is_the_key_interval_now(old):
    with pytest.raises(AtlasError, match=r"^config\.yaml: precision: .* key `interval` now; write interval in"):
        study(precision=old)


def test_ablations_are_probed_at_their_own_checkpoints():
    loaded = config.load(REPOSITORY / "config.yaml")
    assert loaded.run_spec("qv_no_rehearsal", "1-4").checkpoints == [30]
    assert loaded.run_spec("qv", "1-4").checkpoints == [30, 100]


def test_an_editor_is_settled_by_its_method_and_what_it_changes_of_it():
    loaded = study(arms={**ARMS, "a": {"method": "memit", "editing": {"layers": [1, 3], "at_once": True}}})
    spec = loaded.run_spec("a", "1-4")
    assert (spec.targets, spec.ranks) == (["down"], [0, 128, 0, 128])
    assert isinstance(spec.editing, MemitSettings)
    assert (spec.method, spec.editing.layers, spec.editing.at_once) == ("memit", [1, 3], True)
    assert spec.editing.covariance_weight == MemitSettings(method="memit").covariance_weight
    assert spec.recipe.active == {}
    assert jobs.RunSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_change_of_the_recipe_leaves_editors_alone():
    arms = {**ARMS, "a": {"method": "r_rome"}, "b": {"method": "finetune", "targets": ["up"]}}
    plain, other = (study(arms=arms, recipe={"clip": clip}) for clip in (1.0, 0.5))
    assert plain.run_spec("a", "1-4") == other.run_spec("a", "1-4")
    assert plain.run_spec("b", "1-4") != other.run_spec("b", "1-4")
    assert plain.run_spec("b", "1-4").ranks == [128] * 4


def test_a_study_on_top_keeps_the_arms_that_it_names_and_what_compares_them():
    loaded = config.load(REPOSITORY / "config.yaml")
    wanted = ["untrained", "qv_ffn", "qv"]
    some = config.study({**yaml.safe_load((REPOSITORY / "config.yaml").read_text()), "only": wanted})
    assert some.arms == {name: loaded.arms[name] for name in wanted}
    assert [*some.arms] == wanted  # their order, too, in all tables and charts
    everything = [*loaded.ablations, *reversed(loaded.arms)]
    asked = yaml.safe_load((REPOSITORY / "config.yaml").read_text()) | {"only": everything}
    assert [*config.study(asked).arms] == [*reversed(loaded.arms)]  # where nothing is left out, too
    assert some.ablations == {}
    assert some.contrasts == {"essay": [("qv", "qv_ffn")], "controls": [("qv", "untrained")]}
    assert some.interval is None  # of qv and ffn


def test_null_leaves_an_arm_out_and_what_compares_it():
    asked = yaml.safe_load((REPOSITORY / "config.yaml").read_text())
    asked["arms"] |= {"qv": None, "all_recall": None}
    asked["ablations"] |= {"ffn_single_phase": None}
    loaded, some = config.load(REPOSITORY / "config.yaml"), config.study(asked)
    assert some.arms == {name: arm for name, arm in loaded.arms.items() if name not in ("qv", "all_recall")}
    assert [*some.ablations] == [name for name in loaded.ablations if name != "ffn_single_phase"]
    left = {*some.arms, *some.ablations}
    assert some.contrasts == {
        family: kept for family, pairs in loaded.contrasts.items() if (kept := [p for p in pairs if left.issuperset(p)])
    }
    assert some.interval is None


def test_null_leaves_a_family_of_contrasts_out():
    arms, plan = {**ARMS, "ffn": {"targets": ["up", "down"]}}, {"x": None, "y": [["ffn", "qv"]]}
    assert study(arms=arms, contrasts=plan).contrasts == {"y": [("ffn", "qv")]}
    assert study(arms=arms, contrasts=plan, only=["ffn", "qv"]).contrasts == {"y": [("ffn", "qv")]}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"contrasts": [["qv", "ffn"]]}, "contrasts: .*valid dictionary"),
        ({"contrasts": {"x": 3}}, r"contrasts\.x: .*valid list"),
        ({"contrasts": {"x": ["qv"]}}, r"contrasts\.x\.0: .*valid tuple"),
        ({"interval": {"contrast": 3}}, r"interval\.contrast: .*valid tuple"),
        ({"interval": "qv"}, "interval: "),
        ({"only": [["qv"]]}, r"only\.0: expected a name"),
    ],
)
def test_what_is_of_the_wrong_form_is_said_in_one_line_also_where_arms_are_left_out(wrong, said):
    with pytest.raises(AtlasError, match=said):
        study(**{"arms": {**ARMS, "gone": None}, **wrong})


def test_what_is_left_out_takes_no_misnamed_contrast_along():
    arms = {**ARMS, "gone": None}
    with pytest.raises(AtlasError, match=r"contrasts\.x: 'misnamed' is neither an arm nor an ablation"):
        study(arms=arms, contrasts={"x": [["gone", "misnamed"], ["qv", "misnamed"]]})
    with pytest.raises(AtlasError, match="only: 'gone' is neither an arm nor an ablation"):
        study(arms=arms, only=["gone"])


def test_the_study_of_the_baselines_has_arms_of_every_method_and_fine_tuning_by_both_recipes():
    baselines = laid_on("baselines")
    assert {arm.method for arm in baselines.arms.values()} == {*OWN}
    for place in ("all", "ffn", "attention"):
        with_, bare, recall = (baselines.recipe_of(f"finetune_{place}{end}") for end in ("", "_bare", "_recall"))
        slow = with_.active["slow"]
        assert slow.rehearsal
        assert bare.active == with_.active | {"slow": slow.model_copy(update={"rehearsal": None})}
        assert recall.preset == "recall"
        assert baselines.arms[f"finetune_{place}_recall"].tuned is None  # nobody has searched its rate


@pytest.mark.parametrize("names", [("baselines",), ("baselines", "first_edits"), ("baselines", "whole_pool")])
def test_a_study_of_the_baselines_is_on_the_base_and_the_arms_of_the_default_one(names):
    default, other = laid_on(), laid_on(*names)
    shared = other.arms.keys() & default.arms.keys()
    assert {"qv_recall", "ffn_matched_recall"} <= shared
    alike = [
        {name: study.arms[name].model_copy(update={"locate": None}) for name in shared} for study in (other, default)
    ]
    assert alike[0] == alike[1]
    assert other.located == []  # the default study says where their facts sit
    assert {"rome", "r_rome", "memit", "memit_at_once", "alphaedit", "finetune_ffn"} <= {*other.arms}
    assert (other.base, other.pool, other.ablations) == (default.base, default.pool, {})
    assert other.results != default.results


@pytest.mark.parametrize("names", [(), ("baselines",), ("sizes",), ("forms",), ("baselines", "whole_pool")])
def test_all_that_these_studies_plan_can_be_decided_by_their_seeds(names):
    laid = laid_on(*names)
    assert decidable.planned(laid)
    assert decidable.undecidable(laid) == ""
    assert level.attainable(len(laid.all_seeds)) == 2 / 2**8


def test_the_baselines_plan_comparisons_of_their_own_and_the_default_study_none_with_them():
    default, baselines = laid_on(), laid_on("baselines")
    assert [*default.contrasts] == ["essay", "controls", "ranks", "recall", "presets", "recipe"]
    assert {frozenset(pair) for pair in default.contrasts["recall"]} == {
        frozenset(pair) for pair in itertools.combinations(["qv_recall", "ffn_matched_recall", "all_recall"], 2)
    }
    assert [*baselines.contrasts] == ["editors", "finetuning", "rehearsal", "among_baselines"]
    compared = {arm for pairs in baselines.contrasts.values() for pair in pairs for arm in pair}
    others = {name for name, arm in baselines.arms.items() if arm.method != "lora"}
    assert others <= compared


def test_every_place_and_recipe_is_searched_on_as_many_rates_as_far_apart():
    search = laid_on("search").search
    for arm in search.arms:
        ((_, rates),) = search.settings(arm).values()
        assert len(rates) == 5
        assert [high / low for low, high in itertools.pairwise(rates)] == pytest.approx([1.5] * 4, rel=0.03)
    assert (len(search.seeds), search.rungs, search.counts()) == (3, [30, 100], [5, 3])


def test_every_placement_of_the_recipe_that_remembers_is_searched_for():
    default, search = laid_on(), laid_on("search").search
    baselines = laid_on("baselines")
    known = {name: arm.place_in(default.shape) for name, arm in {**baselines.arms, **default.arms}.items()}
    places = {name: arm.place_in(default.shape) for name, arm in search.arms.items()}
    assert {name for name in default.arms if name.endswith("_recall")} <= {*places}
    assert {name: place for name, place in places.items() if name in known} == {
        name: known[name] for name in places if name in known
    }
    for name in ("search_baselines", "search_at_once"):
        searched = laid_on(name).search.arms
        assert searched.keys() <= baselines.arms.keys()
        assert all(arm.method == baselines.arms[arm_name].method for arm_name, arm in searched.items())


def test_to_ask_where_facts_sit_decides_nothing_of_what_is_taught():
    default = laid_on()
    assert default.located == ["qv_ffn", "qv_recall", "ffn_matched_recall", "all_recall"]
    silent = default.model_copy(
        update={"arms": {name: arm.model_copy(update={"locate": None}) for name, arm in default.arms.items()}}
    )
    assert silent.located == laid_on("sizes").located == []
    given, without = (
        {job: said for job, said in jobs_of(study).items() if not job.startswith("locate")}
        for study in (default, silent)
    )
    assert given == without


def test_a_search_locates_nothing():
    arms = {"qv": {"targets": ["q", "v"], "locate": True}}
    sweeps = {"rates": {"rates": [0.001, 0.002, 0.004]}}
    with pytest.raises(AtlasError, match=r"search\.arms\.qv\.locate: a search keeps no adapters; leave the key out"):
        config.study({"arms": {"qv": {"targets": ["q", "v"]}}, "search": {"arms": arms, "sweeps": sweeps}})
