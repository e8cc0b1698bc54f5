import json

EDITORS = [name for name, arm in STUDY.arms.items() if arm.edits]
BASELINES = [name for name, arm in STUDY.arms.items() if not arm.adapts]


# What the base knows already, and what it is taught instead.
rule ask_base:
    input:
        unpack(certified),
        pool=f"{RESULTS}/pool/pool.parquet",
    output:
        f"{RESULTS}/ttt/pool.parquet",
    log:
        f"{RESULTS}/logs/ttt/ask_base.log",
    group:
        "base"
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(MEMORY, 30),
    params:
        threads=threads_of("ask_base"),
        spec=json.dumps({"seed": STUDY.base.seed}),
        code=code_of("atlas.ttt.ask_base"),
    shell:
        step(
            "atlas.ttt.ask_base --spec {params.spec:q} --pool {input.pool:q}"
            " --checkpoint {input.checkpoint:q} --manifest {input.manifest:q} --certificate {input.certificate:q}"
            " {params.threads} --out {output:q} --log {log:q}"
        )


# What a base makes of all that may be asked, before any teaching: once, whatever is taught to it.
rule measure_base:
    input:
        unpack(certified),
        pool=TAUGHT_POOL,
    output:
        f"{RESULTS}/ttt/base-{{replica}}.parquet",
    log:
        f"{RESULTS}/logs/ttt/base-{{replica}}.log",
    wildcard_constraints:
        replica=one_of(STUDY.replicas),
    cache: CACHED
    group:
        "base" if STUDY.device != "cuda" else "measure_base"  # pretraining takes no GPU
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(MEMORY, 30, gpu_of),
    params:
        threads=threads_of("measure_base"),
        spec=STUDY.measure_spec.model_dump_json(),
        code=code_of("atlas.ttt.measure_base"),
    shell:
        step(
            "atlas.ttt.measure_base --spec {params.spec:q} --pool {input.pool:q} --corpus {input.corpus:q}"
            " --checkpoint {input.checkpoint:q} --manifest {input.manifest:q} --certificate {input.certificate:q}"
            " {params.threads} --out {output:q} --log {log:q}"
        )


rule teach:
    input:
        unpack(certified),
        pool=TAUGHT_POOL,
        streams=streams_of,
        measured=lambda wildcards: measured_of(
            STUDY.arm(wildcards.arm), STUDY.replica_of[wildcards.block]
        ),
        moments=lambda wildcards: moments_of(
            STUDY.arm(wildcards.arm), STUDY.replica_of[wildcards.block]
        ),
        start=lambda wildcards: start_of(STUDY.arm(wildcards.arm)),
    output:
        multiext(
            f"{RESULTS}/ttt/{{arm}}/{{block}}/",
            facts="facts.parquet",
            matrix="matrix.parquet",
            sessions="sessions.parquet",
            adapters="adapters.safetensors",
            record="run.json",
        ),
    log:
        f"{RESULTS}/logs/ttt/{{arm}}/{{block}}.log",
    wildcard_constraints:
        arm=one_of([*STUDY.arms, *STUDY.ablations, *STUDY.mapped]),
        block=one_of(STUDY.blocks),
    cache: CACHED
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(MEMORY, 120, gpu_of),
    params:
        threads=threads_of("teach"),
        spec=lambda wildcards: STUDY.run_spec(
            wildcards.arm, wildcards.block
        ).model_dump_json(),
        step=step_of,
        code=code_of(step_of, method_of),
        measured=lambda wildcards, input: option("--measured", input.measured),
        moments=lambda wildcards, input: option("--moments", input.moments),
        start=lambda wildcards: option("--start", STUDY.arm(wildcards.arm).start),
        out=lambda wildcards, output: str(Path(output.record).parent),
    shell:
        step(
            "{params.step} --spec {params.spec:q} --pool {input.pool:q}"
            " --streams {input.streams:q} --corpus {input.corpus:q} --checkpoint {input.checkpoint:q}"
            " --manifest {input.manifest:q} --certificate {input.certificate:q} {params.measured}"
            " {params.moments} {params.start} {params.threads} --out {params.out:q} --log {log:q}",
            "ATLAS_PROGRESS=lines",
        )


