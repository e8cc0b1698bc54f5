SEARCHED = STUDY.search.arms if STUDY.search.sweeps else []


# Rungs count from 0, closing rounds are behind them. What one tries is worked out from all trials before it.
rule trials:
    input:
        unpack(certified),
        pool=TAUGHT_POOL,
        streams=expand(
            f"{RESULTS}/pool/streams/{{seed}}.parquet", seed=STUDY.search.seeds
        ),
        measured=lambda wildcards: measured_of(STUDY.search.arms[wildcards.arm], 1),
        moments=lambda wildcards: moments_of(STUDY.search.arms[wildcards.arm], 1),
        start=lambda wildcards: start_of(STUDY.search.arms[wildcards.arm]),
        previous=lambda wildcards: trials_of(wildcards.arm, int(wildcards.rung)),
    output:
        f"{RESULTS}/search/{{arm}}/{{rung}}-{{part}}.parquet",
    log:
        f"{RESULTS}/logs/search/{{arm}}/{{rung}}-{{part}}.log",
    wildcard_constraints:
        arm=one_of(SEARCHED),
        rung=one_of(range(len(STUDY.search.rungs) + STUDY.search.rounds)),
        part=one_of(range(STUDY.search.jobs)),
    cache: CACHED
    conda:
        "../envs/atlas.yaml"
    threads: 1
    resources:
        **asks_for(MEMORY, 240, gpu_of),
    params:
        threads=threads_of("trials"),
        spec=lambda wildcards: STUDY.rung_spec(
            wildcards.arm, int(wildcards.rung)
        ).model_dump_json(),
        step=rung_step,
        code=code_of(
            rung_step,
            lambda wildcards: methods.reference_of(
                STUDY.search.arms[wildcards.arm].method
            ),
            metrics=False,
        ),
        measured=lambda wildcards, input: option("--measured", input.measured),
        moments=lambda wildcards, input: option("--moments", input.moments),
        start=lambda wildcards: option(
            "--start", STUDY.search.arms[wildcards.arm].start
        ),
        previous=lambda wildcards, input: option("--previous", input.previous),
    shell:
        step(
            "{params.step} --spec {params.spec:q} --part {wildcards.part}"
            " {params.previous} {params.measured} {params.moments} {params.start} --pool {input.pool:q} --streams {input.streams:q} --corpus {input.corpus:q}"
            " --checkpoint {input.checkpoint:q} --manifest {input.manifest:q} --certificate {input.certificate:q}"
            " {params.threads} --out {output:q} --log {log:q}",
            "ATLAS_PROGRESS=lines",
        )


rule recipes:
    input:
        trials_of_all(),
        given=f"{RESULTS}/tables/given/trials.txt",
    output:
        f"{RESULTS}/tables/recipes.parquet",
    log:
        f"{RESULTS}/logs/tables/recipes.log",
    group:
        "figures"
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        code=code_of("atlas.tables.found_recipes"),
        study=option(
            "--study",
            [os.path.relpath(path) for path in study_files.in_order(workflow)[-1:]],
        ),
    shell:
        step(
            "atlas.tables.found_recipes --trials {input.given:q} {params.study} --out {output:q} --log {log:q}"
        )
