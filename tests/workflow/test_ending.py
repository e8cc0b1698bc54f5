"""What people read when a run ends."""

import os

import pytest

from atlas.workflow.ending import EndedJob, Outcome, duration, outcome_of, summary


def test_a_whole_run_says_what_ran_what_did_not_and_where_all_is(tmp_path):
    (tmp_path / "index.html").touch()
    jobs = [
        *(EndedJob(f"teach qv {block}", Outcome.RAN) for block in ("1-8", "9-16")),
        *(EndedJob(f"charts_{batch}", Outcome.RAN) for batch in ("facts", "sessions")),
        EndedJob("tables_facts", Outcome.RAN),
        EndedJob("pretrain", Outcome.CACHED),
        EndedJob("facts", Outcome.CURRENT),
    ]
    assert summary(jobs, 125, str(tmp_path)).splitlines() == [
        "atlas: done after 2 min 5 s: 5 jobs ran (2 teach, 2 jobs of charts, 1 job of tables), "
        "1 from the cache (1 pretrain), 1 up to date",
        f"atlas: results are in {tmp_path}/: index.html (the page)",
    ]


def test_a_failed_job_shows_the_last_lines_of_its_log_and_how_to_go_on(tmp_path):
    log = tmp_path / "1-8.log"
    log.write_text("".join(f"line {number}\n" for number in range(20)) + "atlas: error: no such pool; make it\n")
    lines = summary(
        [EndedJob("teach qv 1-8", Outcome.FAILED, (log,)), EndedJob("page", Outcome.LEFT)], 3, "results"
    ).splitlines()
    assert lines[0] == "atlas: not done after 3 s: 0 jobs ran, 0 up to date, 1 failed, 1 not begun or not finished"
    assert lines[1] == f"atlas: failed: teach qv 1-8; {log} ends with"
    assert lines[2] == "    line 13"
    assert lines[-2] == "    atlas: error: no such pool; make it"
    assert lines[-1].endswith("run the same command again to go on from there")


@pytest.mark.parametrize("content", [None, "", "ttt qv seeds 1-8: 2/100, 9 s\n"])
def test_a_log_without_an_error_means_that_the_job_was_ended_from_outside(tmp_path, content):
    log = tmp_path / "1-8.log"
    if content is not None:
        log.write_text(content)
    said = summary([EndedJob("teach qv 1-8", Outcome.FAILED, (log,))], 3, "results")
    began = bool(content)
    assert ("it was ended from outside, for want of memory or time" in said) is began
    assert ("is empty" in said) is ("it failed before it began, see what Snakemake printed" in said) is not began


def test_of_a_job_of_several_steps_the_logs_with_an_error_are_shown(tmp_path):
    sound, wrong = tmp_path / "arms.log", tmp_path / "claims.log"
    wrong.write_text("atlas: error: claims.yaml: no such metric\n")
    sound.write_text("tables arms: 14 rows\n")
    said = summary([EndedJob("tables_facts", Outcome.FAILED, (sound, wrong))], 3, "results").splitlines()
    assert said[1:3] == [
        f"atlas: failed: tables_facts; {wrong} ends with",
        "    atlas: error: claims.yaml: no such metric",
    ]
    assert str(sound) not in "".join(said)


def test_many_failures_are_counted_not_all_shown():
    said = summary([EndedJob(f"teach arm_{number} 1", Outcome.FAILED) for number in range(9)], 3, "results")
    assert said.count("failed: teach") == 5
    assert "and 4 more, see results/logs" in said


def test_a_finished_job_whose_log_is_older_than_the_run_came_from_the_cache(tmp_path):
    log = tmp_path / "pretrain.log"
    assert outcome_of(needed=True, finished=True, failed=False, logs=[log], began=100) == Outcome.CACHED
    log.touch()
    os.utime(log, (99, 99))
    assert outcome_of(needed=True, finished=True, failed=False, logs=[log], began=100) == Outcome.CACHED
    os.utime(log, (101, 101))
    assert outcome_of(needed=True, finished=True, failed=False, logs=[log], began=100) == Outcome.RAN


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (7800, "2 h 10 min")])
def test_times_are_for_people(seconds, said):
    assert duration(seconds) == said