# Where in the adapters of an arm that asks for it the facts sit.
rule locate:
    input:
        unpack(certified),
        pool=TAUGHT_POOL,
        streams=streams_of,
        adapters=f"{RESULTS}/ttt/{{arm}}/{{block}}/adapters.safetensors",
        record=f"{RESULTS}/ttt/{{arm}}/{{block}}/run.json",
    output:
        multiext(
            f"{RESULTS}/ttt/{{arm}}/{{block}}/",
            knockouts="knockouts.parquet",
            slots="slots.parquet",
        ),
    log:
        f"{RESULTS}/logs/ttt/{{arm}}/{{block}}-locate.log",
    wildcard_constraints:
        arm=one_of(STUDY.located),
        block=one_of(STUDY.blocks),
    cache: CACHED
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(MEMORY, 60, gpu_of),
    params:
        threads=threads_of("locate"),
        spec=lambda wildcards: STUDY.locate_spec(
            wildcards.arm, wildcards.block
        ).model_dump_json(),
        code=code_of("atlas.ttt.locate"),
        out=lambda wildcards, output: str(Path(output.slots).parent),
    shell:
        step(
            "atlas.ttt.locate --spec {params.spec:q} --pool {input.pool:q}"
            " --streams {input.streams:q} --corpus {input.corpus:q} --checkpoint {input.checkpoint:q}"
            " --manifest {input.manifest:q} --certificate {input.certificate:q} --run {input.record:q}"
            " {params.threads} --out {params.out:q} --log {log:q}",
            "ATLAS_PROGRESS=lines",
        )


# What editors must leave alone: once for a base, whatever is written into it.
rule covariance:
    input:
        unpack(certified),
    output:
        f"{RESULTS}/ttt/covariance-{{replica}}.safetensors",
    log:
        f"{RESULTS}/logs/ttt/covariance-{{replica}}.log",
    wildcard_constraints:
        replica=one_of(STUDY.replicas),
    cache: CACHED
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(MEMORY, 60 if STUDY.keys.source == "sampled" else 15),
    params:
        threads=threads_of("covariance"),
        spec=json.dumps({"seed": STUDY.base.seed, **STUDY.keys.model_dump()}),
        code=code_of("atlas.ttt.editors.covariance"),
    shell:
        step(
            "atlas.ttt.editors.covariance --spec {params.spec:q} --corpus {input.corpus:q}"
            " --checkpoint {input.checkpoint:q} --manifest {input.manifest:q} --certificate {input.certificate:q}"
            " {params.threads} --out {output:q} --log {log:q}"
        )


rule trace:
    input:
        unpack(certified),
        known=[f"{RESULTS}/ttt/pool.parquet"] if STUDY.outside else [],
    output:
        f"{RESULTS}/ttt/trace.parquet",
    log:
        f"{RESULTS}/logs/ttt/trace.log",
    cache: CACHED
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(MEMORY, 30),
    params:
        threads=threads_of("trace"),
        spec=json.dumps({"seed": STUDY.base.seed, **STUDY.tracing.model_dump()}),
        known=lambda wildcards, input: option("--known", input.known),
        code=code_of("atlas.ttt.editors.trace"),
    shell:
        step(
            "atlas.ttt.editors.trace --spec {params.spec:q} --corpus {input.corpus:q}"
            " --checkpoint {input.checkpoint:q} --manifest {input.manifest:q} --certificate {input.certificate:q} {params.known}"
            " {params.threads} --out {output:q} --log {log:q}",
            "ATLAS_PROGRESS=lines",
        )
