"""The command ``atlas``, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from atlas import __version__
from atlas.study import base_settings, jobs

REPOSITORY = Path(__file__).parents[1]


def atlas(*arguments):
    command = [sys.executable, "-m", "atlas.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_version_and_help():
    assert atlas("--version").stdout == f"atlas {__version__}\n"
    for command in ("verify", "pool", "spec", "schema", "readme", "plan", "metrics", "show", "compare"):
        assert command in atlas("--help").stdout
        assert atlas(command, "--help").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("pool",), jobs.PoolSpec),
        (("base",), base_settings.Base),
        (("base", 2), base_settings.Base),
        (("stream", 3), jobs.StreamSpec),
        (("run", "qv_mid"), jobs.RunSpec),
        (("run", "ffn_no_rehearsal", "1-4"), jobs.RunSpec),
    ],
)
def test_specs_are_what_the_steps_take(arguments, kind):
    printed = atlas("spec", *arguments)
    assert printed.returncode == 0
    kind.model_validate_json(printed.stdout)


def test_studies_are_laid_on_top_of_each_other():
    printed = atlas("spec", "run", "qv", "--study", "config.yaml", "studies/quick.yaml")
    spec = json.loads(printed.stdout)
    assert (spec["seeds"], spec["checkpoints"], spec["arm"]) == ([1], [2, 4], "qv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("spec", "run", "vq"), "arm 'vq' is not in the study; it has qv, ffn, "),
        (("spec", "run", "qv", "7"), "block '7' is not in the study; it has 1-4, 5-8"),
        (("spec", "base", "3"), "replica '3' is not in the study; it has 1, 2"),
        (("spec", "pool", "--study", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("verify", "nowhere.safetensors"), "nowhere"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    done = atlas(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("atlas: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_schema_goes_to_a_file_or_to_the_terminal(tmp_path):
    assert atlas("schema", "--out", tmp_path / "schema.json").returncode == 0
    assert (tmp_path / "schema.json").read_text() == atlas("schema").stdout
