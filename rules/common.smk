# What every rules file may use: STUDY (the validated study), RESULTS (its folder), step (the command of one), code_of
# (for params), asks_for and SMALL (for resources). Paths in commands are quoted: {input:q}, or option() in params.
import json
import os
import shlex
import sys
from hashlib import sha256
from pathlib import Path

from atlas.study import config as study_config
from atlas.workflow import digest, gpus, study_files
from atlas.errors import AtlasError
from atlas.tables import asked, decidable


def one_of(values):
    """The constraint of a wildcard to what the study has: of other files, Snakemake says that no rule makes them."""
    return "|".join(map(str, values)) or "(?!)"


def or_stop(make, *arguments):
    """Call ``make``; a mistake of the user ends Snakemake with one line instead of a traceback."""
    try:
        return make(*arguments)
    except AtlasError as error:
        sys.exit(f"atlas: error: {error}")


STUDY = or_stop(
    study_config.study,
    config,
    study_files.in_order(workflow),
    "config of the module",
)
RESULTS = STUDY.results
if workflow.resource_settings.nodes is not None:  # a cluster, or --jobs
    for path in (RESULTS, STUDY.outside, *(arm.start for arm in STUDY.arms.values())):
        if "'" in (path or "") and set(path) & set('$`"\\'):
            sys.exit(
                f"atlas: error: {path}: Snakemake hands no path with ' and one of $ ` \" \\ to the jobs of a cluster;"
                " rename it (on one machine, leave --jobs out and say --cores)"
            )
# where there is a cache between workflows: without one, Snakemake would warn of it at every call
CACHED = "SNAKEMAKE_OUTPUT_CACHE" in os.environ


# what only bases from outside need: a study without one reruns nothing when it is installed
UNUSED = () if STUDY.outside else ("gguf", "tokenizers", "transformers")


def code_of(step):
    """The code digest as a param, by module and package, so that the reason for a rerun names those that changed. Worked
    out per job: a broken module stops only the targets that need it. The step by its module's name, or by what the
    wildcards say.
    """
    return lambda wildcards: or_stop(
        digest.code_parts,
        step(wildcards) if callable(step) else step,
        digest.ROOT,
        UNUSED,
    )


def code_of_all(modules):
    """The code digests of several steps that one process runs, and of what runs them, as of ``code_of``."""
    codes = [code_of(module) for module in ["atlas.workflow.together", *modules]]

    def parts(wildcards):
        found = {}
        for name, said in (
            part.split("=", 1) for code in codes for part in code(wildcards)
        ):
            found.setdefault(name, set()).add(said)
        return sorted(
            f"{name}={said.pop() if len(said) == 1 else sha256(repr(sorted(said)).encode()).hexdigest()[:12]}"
            for name, said in found.items()
        )

    return parts


def beside(path):
    """A file of the repository, relative to where Snakemake runs: a checkout that moves reruns nothing."""
    return os.path.relpath(Path(HOME, path))


# megabytes that a step with the base in memory asks for; those from outside are larger, and editors hold moments of theirs
MEMORY = 8000 if STUDY.outside else 2000


def growing(amount):
    """A resource of which a job asks for more each time that a cluster's scheduler ended it for want of it."""
    return lambda wildcards, attempt: amount * attempt


def asks_for(memory, minutes, gpu=0):
    """The resources of a job: megabytes, minutes and GPUs. Every rule states its own, so that no step depends on the
    defaults of a profile, which an option on the command line replaces."""
    return {"mem_mb": growing(memory), "runtime": growing(minutes), "gpu": gpu}


SMALL = asks_for(1000, 15)

# GPUs that jobs of this machine share, a job each. On a cluster the scheduler has the cards: there, `auto` asks for
# none and takes one that its node shows it.
GPUS = 0 if STUDY.device == "cpu" else gpus.count(os.environ)
if STUDY.device != "cpu" and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", max(1, GPUS))
    workflow.resourcescope(gpu="local")  # not of all jobs of a cluster together


def gpu_of(wildcards):
    """The GPUs of a job that trains."""
    auto = STUDY.device == "auto" and GPUS > 0 and workflow.local_exec
    return 1 if auto or STUDY.device == "cuda" else 0


