RUN_FILES = ("run.json", "facts.parquet", "matrix.parquet", "sessions.parquet")
KNOCKOUT_FILES = ("knockouts.parquet", "slots.parquet")  # of arms that are located
TABLES = (
    "arms",
    "retention",
    "association",
    "wrong_answers",
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
    *(["bases"] if len(STUDY.replicas) > 1 and any(STUDY.contrasts.values()) else []),
    *(["locate", "locate_by_age", "locate_shares"] if STUDY.located else []),
    *(["ablations"] if STUDY.ablations else []),
    *(["confound"] if REINITS else []),
    *(["baselines", "baseline_claims"] if BASELINES else []),
    *(
        ["knowledge", "knowledge_contrasts"]
        if STUDY.outside or STUDY.counterfactual is not None
        else []
    ),
    *(["map"] if STUDY.map else []),
)
# no code, so not in the code digest
LEDGER = beside("atlas/tables/claims.yaml")
BASELINE_LEDGER = beside("atlas/tables/baseline_claims.yaml")

# Tables that one process makes, and then their charts: most of a table's time goes into imports and into reading runs.
SESSIONS = ("curve", "matrix", "continual", "base_loss", "speedrun")
KNOCKED_OUT = ("locate", "locate_by_age", "locate_shares")
COMPARISONS = (
    "contrasts",
    "bases",
    "knowledge_contrasts",
    "claims",
    "baseline_claims",
    "ablations",
)
BATCHES = {
    "facts": [
        name
        for name in TABLES
        if name not in (*SESSIONS, *COMPARISONS, *KNOCKED_OUT, "map")
    ],
    "sessions": [name for name in SESSIONS if name in TABLES],
    "knockouts": [name for name in KNOCKED_OUT if name in TABLES],
    "comparisons": [name for name in COMPARISONS if name in TABLES],
    **({"map": ["map"]} if STUDY.map else {}),
}
BATCHES = {batch: members for batch, members in BATCHES.items() if members}

# What command lines have no room for where a study is large, by the name of the file that steps are given instead.
RUNS = {
    "arms": run_folders(STUDY.arms),
    "arms_and_ablations": run_folders([*STUDY.arms, *STUDY.ablations]),
    "ablations": run_folders([*varied_arms(), *STUDY.ablations]),
    **({"map": run_folders(STUDY.mapped)} if STUDY.map else {}),
    "located": run_folders(STUDY.located),
}
GIVEN = {
    **{f"{name}.txt": "\n".join(runs) for name, runs in RUNS.items()},
    "trials.txt": "\n".join(trials_of_all()),
    "map.json": json.dumps({"cells": [cell.model_dump() for cell in STUDY.cells]}),
    "contrasts.json": json.dumps({"contrasts": STUDY.contrasts}),
    "tuned.json": json.dumps(
        {"tuned": {arm: tuned.model_dump() for arm, tuned in STUDY.tuned.items()}}
    ),
}


rule given:
    output:
        f"{RESULTS}/tables/given/{{name}}",
    log:
        f"{RESULTS}/logs/tables/given/{{name}}.log",
    wildcard_constraints:
        name=one_of(GIVEN),
    localrule: True
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        text=lambda wildcards: GIVEN[wildcards.name],
        code=code_of("atlas.workflow.given"),
    shell:
        step("atlas.workflow.given --out {output:q} --log {log:q}")
        + " <<'THE END OF WHAT IS GIVEN'\n{params.text}\nTHE END OF WHAT IS GIVEN\n"


for batch, members in BATCHES.items():

    rule:
        name:
            f"tables_{batch}"
        input:
            [
                f"{run}/{file}"
                for run in dict.fromkeys(
                    run for table in members for run in RUNS[runs_of(table)]
                )
                for file in RUN_FILES
            ],
            knockouts=[
                f"{run}/{file}"
                for run in RUNS["located"]
                for file in KNOCKOUT_FILES
                if {"claims", *KNOCKED_OUT}.intersection(members)
            ],
            given=[
                given(name)
                for name in dict.fromkeys(
                    name for table in members for name in given_to(table)
                )
            ],
            pool=[TAUGHT_POOL] if "association" in members else [],
            ledger=[
                ledger
                for table, ledger in (
                    ("claims", LEDGER),
                    ("baseline_claims", BASELINE_LEDGER),
                )
                if table in members
            ],
            misloads=(
                [f"{RESULTS}/audit/misloaded.json"] if "confound" in members else []
            ),
        output:
            expand(f"{RESULTS}/tables/{{table}}.parquet", table=members),
        log:
            expand(f"{RESULTS}/logs/tables/{{table}}.log", table=members),
        group:
            "figures"
        conda:
            "../envs/atlas.yaml"
        resources:
            **asks_for(2000, 15),  # all runs at once
        params:
            steps=[table_command(table) for table in members],
            code=code_of_all(f"atlas.tables.{table}" for table in members),
        shell:
            step("atlas.workflow.together {params.steps:q}")
