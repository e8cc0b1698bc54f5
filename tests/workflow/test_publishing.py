"""Outputs of several writers, killed ones and full disks: all files of one writer, or none."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from atlas.errors import AtlasError, DiskFullError
from atlas.workflow import checksums, files, publishing
from tests.disks import small_disk
from tests.workflow.writers import LAST, MEMBERS, publish

WRITERS = Path(__file__).with_name("writers.py")


def scraps(folder):
    return sorted(path.name for path in folder.rglob("*.partial"))


def marks(folder):
    """Who wrote the files of the set, or None where the last one is missing, which says that it is not whole."""
    if not (folder / LAST).exists():
        return None
    return {files.read_json(folder / LAST), *((folder / name).read_text()[0] for name in MEMBERS)}


def sums_hold(folder):
    checked = subprocess.run(
        ["sha256sum", "--strict", "--check", checksums.NAME], cwd=folder, capture_output=True, text=True, check=False
    )
    return checked.returncode == 0, checked.stdout + checked.stderr


def test_a_set_is_published_whole_with_checksums_that_other_tools_can_read(tmp_path):
    publish(tmp_path, "x")
    assert marks(tmp_path) == {"x"}
    assert checksums.read(tmp_path).keys() == {*MEMBERS, LAST}
    assert sums_hold(tmp_path)[0], sums_hold(tmp_path)[1]
    (tmp_path / "b.txt").write_text("damaged")
    assert not sums_hold(tmp_path)[0]


def test_a_step_that_fails_midway_changes_nothing(tmp_path):
    publish(tmp_path, "x")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ZeroDivisionError), files.together(tmp_path / LAST) as stage:
        files.write_text(stage / "a.txt", "y" * (1 // 0))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_outputs_of_a_set_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        publish(tmp_path, "x")
    finally:
        os.umask(old)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in (*MEMBERS, LAST, checksums.NAME)} == {0o640}


def test_the_process_that_began_last_wins_in_whatever_order_they_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(publishing, "BEGAN", 2000.0)
    publish(tmp_path, "new")
    monkeypatch.setattr(publishing, "BEGAN", 1000.0)
    publish(tmp_path, "old")
    assert marks(tmp_path) == {"new"[0], "new"}
    assert "a process that began later has written it meanwhile" in capsys.readouterr().err
    monkeypatch.setattr(publishing, "BEGAN", 3000.0)
    publish(tmp_path, "z")
    assert marks(tmp_path) == {"z"}


def test_what_was_deleted_is_written_again_whatever_the_clock_says(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "BEGAN", 2000.0)
    publish(tmp_path, "x")
    (tmp_path / LAST).unlink()  # as Snakemake does before it runs a step again
    monkeypatch.setattr(publishing, "BEGAN", 1000.0)
    publish(tmp_path, "y")
    assert marks(tmp_path) == {"y"}


@contextmanager
def living(*commands):
    processes = [
        subprocess.Popen(
            [sys.executable, str(WRITERS), *map(str, command)],
            env={**os.environ, "PYTHONPATH": str(WRITERS.parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("seed", range(6))
def test_writers_that_are_killed_at_any_moment_never_mix_and_the_next_one_clears_up(tmp_path, seed):
    draw = random.Random(seed)
    with living(*((tmp_path, mark, 1000.0) for mark in "pqr")) as processes:
        for process in processes:
            time.sleep(draw.uniform(0.01, 0.1))
            process.kill()
            process.wait()
    assert marks(tmp_path) is None or len(marks(tmp_path)) == 1
    publish(tmp_path, "z")
    assert marks(tmp_path) == {"z"}
    assert scraps(tmp_path) == []
    assert sums_hold(tmp_path)[0], sums_hold(tmp_path)[1]


@pytest.mark.parametrize("moment", range(6))
def test_a_kill_between_two_moves_leaves_no_last_file_over_a_mixed_set(tmp_path, monkeypatch, moment):
    publish(tmp_path, "x")
    moves = iter(range(100))
    replace = os.replace

    def killed_at(source, target):
        if next(moves) == moment:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed_at)
    monkeypatch.setattr(publishing, "BEGAN", publishing.BEGAN + 1)
    if moment < 5:  # a, b, c, the sums, the last
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path, "y")
        assert marks(tmp_path) is None
    else:
        publish(tmp_path, "y")
        assert marks(tmp_path) == {"y"}


def test_scratch_of_the_living_is_left_alone_and_that_of_the_dead_is_removed(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from atlas.workflow import files\n"
        "with files.together(Path(sys.argv[1]) / 'out.txt') as stage:\n"
        "    (stage / 'out.txt').write_text('slow'); print('ready', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=WRITERS.parents[2], stdout=subprocess.PIPE
    ) as slow:
        assert slow.stdout is not None
        slow.stdout.readline()
        publish(tmp_path, "x")
        assert len(scraps(tmp_path)) == 1
        assert [path.read_text() for path in tmp_path.glob(".*.partial/out.txt")] == ["slow"]
        slow.kill()
    files.write_text(tmp_path / "other.txt", "any writer in this folder clears up")
    assert scraps(tmp_path) == []


def test_a_writer_that_hangs_while_it_publishes_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "PATIENCE", 0.1)
    with open(tmp_path / publishing.LOCK, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AtlasError, match="by another writer, which seems to hang; end it"):
            publish(tmp_path, "y")
    assert marks(tmp_path) is None
    assert scraps(tmp_path) == []
    publish(tmp_path, "y")
    assert marks(tmp_path) == {"y"}


def write_and_fail(path, code):
    with files.whole(path) as scratch:
        scratch.write_text("partial")
        raise OSError(code, os.strerror(code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_one_line_that_names_the_file_and_leaves_the_old_one(tmp_path, code):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(DiskFullError, match=r"out\.txt: the disk .* while writing it \(7 bytes were written") as caught:
        write_and_fail(path, code)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


NOISE = os.urandom(200_000)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_text(path, NOISE.hex()),
        lambda path: files.write_json(path, NOISE.hex()),
        lambda path: files.write_parquet(path, pa.table({"noise": [NOISE]}), {}),
    ],
    ids=["text", "json", "parquet"],
)
def test_a_full_disk_leaves_no_scraps_and_the_same_write_succeeds_once_there_is_space(tmp_path, write):
    disk = tmp_path / "disk"
    with small_disk(disk, "96k"):
        with pytest.raises(DiskFullError, match="the disk is full while writing it"):
            write(disk / "out")
        assert [path.name for path in disk.iterdir() if path.name != publishing.LOCK] == []
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        write(disk / "out")
        assert (disk / "out").stat().st_size > 100_000


def test_files_go_off_a_list_and_others_on_it(tmp_path):
    publish(tmp_path, "x")
    (tmp_path / "d.txt").write_text("there already")
    publishing.relist(tmp_path, ["a.txt", "never-there.txt"], ["d.txt", "b.txt", "gone-by-now.txt"])
    assert checksums.read(tmp_path).keys() == {"b.txt", "c.txt", "d.txt", LAST}
    assert sums_hold(tmp_path)[0]


def test_a_damaged_list_keeps_nobody_from_writing_and_none_of_it_is_taken_over(tmp_path, capsys):
    files.publish_text(tmp_path / "before.txt", "x")
    listed = tmp_path / checksums.NAME
    listed.write_bytes(listed.read_bytes().replace(b"before", b"beforE"))
    publish(tmp_path, "y")
    assert "SHA256SUMS: damaged" in capsys.readouterr().err
    assert checksums.read(tmp_path).keys() == {*MEMBERS, LAST}
    assert sums_hold(tmp_path)[0], sums_hold(tmp_path)[1]


def test_files_have_the_mode_of_files_that_are_opened_there_whatever_wrote_them(tmp_path):
    old = os.umask(0o027)
    try:
        with files.whole(tmp_path / "state.safetensors") as scratch:
            save_file({"a": np.zeros(3)}, scratch)  # of its own accord it writes files that nobody else may read
    finally:
        os.umask(old)
    assert (tmp_path / "state.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        files.write_text(tmp_path / "file" / "out.txt", "x")


def test_the_error_of_a_full_disk_is_a_mistake_of_the_user():
    assert issubclass(DiskFullError, AtlasError)
