"""Pool readers and metrics that entry points bring, and what is said where they are wrong."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from atlas.errors import AtlasError
from atlas.plugins.metric import metrics_of_plugins
from atlas.pool import readers
from tests.pool.strict_reading import facts_of

READER = """
from atlas.pool.facts import UNDRAWN, Fact
from atlas.pool.readers import PoolReader

class Lines(PoolReader):
    suffixes = (".lines", ".csv")

    def recognises(self, path):
        return path.suffix == ".lines" or path.read_text().startswith("#lines")

    def read(self, path):
        rows = [line.split(":") for line in path.read_text().splitlines() if ":" in line]
        return [Fact(str(n), UNDRAWN, "own", "own", prompt, answer, ()) for n, (prompt, answer) in enumerate(rows)]
"""
POINT = "[atlas.pool_readers]\nlines = plugin_reader:Lines\n"
METRIC = """
from atlas.plugins.metric import Metric

def metric(name, score):
    return Metric(name, "asked", "scored", "own contract", "0 to 1", "higher is better", "a test", score=score)

half = metric("half", lambda facts: facts["x"] / 2)
wild = metric("wild", lambda facts: facts["x"] * 2)
wrong = metric("wrong", lambda facts: facts["no such column"])
recall = metric("recall", lambda facts: facts["x"])
Named = metric("Named", lambda facts: facts["x"])
number = 3
"""


def test_a_reader_takes_its_suffix_and_what_it_recognises(environment, tmp_path):
    environment.put("plugin_reader", READER, POINT)
    mine, marked, plain = (tmp_path / name for name in ("a.lines", "b.csv", "c.csv"))
    mine.write_text("The capital is:Lima\n")
    marked.write_text("#lines\nThe river is:Rimac\n")
    plain.write_text("prompt,answer\nThe sea is,wide\n")
    assert [facts_of(path)[0].answer for path in (mine, marked, plain)] == ["Lima", "Rimac", "wide"]
    assert [readers.reader_of(path) for path in (mine, plain)] == ["plugin_reader:Lines", None]
    with pytest.raises(AtlasError, match=r"unknown kind of pool '\.none'; expected .*\.lines"):
        facts_of(tmp_path / "x.none")
    mine.write_text("nothing\n")
    with pytest.raises(AtlasError, match=r"a\.lines: plugin_reader:Lines found no facts"):
        facts_of(mine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("return [Fact(", "return [str("), r"a\.lines: plugin_reader:Lines gave '.*expected atlas\.pool\.facts\.Fact"),
        (('(".lines", ".csv")', '"lines"'), r"plugin_reader:Lines: suffixes: found 'lines', expected a tuple"),
        (("(PoolReader)", ""), r"plugin_reader:Lines: derived from builtins\.object, expected .*PoolReader"),
    ],
)
def test_what_is_wrong_with_a_reader_is_said(environment, tmp_path, change, message):
    old, new = change
    text = READER.replace(old, new).replace('str(str(n), UNDRAWN, "own", "own", prompt, answer, ())', "str(n)")
    environment.put("plugin_reader", text, POINT)
    (tmp_path / "a.lines").write_text("The capital is:Lima\n")
    with pytest.raises(AtlasError, match=message):
        facts_of(tmp_path / "a.lines")


def test_a_metric_is_taken_by_its_name_and_its_scores_are_checked(environment):
    environment.put("plugin_metric", METRIC, "[atlas.metrics]\nhalf = plugin_metric:half\nwild = plugin_metric:wild\n")
    half, wild = metrics_of_plugins({"recall"})
    facts = pd.DataFrame({"x": [0, 1]})
    assert half.score is not None
    assert wild.score is not None
    assert half.score(facts).tolist() == [0, 0.5]
    assert half.label == "half"
    with pytest.raises(AtlasError, match="plugin_metric:wild: its score gives 2 numbers from 0 to 2 for 2 facts"):
        wild.score(facts)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("number = plugin_metric:number", "point number of atlas.metrics: found 3 in plugin_metric:number, expected"),
        ("other = plugin_metric:half", "the metric calls itself 'half', expected the name of its entry point"),
        ("Named = plugin_metric:Named", "the metric calls itself 'Named'"),
        ("recall = plugin_metric:recall", "point recall of atlas.metrics: Atlas has a metric of this name"),
        ("half = plugin_metric:gone", "plugin_metric has no 'gone'"),
    ],
)
def test_what_is_wrong_with_a_metric_is_said(environment, point, message):
    environment.put("plugin_metric", METRIC, f"[atlas.metrics]\n{point}\n")
    with pytest.raises(AtlasError, match=message):
        list(metrics_of_plugins({"recall"}))


def test_a_score_that_fails_is_said_with_its_plugin(environment):
    environment.put("plugin_metric", METRIC, "[atlas.metrics]\nwrong = plugin_metric:wrong\n")
    (wrong,) = metrics_of_plugins({"recall"})
    assert wrong.score is not None
    with pytest.raises(AtlasError, match=r"plugin_metric:wrong: its score fails \(KeyError: 'no such column'\)"):
        wrong.score(pd.DataFrame({"x": [0]}))


@pytest.mark.parametrize(("name", "code"), [("half", 0), ("gone", 1)])
def test_commands_know_the_metric_or_say_in_one_line_what_is_wrong_with_it(environment, name, code):
    environment.put("plugin_metric", METRIC, f"[atlas.metrics]\n{name} = plugin_metric:{name}\n")
    path = os.pathsep.join([str(environment.folder), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", "from atlas import cli; cli.main()", "metrics"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    if code:
        said = "plugin_metric:gone: plugin_metric has no 'gone'; write a name that it has"
        assert done.stderr == f"atlas: error: {said}\n"
    else:
        assert "## `half`" in done.stdout
