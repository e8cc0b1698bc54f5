"""Several steps in one process end as each would alone."""

import subprocess
import sys

import pytest

STEPS = {
    "good": "import sys, pathlib\npathlib.Path(sys.argv[1]).write_text(__name__)\nsys.exit(0)\n",
    "silent": "import good_library, pathlib, sys\npathlib.Path(sys.argv[1]).write_text('done')\n",
    "good_library": "",
    "mistaken": "import sys\nprint('atlas: error: no such pool; make it', file=sys.stderr)\nsys.exit(1)\n",
    "defective": "1 / 0\n",
    "misused": "import argparse\nargparse.ArgumentParser().parse_args()\n",
    "interrupted": "import sys\nsys.exit(130)\n",
    "full": "import sys\nsys.exit(74)\n",
}


def together(folder, *steps):
    for name, code in STEPS.items():
        (folder / f"{name}.py").write_text(code)
    command = [sys.executable, "-m", "atlas.workflow.together", *steps]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_steps_run_as_programs_one_after_another(tmp_path):
    done = together(tmp_path, "good 'it'\"'\"'s out.txt'", "good_library", "silent second.txt")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "it's out.txt").read_text() == "__main__"
    assert (tmp_path / "second.txt").exists()
    assert not done.stderr


@pytest.mark.parametrize("wrong", ["mistaken", "defective", "misused --none"])
def test_a_step_that_fails_is_named_and_stops_no_other(tmp_path, wrong):
    done = together(tmp_path, "good first.txt", wrong, "silent last.txt")
    assert done.returncode == 1
    assert (tmp_path / "last.txt").exists()
    assert done.stderr.splitlines()[-1].startswith(f"atlas: {wrong.split()[0]} failed, 2 of 3 steps did not")


@pytest.mark.parametrize(("wrong", "code"), [("interrupted", 130), ("full", 74)])
def test_ctrl_c_and_a_full_disk_stop_all(tmp_path, wrong, code):
    done = together(tmp_path, wrong, "silent last.txt")
    assert done.returncode == code
    assert not (tmp_path / "last.txt").exists()
