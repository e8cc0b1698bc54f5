"""The code of plugins in digests: what of it counts, for which steps, and what changes none."""

import pytest

from atlas.errors import AtlasError
from atlas.workflow import digest, plugin_code
from tests.plugins.made_plugins import EDITOR, Environment, forget

FILES = {
    "toy_plugin.__init__": "",
    "toy_plugin.editor": f"from toy_plugin import tools\n{EDITOR}\n    def half(self):\n        return tools.half(1)\n",
    "toy_plugin.tools": "def half(x):\n    return x / 2\n\n\ndef unused(x):\n    return x\n",
    "toy_plugin.other": "from atlas.plugins.metric import Metric\n\nONE = 1\n",
}
IDLE = "toy_plugin.editor:Idle"
POINTS = "[atlas.metrics]\none = toy_plugin.other:ONE\n"


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """``parts(step, references, edits)``: those of a step with the toy plugin, some files of it changed."""
    count = iter(range(100))

    def with_edits(step, references=(IDLE,), edits=None, points=""):
        environment = Environment(tmp_path / str(next(count)))  # a new folder each time, because parses are cached
        environment.folder.mkdir()
        monkeypatch.syspath_prepend(str(environment.folder))
        for name, text in {**FILES, **(edits or {})}.items():
            environment.put(name, text, points)
        return plugin_code.parts_of(step, references)

    yield with_edits
    forget(tmp_path)


def test_what_the_class_reaches_counts_and_nothing_else_of_its_package(parts):
    before = parts("atlas.ttt.edit")
    named = {part.partition("=")[0] for part in before}
    assert {"toy_plugin.editor", "toy_plugin.tools", "atlas.ttt.editors.editor"} <= named
    assert "toy_plugin.other" not in named
    tools = FILES["toy_plugin.tools"]
    for same in (
        {"toy_plugin.tools": f"# a remark\n{tools}".replace("return x\n", "return x + 1\n")},
        {"toy_plugin.other": "ONE = 2\n"},
        {"toy_plugin.editor": FILES["toy_plugin.editor"] + "\n\nclass Another:\n    pass\n"},
    ):
        assert parts("atlas.ttt.edit", edits=same) == before
    for other in (
        {"toy_plugin.tools": tools.replace("x / 2", "x / 3")},
        {"toy_plugin.editor": FILES["toy_plugin.editor"].replace("half(1)", "half(2)")},
    ):
        assert parts("atlas.ttt.edit", edits=other) != before


def test_a_run_records_the_plugins_code(parts):
    before = parts("atlas.ttt.edit") and plugin_code.digest_of("atlas.ttt.edit", IDLE)
    changed = {"toy_plugin.tools": FILES["toy_plugin.tools"].replace("x / 2", "x / 3")}
    assert parts("atlas.ttt.edit", edits=changed)
    assert plugin_code.digest_of("atlas.ttt.edit", IDLE) != before
    assert plugin_code.digest_of("atlas.ttt.edit", None) == digest.code_digest("atlas.ttt.edit")


def test_what_a_plugin_imports_of_atlas_counts_where_the_step_does_not_reach_it(parts):
    asked = {"toy_plugin.editor": "from atlas.ttt.editors.rome import exact\n\n\nclass Idle:\n    solve = exact\n"}
    assert "atlas.ttt.editors.rome" in {part.partition("=")[0] for part in parts("atlas.pool.build", edits=asked)}
    assert "atlas.ttt.editors.rome" not in {part.partition("=")[0] for part in parts("atlas.pool.build", ())}


@pytest.mark.parametrize(("step", "counts"), [("atlas.tables.retention", True), ("atlas.ttt.run", False)])
def test_metrics_count_in_steps_that_read_the_registry_alone(parts, step, counts):
    found = [parts(step, (), {"toy_plugin.other": f"ONE = {number}\n"}, POINTS) for number in (1, 2)]
    assert (found[0] != found[1]) is counts
    assert not any(part.startswith("toy_plugin") for part in plugin_code.parts_of(step, (), metrics=False))


def test_a_plugin_that_is_gone_is_named():
    with pytest.raises(AtlasError, match=r"gone_plugin\.editor:Idle: there is no such module; install its package"):
        plugin_code.parts_of("atlas.ttt.edit", ["gone_plugin.editor:Idle"])
