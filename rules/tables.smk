RUN_FILES = ("run.json", "facts.parquet", "matrix.parquet", "sessions.parquet")
TABLES = (
    "arms",
    "retention",
    "contrasts",
    "continual",
    "controls",
    "curve",
    "matrix",
    "base_loss",
    "speedrun",
    "capacity",
    "claims",
    *(["paraphrases"] if asked.several_paraphrases(STUDY) else []),
    *(["variance"] if asked.crossed(STUDY) else []),
    *(["ablations"] if STUDY.ablations else []),
    *(["confound"] if REINITS else []),
    *(["baselines"] if BASELINES else []),
    *(
        ["knowledge", "knowledge_contrasts"]
        if STUDY.outside or STUDY.counterfactual is not None
        else []
    ),
)
LEDGER = beside("atlas/tables/claims.yaml")  # no code, so not in the code digest


rule table:
    input:
        lambda wildcards: [
            f"{run}/{file}" for run in runs_for(wildcards) for file in RUN_FILES
        ],
        ledger=lambda wildcards: ([LEDGER] if wildcards.table == "claims" else []),
        misloads=lambda wildcards: (
            [f"{RESULTS}/audit/misloaded.json"]
            if wildcards.table == "confound"
            else []
        ),
    output:
        f"{RESULTS}/tables/{{table}}.parquet",
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    wildcard_constraints:
        table="|".join(TABLES),
    group:
        "figures"
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        runs=runs_for,
        options=options_for,
        code=code_of(lambda wildcards: f"atlas.tables.{wildcards.table}"),
    shell:
        step(
            "atlas.tables.{wildcards.table} --runs {params.runs:q} {params.options}"
            " --out {output:q} --log {log:q}"
        )
