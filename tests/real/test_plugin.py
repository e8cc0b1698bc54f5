"""The example of a plugin, installed and run through the workflow; an edit of it reruns what it made."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from tests.real.checkout import REPOSITORY, STUDY

TARGET = "results/tables/retention.parquet"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where pip installed the example, from a copy, since a build leaves files beside its source."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(REPOSITORY / "examples" / "plugin", folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--target", folder / "site", folder / "source"], check=True)
    return folder / "site"


def test_an_editor_an_adapter_a_metric_and_a_reader_of_a_plugin(copy, installed, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(installed))
    example = REPOSITORY / "examples" / "plugin"
    shutil.copy(example / "facts.arrows", copy.root)
    theirs = yaml.safe_load((example / "study.yaml").read_text())
    arms = {"stabilised": theirs["arms"]["stabilised"] | {"sweep": {"adapter.factor": [0.5]}}}
    arms["delta"] = theirs["arms"]["delta"]
    mine = {"seeds": ["1-2"], "pool": {"source": "facts.arrows"}, "checkpoints": [2], "arms": arms}
    copy.configure(STUDY | mine | {"contrasts": {}, "ablations": {}, "interval": None})
    made = copy.done(TARGET)
    assert "atlas: done" in made

    rows = pd.read_parquet(copy.file("tables/retention.parquet"))
    assert {*rows["arm"]} == {"stabilised_factor_0p5", "delta"}
    assert "confidence" in {*rows["metric"]}
    assert {*pd.read_parquet(copy.file("pool/pool.parquet"))["template"]} == {"keeps", "dish"}
    described = pd.read_parquet(copy.file("tables/arms.parquet")).set_index("arm")
    assert described["method"].to_dict() == {
        "stabilised_factor_0p5": "rank_stabilised",
        "delta": "atlas_plugin_example.editor:DeltaRule",
    }
    assert copy.jobs(TARGET) == set()

    editor = installed / "atlas_plugin_example" / "editor.py"
    editor.write_text(editor.read_text().replace("self.settings.ridge *", "2 * self.settings.ridge *"))
    metric = installed / "atlas_plugin_example" / "metric.py"
    metric.write_text(metric.read_text().replace("math.log(2)", "math.log(3)"))
    assert copy.jobs(TARGET) == {"teach delta 1-2", "tables_facts"}
