# How a run went, said when it ends; atlas/workflow/ending.py has the words.
import time

from atlas.workflow import ending

STARTED = time.time()


def log_of(job):
    return Path(job.log[0]) if job.log else None


def failures():
    """The jobs that failed for good. Of a group it is the one that wrote its log last, since the others had to wait."""
    for failed in workflow.scheduler.failed:
        members = failed.jobs if failed.is_group() else [failed]
        yield max(members, key=lambda job: ending.written(log_of(job)))


def say_how_it_went():
    """Print what became of every job; targets, which only gather, do not count."""
    dag, failed = workflow.dag, set(failures())
    jobs = [
        ending.Job(
            name=" ".join([job.rule.name, *job.wildcards]),
            state=ending.state(
                dag.needrun(job), dag.finished(job), job in failed, log_of(job), STARTED
            ),
            log=log_of(job),
        )
        for job in dag.jobs
        if not job.rule.norun
    ]
    print(ending.text(jobs, time.time() - STARTED, RESULTS), file=sys.stderr)