def step(command, *variables):
    """The command that runs a step, in this checkout's code whatever lies in the folder where Snakemake runs: its path
    comes in a variable, so that a checkout that moves reruns nothing. Threads that wait do not spin: on a busy machine
    they would take the time of those that they wait for."""
    path = 'PYTHONPATH="$ATLAS_HOME${{PYTHONPATH:+:$PYTHONPATH}}"'
    return f"{' '.join(variables)} PYTHONSAFEPATH=1 {path} OMP_WAIT_POLICY=PASSIVE python -m {command}".lstrip()


def threads_of(name):
    """The threads that a step computes with, which are those that its rule declares (or ``--set-threads`` says), also
    where Snakemake has fewer cores to grant. As a param, since they decide the rounding.
    """
    return (
        lambda wildcards: f"--threads {getattr(rules, name).rule.resources['_cores'].value}"
    )


def present(path):
    """The user's own file as an input, so that an edit of it reruns what follows; a missing one is left to the step,
    which says so in one line."""
    return [path] if Path(path).is_file() else []


def outside_files():
    """The files of a base from outside, so that a change of them reruns what follows; none where one is pretrained."""
    if not STUDY.outside:
        return []
    path = Path(STUDY.outside)
    return sorted(map(str, path.glob("*.*"))) if path.is_dir() else present(path)


def read_by():
    """Those of them by which it reads text; a GGUF file is all in one."""
    names = ("config.json", "tokenizer.json")
    return [
        path
        for path in outside_files()
        if Path(path).name in names or Path(path).suffix == ".gguf"
    ]


def run_folders(arms):
    """The run folders of some arms, one a block of seeds."""
    return [f"{RESULTS}/ttt/{arm}/{block}" for arm in arms for block in STUDY.blocks]


def step_of(wildcards):
    """The module that teaches an arm: a step of its own for editors, so that a change of theirs reruns no training."""
    return "atlas.ttt.edit" if STUDY.arm(wildcards.arm).edits else "atlas.ttt.run"


def rung_step(wildcards):
    """The module that tries an arm's candidates, apart for editors for the same reason."""
    edits = STUDY.search.arms[wildcards.arm].edits
    return "atlas.search.edit_rung" if edits else "atlas.search.rung"


def moments_of(arm, replica):
    """What an editor must leave alone in a base; nothing for arms that train."""
    return [f"{RESULTS}/ttt/covariance-{replica}.safetensors"] if arm.edits else []


def measured_of(arm, replica):
    """What the base makes of the pool; nothing for arms whose base is their own."""
    return [] if arm.base.reinit else [f"{RESULTS}/ttt/base-{replica}.parquet"]


def certified(wildcards):
    """The certified base of a job, and its corpus: of the replica that its name has, or that its block of seeds is
    taught on; of all other jobs the first."""
    block = STUDY.replica_of.get(wildcards.get("block"), 1)
    folder = f"{RESULTS}/base/{wildcards.get('replica', block)}"
    return {
        "corpus": f"{RESULTS}/base/corpus.txt",
        "checkpoint": f"{folder}/base.safetensors",
        "manifest": f"{folder}/base.json",
        "certificate": f"{folder}/certificate.json",
    }


def streams_of(wildcards):
    """The streams of a block of seeds."""
    seeds = STUDY.blocks[wildcards.block]
    return [f"{RESULTS}/pool/streams/{seed}.parquet" for seed in seeds]


def start_of(arm):
    """The files of the adapter that an arm begins with; those that are missing are left to the step."""
    folder = arm.start
    names = ("adapter_config.json", "adapter_model.safetensors") if folder else ()
    return [path for name in names for path in present(f"{folder}/{name}")]


def option(name, values):
    """An option of a command line with the word or words that it takes, quoted; nothing where there are none."""
    words = [values] if isinstance(values, str) else values
    return f"{name} {shlex.join(words)}" if words else ""


