"""Sweeps: one line of a study makes arms, by names that say what they are, and mistakes are those of that line."""

import pytest
import yaml

from atlas.errors import AtlasError
from atlas.study import config
from atlas.study.config import Study

QV = {"targets": ["q", "v"]}


def study(**changes) -> Study:
    return Study.model_validate({"interval": None, "arms": {"qv": QV}, **changes})


def swept(sweep, **arm) -> Study:
    return study(arms={"qv": {**QV, **arm, "sweep": sweep}})


@pytest.mark.parametrize(
    ("sweep", "names"),
    [
        ({"lr": [0.001, "2e-3"]}, ["lr_0p001", "lr_0p002"]),
        ({"lr": [1e-5]}, ["lr_1em05"]),
        ({"ranks": [4, [4, 8, 8, 4]]}, ["ranks_4", "ranks_4_8_8_4"]),
        ({"targets": [["q"], ["up", "down"]]}, ["targets_q", "targets_up_down"]),
        ({"recipe.preset": ["essay", "recall"]}, ["preset_essay", "preset_recall"]),
        ({"phases.slow": [None]}, ["slow_null"]),
        (
            {"clip": [0.5, 1], "mixed": [True, False]},
            [f"clip_{a}_mixed_{b}" for a in ("0p5", 1) for b in ("true", "false")],
        ),
        (
            {"phases.slow.lr": [0.1], "phases.fast.lr": [0.2]},
            ["phases_slow_lr_0p1_phases_fast_lr_0p2"],
        ),
    ],
)
def test_arms_are_named_by_their_keys_and_values(sweep, names):
    assert [*swept(sweep).arms] == [f"qv_{name}" for name in names]


def test_an_arm_of_a_sweep_is_the_arm_that_one_would_write():
    found = swept({"lr": [0.002], "phases.slow.steps": [7], "phases.slow.epochs": [None]}, ranks=8)
    written = {**QV, "ranks": 8, "lr": 0.002, "recipe": {"phases": {"slow": {"steps": 7, "epochs": None}}}}
    (name,) = found.arms
    expected = study(arms={name: written})
    assert found.run_spec(name, "1-4") == expected.run_spec(name, "1-4")
    phases = found.recipe_of(name).active
    assert (phases["fast"].lr, phases["slow"].lr) == (0.002, 0.000666666667)  # in proportion
    assert phases["slow"].steps == 7


def test_editors_are_swept_by_their_own_keys():
    found = study(arms={"memit": {"method": "memit", "sweep": {"layers": [[0], [0, 1]], "value.steps": [5]}}})
    spec = found.run_spec("memit_layers_0_1_steps_5", "1-4")
    assert spec.editing is not None
    assert (spec.editing.model_dump()["layers"], spec.editing.value.steps) == ([0, 1], 5)


def test_contrasts_and_only_that_name_the_arm_mean_all_of_them_and_the_interval_the_first():
    arms = {"a": QV, "b": {**QV, "sweep": {"ranks": [4, 8]}, "tuned": {"seeds": [9], "rates": [0.5]}}, "c": QV}
    found = study(
        arms=arms,
        ablations={"d": {**QV, "sweep": {"clip": [2, 3]}}},
        only=["b", "a", "d"],
        contrasts={"mine": [["a", "b"], ["b", "d"], ["a", "c"]]},
        interval={"contrast": ["b", "a"]},
    )
    assert ([*found.arms], [*found.ablations]) == (["b_ranks_4", "b_ranks_8", "a"], ["d_clip_2", "d_clip_3"])
    pairs = [("a", "b_ranks_4"), ("a", "b_ranks_8")]
    pairs += [(f"b_ranks_{rank}", f"d_clip_{clip}") for rank in (4, 8) for clip in (2, 3)]
    assert found.contrasts == {"mine": pairs}
    assert found.interval is not None
    assert found.interval.contrast == ("b_ranks_4", "a")
    assert found.tuned == {}


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({}, r"study\.yaml: arms\.qv\.sweep: no key; name one with its values.* \(line 4\)"),
        ({"lr": []}, r"arms\.qv\.sweep\.lr: found \[\], expected a list of values"),
        ({"lr": 0.1}, r"arms\.qv\.sweep\.lr: found 0\.1, expected a list of values"),
        ({"lr": [1, 1.0]}, r"arms\.qv\.sweep\.lr: 1 stands twice; write every value once"),
        ({"lr": [2, 3]}, r"study\.yaml: arms\.qv\.sweep\.lr: .*less than 1, found 2 \(line 5\)"),
        ({"phases.slow.lr": [2]}, r"arms\.qv\.sweep\.phases\.slow\.lr: .*less than 1, found 2"),
        ({"clop": [1, 2]}, r"^[^|]*arms\.qv\.sweep\.clop: unknown key[^|]*$"),
        ({"phases.fast": [None], "phases.slow": [None], "lr": [0.1]}, r"arms\.qv\.sweep\.lr: the arm trains nothing"),
        ({"tuned": [None]}, r"arms\.qv\.sweep\.tuned: it changes no run"),
        ({"phases": [{"slow": None}]}, r"arms\.qv\.sweep\.phases: a value is a mapping; sweep the keys below"),
        ({"loss": ["answer", "Answer"]}, r"sweep: two of its arms would be called 'qv_loss_answer'"),
        ({"clip": [7]}, r"arms\.qv\.sweep: it makes 'qv_clip_7', which is one of the arms"),
        (3, r"arms\.qv\.sweep: .*valid dictionary, found 3"),
        ({"loss": ["answer" * 20]}, r"a name of 128 characters, expected at most 100"),
    ],
)
def test_a_mistake_is_said_once_of_the_line_that_makes_it(tmp_path, sweep, message):
    path = tmp_path / "study.yaml"
    given = {"arms": {"qv": {"sweep": sweep, **QV}, "qv_clip_7": QV}}
    path.write_text("\n" + yaml.safe_dump(given, sort_keys=False))
    with pytest.raises(AtlasError, match=message):
        config.load(path)


def test_a_search_is_not_swept_by_an_arm():
    search = {"arms": {"qv": {**QV, "sweep": {"clip": [1, 2]}}}, "sweeps": {"a": {"rates": [0.001, 0.002, 0.004]}}}
    with pytest.raises(ValueError, match=r"search\.arms\.qv\.sweep: only `arms` and `ablations` of a study are swept"):
        study(search=search)
