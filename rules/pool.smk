POOL = beside("atlas/pool")
# what is taught: the pool, or where a study contradicts what its base knows, the pool with what that is
TAUGHT_POOL = (
    f"{RESULTS}/{'pool' if STUDY.counterfactual is None else 'ttt'}/pool.parquet"
)


localrules:
    facts,
    stream,


rule facts:
    input:
        present(STUDY.pool.source)
        if STUDY.pool.source
        else expand(
            f"{POOL}/data/{{domain}}.{{kind}}",
            domain=STUDY.pool.shares,
            kind=["tsv", "yaml"],
        ),
    output:
        f"{RESULTS}/pool/pool.parquet",
    log:
        f"{RESULTS}/logs/pool/pool.log",
    conda:
        "../envs/atlas.yaml"
    params:
        spec=STUDY.pool.model_dump_json(),
        code=code_of("atlas.pool.build"),
    shell:
        "python -m atlas.pool.build --spec {params.spec:q} --out {output} --log {log}"


rule stream:
    input:
        TAUGHT_POOL,
    output:
        f"{RESULTS}/pool/streams/{{seed}}.parquet",
    log:
        f"{RESULTS}/logs/pool/stream_{{seed}}.log",
    wildcard_constraints:
        seed=one_of([*STUDY.all_seeds, *STUDY.search.seeds]),
    conda:
        "../envs/atlas.yaml"
    params:
        spec=lambda wildcards: STUDY.stream_spec(int(wildcards.seed)).model_dump_json(),
        code=code_of("atlas.pool.streams"),
    shell:
        "python -m atlas.pool.streams --spec {params.spec:q} --pool {input} --out {output} --log {log}"
