import json

REINITS = reinits()


if REINITS:

    # As for the first block of seeds, which is taught on the first base.
    rule misload:
        input:
            corpus=f"{RESULTS}/base/corpus.txt",
            checkpoint=f"{RESULTS}/base/1/base.safetensors",
            manifest=f"{RESULTS}/base/1/base.json",
        output:
            report=f"{RESULTS}/audit/misloaded.json",
            checkpoints=expand(
                f"{RESULTS}/audit/misloaded-{{roles}}/{{file}}",
                roles=["-".join(roles) for roles in REINITS],
                file=("base.safetensors", "config.json"),
            ),
        log:
            f"{RESULTS}/logs/audit/misload.log",
        group:
            "base"
        conda:
            "../envs/atlas.yaml"
        threads: 1
        resources:
            **asks_for(2000, 15),
        params:
            threads=threads_of("misload"),
            spec=json.dumps(
                {
                    "reinit": REINITS,
                    "base_seed": STUDY.base.seed,
                    "seeds": STUDY.blocks[STUDY.first_block],
                }
            ),
            code=code_of("atlas.audit.misload"),
        shell:
            step(
                "atlas.audit.misload --spec {params.spec:q} --corpus {input.corpus:q}"
                " --checkpoint {input.checkpoint:q} --manifest {input.manifest:q} {params.threads}"
                " --out {output.report:q} --log {log:q}"
            )


GUARD = STUDY.guard.model_dump_json()
HONEST_SEEDS = 3  # trainings of a job: a few minutes
HONEST_BLOCKS = range(0, STUDY.guard.seeds, HONEST_SEEDS)
# the kinds of damage are shared out to as many jobs; each of the small subject's would train it again
DAMAGE_PARTS = {"base": 4, "small": 1}
GUARD_PARTS = {
    "detection": [
        f"{RESULTS}/audit/parts/damage-{subject}-{part}.parquet"
        for subject, parts in DAMAGE_PARTS.items()
        for part in range(parts)
    ]
    + [
        f"{RESULTS}/audit/parts/damage-{architecture}.parquet"
        for architecture in STUDY.guard.architectures
    ],
    "false_alarms": expand(
        f"{RESULTS}/audit/parts/honest-{{shape}}-{{first}}.parquet",
        shape=range(len(STUDY.guard.models)),
        first=HONEST_BLOCKS,
    )
    + expand(
        f"{RESULTS}/audit/parts/honest-outsiders-{{seed}}.parquet",
        seed=range(STUDY.guard.outsiders),
    ),
}

TOOLS_ASKED = ["tools"] if "llama" in STUDY.guard.architectures else []


rule honest:
    input:
        f"{RESULTS}/base/corpus.txt",
    output:
        f"{RESULTS}/audit/parts/honest-{{shape}}-{{first}}.parquet",
    log:
        f"{RESULTS}/logs/audit/honest-{{shape}}-{{first}}.log",
    wildcard_constraints:
        shape=r"\d+",
        first=r"\d+",
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(2000, 60),
    params:
        spec=GUARD,
        seeds=lambda wildcards: list(range(STUDY.guard.seeds))[
            int(wildcards.first) : int(wildcards.first) + HONEST_SEEDS
        ],
        code=code_of("atlas.audit.honest"),
    shell:
        step(
            "atlas.audit.honest --spec {params.spec:q} --shape {wildcards.shape}"
            " --seeds {params.seeds} --corpus {input:q} --out {output:q} --log {log:q}",
            "ATLAS_PROGRESS=lines",
        )


# Models of other projects' architectures, in three dtypes; takes the extra lm.
rule outsiders:
    input:
        f"{RESULTS}/base/corpus.txt",
    output:
        f"{RESULTS}/audit/parts/honest-outsiders-{{seed}}.parquet",
    log:
        f"{RESULTS}/logs/audit/honest-outsiders-{{seed}}.log",
    wildcard_constraints:
        seed=r"\d+",
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(2000, 60),
    params:
        spec=GUARD,
        code=code_of("atlas.audit.honest"),
    shell:
        step(
            "atlas.audit.honest --spec {params.spec:q} --outsiders --seeds {wildcards.seed}"
            " --corpus {input:q} --out {output:q} --log {log:q}",
            "ATLAS_PROGRESS=lines",
        )


