"""What the file system refuses is said in one line: the place, whose it is, what to do."""

import errno
import os
import sys
from pathlib import Path

import pytest

from atlas.workflow import access, locks
from tests.others import OTHER, as_other

REPOSITORY = Path(__file__).parents[2]
STEP = """
import sys
from pathlib import Path
from atlas.workflow import files, steps

def main():
    options = steps.parser("A step.")
    options.add_argument("--out", type=Path)
    files.publish_text(options.parse_args().out, "x")

steps.run_step(main)
"""


def said_by_step(*arguments):
    done = as_other([sys.executable, "-c", STEP, *map(str, arguments)], env={"PYTHONPATH": str(REPOSITORY)})
    return done.returncode, done.stdout


def test_a_step_names_the_folder_that_is_not_the_users_own(tmp_path):
    code, said = said_by_step("--out", tmp_path / "results" / "tables" / "arms.parquet")
    assert (code, said.count("\n")) == (1, 1), said
    assert said.startswith(f"atlas: error: {tmp_path}: nobody may not write it, it belongs to root (d")
    assert "ask for access, or use a folder of your own" in said


def test_a_step_names_the_log_that_is_not_the_users_own(tmp_path):
    (tmp_path / "step.log").touch()
    code, said = said_by_step("--log", tmp_path / "step.log", "--out", tmp_path / "out.txt")
    assert (code, said.count("\n")) == (1, 1), said
    assert said.startswith(f"atlas: error: {tmp_path / 'step.log'}: nobody may not write it, it belongs to root (-")


def test_a_step_writes_where_it_may(tmp_path):
    os.chown(tmp_path, OTHER, OTHER)
    assert said_by_step("--out", tmp_path / "tables" / "out.txt") == (0, "")


def held_by_other(folder, dryrun):
    script = f"from pathlib import Path; from atlas.workflow import locks; locks.hold(Path(sys.argv[1]), {dryrun})"
    return as_other(
        [sys.executable, "-c", f"import sys; {script}", str(folder)], env={"PYTHONPATH": str(REPOSITORY)}
    ).stdout


@pytest.mark.parametrize("dryrun", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_records_of_another_user_are_one_line(tmp_path, there, dryrun):
    folder = tmp_path / ".snakemake"
    if there:
        folder.mkdir()
    said = held_by_other(folder, dryrun)
    assert said.count("\n") == 1, said
    assert said.startswith(f"atlas: error: {folder if there else tmp_path}: nobody may not write it")
    assert "Snakemake keeps its records there: work in a copy of the repository of your own" in said


def test_a_dry_run_reads_the_records_of_another_user(tmp_path):
    for name in locks.RECORDS:
        (tmp_path / ".snakemake" / name).mkdir(parents=True)
    assert held_by_other(tmp_path / ".snakemake", dryrun=True) == ""
    assert held_by_other(tmp_path / ".snakemake", dryrun=False).startswith("atlas: error: ")


def test_records_that_may_not_be_read_are_one_line(tmp_path, monkeypatch):
    for name in locks.RECORDS:
        (tmp_path / ".snakemake" / name).mkdir(parents=True)
    record = tmp_path / ".snakemake" / "metadata" / "cmVzdWx0cw=="
    record.touch()
    monkeypatch.setattr(access, "may", lambda path, _: path != record)
    with pytest.raises(SystemExit, match=r"metadata/cmVzdWx0cw==: root may not read it, it belongs to root \(-"):
        locks.hold(tmp_path / ".snakemake", dryrun=True)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "results").touch()
    said = f"{tmp_path / 'results'}: a file, where a folder is needed"
    assert access.not_writable(tmp_path / "results" / "tables") == said
    for code in (errno.ENOTDIR, errno.EEXIST):
        assert access.in_words(OSError(code, os.strerror(code), str(tmp_path / "results" / "tables"))) == said
    for dryrun in (True, False):
        with pytest.raises(SystemExit, match=r"atlas: error: .*a file, .* --config results=FOLDER"):
            access.refuse_results(str(tmp_path / "results"), dryrun)


def test_a_disk_that_is_mounted_read_only_is_named(tmp_path, monkeypatch):
    class Mounted:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(access, "may", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda _: Mounted)
    assert access.not_writable(tmp_path / "results") == f"{tmp_path}: on a file system that is mounted read-only"


def test_an_input_that_may_not_be_read_is_not_called_unwritable(tmp_path, monkeypatch):
    monkeypatch.setattr(access, "may", lambda *_: False)
    said = access.in_words(PermissionError(errno.EACCES, "Permission denied", str(tmp_path)))
    assert said is not None
    assert said.startswith(f"{tmp_path}: root may not read it" if os.geteuid() == 0 else f"{tmp_path}: ")


@pytest.mark.parametrize("error", [OSError("text only"), OSError(errno.EIO, "Input/output error", "x")])
def test_other_errors_are_left_to_others(error):
    assert access.in_words(error) is None


def test_where_one_may_write_nothing_is_refused(tmp_path):
    assert access.not_writable(tmp_path / "not" / "there" / "yet") is None
    access.refuse_results(str(tmp_path / "results"), dryrun=False)
