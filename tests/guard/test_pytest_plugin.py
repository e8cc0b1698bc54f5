"""The fixture that other projects' tests take, run by a pytest of its own as theirs would."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from atlas.guard import pytest_plugin
from tests.guard.foreign_models import saved

pytestmark = pytest.mark.xdist_group("plugin")  # one worker makes its models

TEST = """
import sys

from transformers import AutoModelForCausalLM

FOLDER = {folder!r}


def test_nothing_is_imported_before_it_is_asked_for():
    assert "atlas.guard.verification" not in sys.modules


def test_sound(assert_loaded):
    assert_loaded(AutoModelForCausalLM.from_pretrained(FOLDER), FOLDER)


def test_damaged(assert_loaded):
    model = AutoModelForCausalLM.from_pretrained(FOLDER)
    model.model.layers[0].mlp.up_proj.weight.data.zero_()
    assert_loaded(model, FOLDER)


def test_mistaken(assert_loaded):
    assert_loaded(AutoModelForCausalLM.from_pretrained(FOLDER), FOLDER + "/nowhere")
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Output of a project's tests, which has nothing but Atlas installed to thank for the fixture."""
    folder = tmp_path_factory.mktemp("project")
    model = saved(folder / "model", "llama", trained=True)
    (folder / "test_theirs.py").write_text(TEST.format(folder=str(model)))
    # by its module, since what installed Atlas here may be older than its entry point, which is blocked
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:atlas",
        "-p",
        "atlas.guard.pytest_plugin",
    ]
    done = subprocess.run(
        [*command, "--rootdir", folder, folder], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout


def test_a_sound_model_passes_and_others_fail(ran):
    assert "2 failed, 2 passed" in ran


def test_a_failure_names_the_tensor_and_shows_no_line_of_atlas(ran):
    assert "the model is not what the checkpoint holds" in ran
    assert "loaded: model.layers.0.mlp.up_proj.weight" in ran
    assert "verification.py" not in ran.split("test_mistaken")[0]


def test_a_mistake_is_told_as_one(ran):
    assert "nowhere: no such file" in ran


def test_pytest_finds_it_by_itself():
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"atlas": pytest_plugin.__name__}
