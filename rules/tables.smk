RUN_FILES = ("run.json", "facts.parquet", "matrix.parquet")
TABLES = ("arms", "retention", "curve", "matrix", "harm")


def run_folders(arms):
    """The run folders of some arms, one a block of seeds."""
    return [f"{RESULTS}/ttt/{arm}/{block}" for arm in arms for block in STUDY.blocks]


def varied_arms():
    """The arms that the ablations vary: same targets, ranks and base."""
    places = [(set(a.targets), a.ranks, a.base) for a in STUDY.ablations.values()]
    return [
        name
        for name, arm in STUDY.arms.items()
        if not arm.recipe and (set(arm.targets), arm.ranks, arm.base) in places
    ]


def runs_for(wildcards):
    """The runs that a table is made from."""
    if wildcards.table == "ablations":
        return run_folders([*varied_arms(), *STUDY.ablations])
    return run_folders(STUDY.arms)


def references(wildcards):
    """Which of these runs the others are compared with."""
    names = varied_arms() if wildcards.table == "ablations" else []
    return f"--references {' '.join(names)}" if names else ""


rule tables:
    input:
        expand(f"{RESULTS}/tables/{{table}}.parquet", table=TABLES),


rule table:
    input:
        lambda wildcards: [
            f"{run}/{file}" for run in runs_for(wildcards) for file in RUN_FILES
        ],
    output:
        f"{RESULTS}/tables/{{table}}.parquet",
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    wildcard_constraints:
        table="|".join((*TABLES, "ablations")),
    conda:
        "../envs/atlas.yaml"
    params:
        runs=runs_for,
        references=references,
        code=lambda wildcards: code_digest(f"atlas.tables.{wildcards.table}")(wildcards),
    shell:
        "python -m atlas.tables.{wildcards.table} --runs {params.runs} {params.references}"
        " --out {output} --log {log}"
