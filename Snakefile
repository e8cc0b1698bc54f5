# Atlas: table of contents. Each stage has its rules in rules/STAGE.smk and its code in atlas/STAGE/.
from atlas.workflow import ending, installed, locks
from snakemake.utils import min_version

min_version("9.27")

if workflow.is_main_process and not workflow.deployment_settings.deployment_method:
    installed.compare()  # with the lock file; conda makes environments of its own
if workflow.is_main_process and not workflow.dryrun:
    locks.hold()  # clears away the lock of a Snakemake that was killed


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/pool.smk"
include: "rules/base.smk"
include: "rules/ttt.smk"
include: "rules/search.smk"
include: "rules/audit.smk"
include: "rules/tables.smk"
include: "rules/charts.smk"
include: "rules/page.smk"


# Targets: `snakemake` makes all; `snakemake NAME` stops after that stage.


rule pool:
    input:
        f"{RESULTS}/pool/pool.parquet",
        expand(f"{RESULTS}/pool/streams/{{seed}}.parquet", seed=STUDY.all_seeds),


rule base:
    input:
        rules.corpus.output,
        rules.pretrain.output,
        rules.certify.output,


rule ttt:
    input:
        expand(
            rules.teach.output,
            arm=[*STUDY.arms, *STUDY.ablations],
            block=STUDY.blocks,
        ),


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
        expand(f"{RESULTS}/audit/{{table}}.parquet", table=GUARD_PARTS),
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


onsuccess:
    ending.say(workflow, RESULTS)


onerror:
    ending.say(workflow, RESULTS)
