# Atlas: table of contents. Each stage has its rules in rules/STAGE.smk and its code in atlas/STAGE/.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/pool.smk"
include: "rules/base.smk"
include: "rules/ttt.smk"
include: "rules/guard.smk"
include: "rules/tables.smk"
include: "rules/charts.smk"


# Targets: `snakemake` makes all; `snakemake NAME` stops after that stage.


rule pool:
    input:
        f"{RESULTS}/pool/pool.parquet",
        expand(f"{RESULTS}/pool/streams/{{seed}}.parquet", seed=STUDY.all_seeds),


rule base:
    input:
        f"{RESULTS}/base/certificate.json",


rule ttt:
    input:
        expand(
            rules.teach.output,
            arm=[*STUDY.arms, *STUDY.ablations],
            block=STUDY.blocks,
        ),


rule guard:
    input:
        rules.misload.output.report if REINITS else [],
        expand(f"{RESULTS}/guard/{{table}}.parquet", table=GUARD_PARTS),
        expand(f"{RESULTS}/charts/detection.{{format}}", format=FORMATS),


rule tables:
    input:
        expand(f"{RESULTS}/tables/{{table}}.parquet", table=TABLES),


rule charts:
    input:
        f"{RESULTS}/index.html",
        f"{RESULTS}/charts/claims.md",
        expand(f"{RESULTS}/charts/{{name}}.{{format}}", name=CHARTS, format=FORMATS),


rule all:
    default_target: True
    input:
        rules.ttt.input,  # so that a run that was lost is made again
        rules.tables.input,
        rules.charts.input,


onsuccess:
    print(f"atlas: done; results are in {RESULTS}/")
