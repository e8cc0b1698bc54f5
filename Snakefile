# Atlas: table of contents. Each stage has its rules in rules/STAGE.smk and its code in atlas/STAGE/.
import gc
import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# Planning makes many objects that stay; to search them for garbage at every 700th took a third of the time of a plan.
gc.freeze()
gc.set_threshold(50_000)

# The code that plans and the code that runs are both this checkout's, wherever Snakemake runs, whichever Atlas is
# installed, and also where this file is the module of another workflow.
HOME = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.insert(0, str(HOME))
os.environ.update(ATLAS_HOME=str(HOME))  # for step() in rules/common.smk


include: "rules/place.smk"


# the study of the folder where Snakemake runs; where that has none, the default study
STUDY_FILE = (
    "config.yaml" if Path("config.yaml").exists() else str(HOME / "config.yaml")
)
study_files.stop_unless_readable(STUDY_FILE)


configfile: STUDY_FILE


include: "rules/common.smk"
include: "rules/pool.smk"
include: "rules/base.smk"
include: "rules/ttt.smk"
include: "rules/search.smk"
include: "rules/audit.smk"
include: "rules/tables.smk"
include: "rules/charts.smk"
include: "rules/page.smk"


if workflow.is_main_process:
    access.refuse_results(RESULTS, dryrun=workflow.output_settings.dryrun)
    decidable.warn(STUDY)
    # on a cluster, or where a GPU may do it, only the job itself can tell
    if STUDY.precision != "float32" and workflow.local_exec and gpu_of({}) == 0:
        from atlas.ttt.engine import products  # imports torch, which takes seconds

        or_stop(products.require, STUDY.precision, False)


# Targets: `snakemake` makes all; `snakemake NAME` stops after that stage.


rule pool:
    input:
        f"{RESULTS}/pool/pool.parquet",
        expand(f"{RESULTS}/pool/streams/{{seed}}.parquet", seed=STUDY.all_seeds),


rule base:
    input:
        rules.corpus.output,
        expand([*rules.pretrain.output, *rules.certify.output], replica=STUDY.replicas),


rule ttt:
    input:
        expand(
            rules.teach.output,
            arm=[*STUDY.arms, *STUDY.ablations, *STUDY.mapped],
            block=STUDY.blocks,
        ),
        expand(rules.locate.output, arm=STUDY.located, block=STUDY.blocks),


rule speedrun:
    input:
        f"{RESULTS}/tables/speedrun.parquet",


rule search:
    input:
        rules.recipes.output,
        expand(
            f"{RESULTS}/charts/{{name}}.{{format}}",
            name=["recipes"] if SEARCHED else [],
            format=FORMATS,
        ),


rule guard:
    input:
        rules.misload.output.report if REINITS else [],
        expand(
            f"{RESULTS}/audit/{{table}}.parquet",
            table=[*GUARD_PARTS, "views", *TOOLS_ASKED],
        ),
        expand(f"{RESULTS}/charts/detection.{{format}}", format=FORMATS),


rule tables:
    input:
        expand(f"{RESULTS}/tables/{{table}}.parquet", table=TABLES),


rule charts:
    input:
        f"{RESULTS}/index.html",
        f"{RESULTS}/charts/claims.md",
        expand(f"{RESULTS}/charts/{{name}}.{{format}}", name=SHOWN, format=FORMATS),


rule all:
    default_target: True
    input:
        rules.pool.input,  # not only what the charts need: a file that was lost is made again, whichever it is
        rules.base.input,
        rules.ttt.input,
        rules.tables.input,
        rules.charts.input,


onstart:
    interrupts.raise_once()
    access.refuse_jobs(workflow)


onsuccess:
    ending.say(workflow, RESULTS)


onerror:
    ending.say(workflow, RESULTS)
