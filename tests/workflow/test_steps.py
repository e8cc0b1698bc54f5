"""Steps: how a command line ends, what it prints, and what goes to its log."""

import subprocess
import sys
import textwrap

import pytest

from atlas.errors import AtlasError
from atlas.study import jobs
from atlas.workflow import steps


def run(tmp_path, body):
    """Run ``body`` as a step's main in a process of its own."""
    script = tmp_path / "step.py"
    script.write_text(
        "import errno\nfrom atlas.study import pool_settings\n"
        "from atlas.workflow import progress, steps\nfrom atlas.errors import AtlasError\n"
        "def main():\n    arguments = steps.parser('A step.')\n" + textwrap.indent(textwrap.dedent(body), "    ")
        + "\nsteps.run_step(main)\n"
    )  # fmt: skip
    command = [sys.executable, str(script), "--log", str(tmp_path / "step.log"), "--spec", '{"taught": 0}']
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_good_end_is_silent(tmp_path):
    done = run(tmp_path, "arguments.parse_known_args()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("raise AtlasError('x.parquet: cut short')", 1, "atlas: error: x.parquet: cut short\n"),
        ("raise KeyboardInterrupt", 130, "atlas: error: interrupted; finished outputs are kept"),
        ("raise OSError(errno.ENOSPC, 'No space', 'x.txt')", 74, "atlas: error: the disk is full while writing x.txt"),
    ],
)
def test_ends_that_a_user_can_mend_are_one_line_in_terminal_and_log(tmp_path, body, code, message):
    done = run(tmp_path, "arguments.parse_known_args()\n" + body)
    assert done.returncode == code
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "step.log").read_text() == done.stderr


def test_a_defect_keeps_its_traceback_in_both_places(tmp_path):
    done = run(tmp_path, "arguments.parse_known_args()\n1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "ZeroDivisionError" in (tmp_path / "step.log").read_text()


def test_a_bad_spec_on_the_command_line_is_one_line(tmp_path):
    done = run(tmp_path, "steps.add_spec(arguments, pool_settings.Pool)\narguments.parse_args()")
    assert done.returncode == 1
    assert done.stderr.startswith("atlas: error: --spec: taught: ")
    assert done.stderr.count("\n") == 1


def test_other_os_errors_are_defects(tmp_path):
    done = run(tmp_path, "arguments.parse_known_args()\nraise OSError(errno.EIO, 'Input/output error', 'x')")
    assert done.returncode == 1
    assert "OSError: [Errno 5] Input/output error: 'x'" in done.stderr
    assert "OSError: [Errno 5] Input/output error: 'x'" in (tmp_path / "step.log").read_text()


def test_specs_come_inline_or_from_a_file(tmp_path):
    spec = jobs.StreamSpec(seed=1, sessions=2, facts_per_session=3)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    assert steps.parse_spec(jobs.StreamSpec, spec.model_dump_json()) == spec
    assert steps.parse_spec(jobs.StreamSpec, str(tmp_path / "spec.json")) == spec
    with pytest.raises(AtlasError, match="no such file; give JSON or a file"):
        steps.parse_spec(jobs.StreamSpec, "nowhere.json")
    with pytest.raises(AtlasError, match="--spec: sede: unknown key"):
        steps.parse_spec(jobs.StreamSpec, '{"sede": 1, "seed": 1, "sessions": 2, "facts_per_session": 3}')


@pytest.mark.parametrize(
    ("described", "processor"),
    [
        (
            "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: Xeon\nflags\t: a\n\nmodel name\t: B\n",
            "Xeon, family 6, model 207",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n", "0x41, part 0xd0c"),  # as ARM has it
        ("", ""),
    ],
)
def test_a_processor_is_told_by_name_and_numbers(described, processor, tmp_path):
    (tmp_path / "cpuinfo").write_text(described)
    assert steps.processor(tmp_path / "cpuinfo") == processor


def test_the_record_of_a_run_names_versions_and_host():
    record = steps.environment("numpy")
    assert {"python", "atlas", "numpy"} == set(record["versions"])
    assert record["host"]["machine"]
    assert record["host"]["processor"] == steps.processor()
    assert steps.now().endswith("+00:00")
