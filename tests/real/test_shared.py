"""Who may read and write what: outputs follow the umask, and what another user's checkout refuses is one line."""

import os
import shutil
import stat
import sys

import pytest

from tests.others import OTHER, as_other
from tests.real.checkout import REPOSITORY
from tests.real.conftest import UMASK

SHOWN = """
import sys
from atlas import cli

checkpoint = "results/base/1/base.safetensors"
for arguments in (["check", "results"], ["show", "--results", "results"], ["verify", checkpoint]):
    sys.argv = ["atlas", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        print(arguments[0], "ends with", end.code)
"""


def test_all_files_and_folders_of_a_study_have_the_mode_that_the_umask_leaves(finished):
    wrong = {}
    for path in [finished.file("."), *finished.file(".").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode != (0o777 if path.is_dir() else 0o666) & ~UMASK:
            wrong[path] = oct(mode)
    assert wrong == {}


def test_results_that_are_only_readable_are_checked_shown_and_verified(finished):
    done = as_other([sys.executable, "-c", SHOWN], cwd=finished.root, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == 0, done.stdout
    for command in ("check", "show", "verify"):
        assert f"{command} ends with 0" in done.stdout, done.stdout
    assert "atlas: error" not in done.stdout


@pytest.fixture
def others(finished, tmp_path):
    """A finished checkout of which another user has all but the results, a way to run its command, and the results."""
    copy, home = finished.copy(tmp_path / "atlas"), tmp_path / "home"
    home.mkdir()
    for path in [home, copy.root, *(copy.root / ".snakemake").rglob("*"), copy.root / ".snakemake"]:
        os.chown(path, OTHER, OTHER)

    def run(*arguments):
        environment = {**copy.environment, "HOME": str(home)}
        return as_other(copy.command(*arguments), cwd=copy.root, env=environment).stdout

    return copy, run


def test_results_of_another_user_end_snakemake_with_one_line_that_says_how_to_go_on(others):
    copy, snakemake = others
    said = snakemake()
    (line,) = (line for line in said.splitlines() if line.startswith("atlas: error: "))
    assert "results: nobody may not write it, it belongs to root (drwxr-x---)" in line
    assert "--config results=FOLDER" in line
    assert "Traceback" not in said
    own = copy.root / "own"
    (own / "pool").mkdir(parents=True)
    os.chown(own, OTHER, OTHER)  # the folder of a stage is still another user's
    said = snakemake("pool", "--config", "results=own")
    (line,) = (line for line in said.splitlines() if line.startswith("atlas: error: "))
    assert line.startswith("atlas: error: own/pool: nobody may not write it, it belongs to root")
    assert "Traceback" not in said
    assert "rule facts:" not in said  # before the first job
    shutil.rmtree(own / "pool")
    assert "atlas: done after" in snakemake("pool", "--config", "results=own")