# Damage is done to the study's first base and to a small model that is trained on the spot, with an earlier step of its
# training and another seed beside it.
rule damage:
    input:
        corpus=f"{RESULTS}/base/corpus.txt",
        base=lambda wildcards: {
            "base": [
                f"{RESULTS}/base/1/base.safetensors",
                f"{RESULTS}/base/1/base.json",
            ],
            "small": [],
        }[wildcards.subject],
    output:
        f"{RESULTS}/audit/parts/damage-{{subject}}-{{part}}.parquet",
    log:
        f"{RESULTS}/logs/audit/damage-{{subject}}-{{part}}.log",
    wildcard_constraints:
        subject="base|small",
        part=r"\d+",
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(2000, 60),
    params:
        spec=GUARD,
        base=lambda wildcards, input: (
            shlex.join(["--checkpoint", input.base[0], "--manifest", input.base[1]])
            if input.base
            else ""
        ),
        parts=lambda wildcards: DAMAGE_PARTS[wildcards.subject],
        code=code_of("atlas.audit.damage"),
    shell:
        step(
            "atlas.audit.damage --spec {params.spec:q} --corpus {input.corpus:q}"
            " {params.base} --part {wildcards.part} --parts {params.parts} --out {output:q} --log {log:q}",
            "ATLAS_PROGRESS=lines",
        )


# Small models of other projects' architectures, trained on the spot; takes the extra lm.
rule foreign_damage:
    input:
        f"{RESULTS}/base/corpus.txt",
    output:
        f"{RESULTS}/audit/parts/damage-{{architecture}}.parquet",
    log:
        f"{RESULTS}/logs/audit/damage-{{architecture}}.log",
    wildcard_constraints:
        architecture="|".join(STUDY.guard.architectures) or "none",
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(2000, 60),
    params:
        spec=GUARD,
        code=code_of("atlas.audit.foreign_damage"),
    shell:
        step(
            "atlas.audit.foreign_damage --spec {params.spec:q} --architecture {wildcards.architecture}"
            " --corpus {input:q} --out {output:q} --log {log:q}",
            "ATLAS_PROGRESS=lines",
        )


# What transformers, safetensors, accelerate, PyTorch and PEFT, as far as they are installed, notice of the same damage.
rule tools:
    input:
        corpus=f"{RESULTS}/base/corpus.txt",
        detection=f"{RESULTS}/audit/detection.parquet",
    output:
        f"{RESULTS}/audit/tools.parquet",
    log:
        f"{RESULTS}/logs/audit/tools.log",
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(2000, 30),
    params:
        spec=GUARD,
        code=code_of("atlas.audit.tools"),
    shell:
        step(
            "atlas.audit.tools --spec {params.spec:q} --corpus {input.corpus:q}"
            " --detection {input.detection:q} --out {output:q} --log {log:q}",
            "ATLAS_PROGRESS=lines",
        )


rule views:
    input:
        f"{RESULTS}/audit/detection.parquet",
    output:
        f"{RESULTS}/audit/views.parquet",
    log:
        f"{RESULTS}/logs/audit/views.log",
    group:
        "figures"
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        code=code_of("atlas.audit.views"),
    shell:
        step("atlas.audit.views --detection {input:q} --out {output:q} --log {log:q}")


rule collect:
    input:
        lambda wildcards: GUARD_PARTS[wildcards.table],
    output:
        f"{RESULTS}/audit/{{table}}.parquet",
    log:
        f"{RESULTS}/logs/audit/{{table}}.log",
    wildcard_constraints:
        table="|".join(GUARD_PARTS),
    group:
        "figures"
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        code=code_of("atlas.audit.collect"),
    shell:
        step(
            "atlas.audit.collect --table {wildcards.table} --parts {input:q} --out {output:q} --log {log:q}"
        )