def varied_arms():
    """The arms that the ablations vary: same method, targets, ranks and base."""
    places = [
        (*arm.place_in(STUDY.shape), arm.base) for arm in STUDY.ablations.values()
    ]
    return [
        name
        for name, arm in STUDY.arms.items()
        if (arm.edits or arm.recipe_over(STUDY.recipe) == STUDY.recipe)
        and (*arm.place_in(STUDY.shape), arm.base) in places
    ]


def place_of(arm):
    """What two arms share that differ in nothing but their base."""
    return *arm.place_in(STUDY.shape), arm.recipe_over(STUDY.recipe)


def reinits():
    """Roles that an arm leaves at a fresh initialisation on purpose, as a loader that misses them would, where the
    study has the same arm on the certified base, too."""
    certified = [place_of(a) for a in STUDY.arms.values() if not a.base.reinit]
    return sorted(
        {
            tuple(sorted(arm.base.reinit))
            for arm in STUDY.arms.values()
            if arm.base.reinit and place_of(arm) in certified
        }
    )


def trials_of(arm, rungs=None):
    """The files of the search for an arm: of all rungs and closing rounds, or of the first ``rungs`` of them."""
    return [
        f"{RESULTS}/search/{arm}/{rung}-{part}.parquet"
        for rung in range(len(STUDY.search.lengths(arm)))[:rungs]
        for part in range(STUDY.search.jobs_of(rung))
    ]


def trials_of_all():
    """The files of the whole search."""
    return [part for arm in SEARCHED for part in trials_of(arm)]


def runs_of(table):
    """Which runs a table is made from, as of ``RUNS``."""
    if table in ("ablations", "map"):
        return table
    if table in KNOCKED_OUT:
        return "located"
    return "arms_and_ablations" if table in COMPARISONS else "arms"


def given(name):
    return f"{RESULTS}/tables/given/{name}"


def given_to(table):
    """The files that a table is given, the list of its runs first."""
    planned = table in ("contrasts", "bases", "knowledge_contrasts")
    return [
        f"{runs_of(table)}.txt",
        *(["contrasts.json"] if planned else []),
        *(["located.txt"] if table == "claims" and STUDY.located else []),
        *(["tuned.json"] if table == "arms" else []),
        *(["map.json"] if table == "map" else []),
    ]


def table_command(table):
    """The step of a table with its options, as atlas.workflow.together takes it."""
    runs, *others = map(given, given_to(table))
    other = "--located" if table == "claims" else "--spec"
    options = {
        "ablations": ["--references", *varied_arms()],
        "association": ["--pool", TAUGHT_POOL],
        "wrong_answers": ["--pool", TAUGHT_POOL],
        "confound": ["--misloads", f"{RESULTS}/audit/misloaded.json"],
    }
    words = [
        f"atlas.tables.{table}",
        *("--runs", runs, *([other, *others] if others else [])),
        *options.get(table, []),
        *("--out", f"{RESULTS}/tables/{table}.parquet"),
        *("--log", f"{RESULTS}/logs/tables/{table}.log"),
    ]
    return shlex.join(words)


def tables_of(chart):
    """The tables that a chart is drawn from."""
    return expand(
        f"{RESULTS}/{chart.folder}/{{table}}.parquet", table=chart.shows + chart.reads
    )


def files_of(chart):
    """The files of a chart by format; its SVG stands in the report."""
    named = {
        f"{chart.name}_{kind}": f"{RESULTS}/charts/{chart.name}.{kind}"
        for kind in FORMATS
    }
    return named | {
        f"{chart.name}_svg": report(
            named[f"{chart.name}_svg"],
            caption=f"../report/{chart.name}.rst",
            category=chart.category,
            labels={"chart": chart.label},
        )
    }


def chart_command(chart):
    """The step of a chart with its options, as atlas.workflow.together takes it."""
    words = [
        f"atlas.charts.{chart.name}",
        *("--tables", f"{RESULTS}/{chart.folder}"),
        # the ablations need the colours of the arms, not their runs
        *(["--arms", *STUDY.arms] if chart.name == "ablations" else []),
        *("--library", f"{RESULTS}/charts/vega.js"),
        *("--out", f"{RESULTS}/charts/{chart.name}"),
        *("--log", f"{RESULTS}/logs/charts/{chart.name}.log"),
    ]
    return shlex.join(words)
