"""A study that names a plugin's class: what comes of it, and what is said where it is wrong."""

import re

import pytest

from atlas.errors import AtlasError
from atlas.study import config
from atlas.study.config import Study
from tests.plugins.made_plugins import ADAPTER, EDITOR

STUDY = {"base": {"model": {"layers": 2, "width": 32, "heads": 2, "ffn": 64}}}


def study(**arm) -> Study:
    return config.study({**STUDY, "arms": {"mine": arm}})


def said(**arm) -> str:
    with pytest.raises(AtlasError) as error:
        study(**arm)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_editor_by_its_class_has_its_own_settings(environment):
    environment.put("plugin_of_editor", EDITOR)
    made = study(method="plugin_of_editor:Idle", editing={"layers": [1], "value": {"steps": 3}})
    spec = made.run_spec("mine", "1-4")
    assert (spec.method, spec.editing, spec.targets, spec.ranks) == ("plugin_of_editor:Idle", None, ["down"], [0, 32])
    assert spec.plugged is not None
    assert (spec.plugged.kind, spec.edits, spec.adapts) == ("editing", True, False)
    assert spec.plugged.settings["value"] | {"steps": 3, "lr": 0.2} == spec.plugged.settings["value"]
    assert spec.recipe.active == {}


def test_an_adapter_by_its_entry_point_trains_by_the_recipe(environment):
    environment.put("plugin_of_adapter", ADAPTER, "[atlas.adapters]\nscaled = plugin_of_adapter:Scaled\n")
    made = study(method="scaled", targets=["q"], ranks=4, sweep={"adapter.factor": [1, 2]})
    spec = made.run_spec("mine_factor_2", "1-4")
    assert spec.plugged is not None
    assert (spec.plugged.kind, spec.plugged.settings, spec.ranks) == ("adapter", {"factor": 2.0}, [4, 4])
    assert made.arms["mine_factor_1"].adapts
    assert [*spec.recipe.active] == ["fast", "slow"]


ADAPTS = {"targets": ["q"], "ranks": 4}


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"method": "no_such_package.module:Mine"}, r"arms\.mine\.method: .*no module 'no_such_package'; install its"),
        ({"method": "no_such_package.module:Mine"}, r"PYTHONPATH; nothing is imported from the folder where"),
        ({"method": "wrong_plugin.parts:Gone"}, r"method: wrong_plugin\.parts:Gone: wrong_plugin\.parts has no 'Gone'"),
        ({"method": "wrong_plugin.missing:Mine"}, r"there is no module 'wrong_plugin\.missing'"),
        ({"method": "wrong_plugin.needy:Mine"}, r"its module needs 'not_installed_here', which is not there"),
        ({"method": "wrong_plugin.broken:Mine"}, r"cannot be imported \(ValueError: on purpose\); mend it"),
        ({"method": "wrong_plugin.parts:number"}, r"found int 3, expected a class derived from atlas\.ttt\.editors"),
        (
            {"method": "wrong_plugin.parts:Stranger"},
            r"derived from builtins\.object, expected .* or atlas\.ttt",
        ),
        ({"method": "wrong_plugin.parts:Unfinished"}, r"parts:Unfinished: it lacks write; write what docs/plugins\.md"),
        ({"method": "wrong_plugin.parts:Finer"}, r"derived from LoraLinear, which is not to be changed"),
        ({"method": "wrong_plugin.parts:Careless"}, r"settings_class is <class 'dict'>, expected a class derived from"),
        ({"method": "wrong_plugin.parts:Strict"}, r"its settings have no default for 'weight'; give every key one"),
        ({"method": "lore"}, r"method: no method of Atlas \(lora, finetune, rome.*found 'lore'"),
        ({"method": "plugin_for_keys:Scaled", **ADAPTS, "adapter": {"factr": 1}}, r"mine\.adapter\.factr: unknown key"),
        (
            {"method": "plugin_for_keys:Scaled", **ADAPTS, "adapter": {"factor": 0}},
            r"adapter\.factor: .*greater than 0",
        ),
        ({"method": "plugin_for_keys:Scaled", **ADAPTS, "editing": {"layers": [0]}}, r"mine\.editing: .* trains"),
        ({"method": "plugin_for_keys:Scaled", **ADAPTS, "locate": True}, r"mine\.locate: .* leaves no LoRA to take"),
        ({"method": "plugin_for_keys:Scaled", **ADAPTS, "start": "x"}, r"mine\.start: .* cannot begin with a LoRA"),
        ({"method": "plugin_for_keys:Scaled", "ranks": 4}, r"mine\.targets: none, so nothing would be trained"),
        ({"method": "plugin_for_keys:Idle", "editing": {"layers": [2]}}, r"editing\.layers: found \[2\].*0 to 1"),
        ({"method": "plugin_for_keys:Idle", "targets": ["q"]}, r"mine\.targets: an editor writes into `down`"),
        ({"method": "plugin_for_keys:Idle", "adapter": {"factor": 1}}, r"mine\.adapter: an editor's settings stand"),
        ({"method": "lora", **ADAPTS, "adapter": {"factor": 1}}, r"mine\.adapter: method 'lora' has no settings"),
    ],
)
def test_what_is_wrong_with_a_plugin_or_its_settings_is_said_in_one_line(environment, arm, message):
    environment.put("plugin_for_keys", EDITOR + ADAPTER)
    environment.put("wrong_plugin.needy", "import not_installed_here\n")
    environment.put("wrong_plugin.broken", "raise ValueError('on\\n purpose')\n")
    parts = """
        from pydantic import Field
        from atlas.study.editor_settings import LayeredSettings
        from atlas.ttt.engine.lora import LoraLinear

        number = 3

        class Stranger: ...

        class Unfinished(Editor): ...

        class Finer(LoraLinear): ...

        class Careless(Idle):
            settings_class = dict

        class Weighed(LayeredSettings):
            weight: float = Field(gt=0)

        class Strict(Idle):
            settings_class = Weighed
        """
    environment.put("wrong_plugin.parts", EDITOR + "\n".join(line[8:] for line in parts.splitlines()))
    assert re.search(message, said(**arm)), said(**arm)


def test_entry_points_that_clash_or_name_no_class_are_said(environment):
    environment.put("plugin_one", EDITOR, "[atlas.editors]\nidle = plugin_one:Idle\n")
    environment.put("plugin_two", EDITOR, "[atlas.editors]\nidle = plugin_two:Idle\n")
    assert "entry point idle of atlas.editors: plugin_one:Idle and plugin_two:Idle both have this name" in said(
        method="idle"
    )
    environment.put("plugin_two", EDITOR, "[atlas.editors]\nother = plugin_two\n")
    assert "entry point other of atlas.editors: found 'plugin_two', expected my_package.module:Name" in said(
        method="idle"
    )
