from atlas.pool import readers
from atlas.pool.companions import companions

POOL = beside("atlas/pool")
# what is taught: the pool, or where a study contradicts what its base knows, the pool with what that is
TAUGHT_POOL = (
    f"{RESULTS}/{'pool' if STUDY.counterfactual is None else 'ttt'}/pool.parquet"
)


rule facts:
    input:
        # what a model from outside reads by; a GGUF file holds it
        model=[
            path
            for path in outside_files()
            if Path(path).suffix == ".gguf"
            or Path(path).name in ("config.json", "tokenizer.json")
        ],
        source=(
            [*present(STUDY.pool.source), *map(str, companions(STUDY.pool.source))]
            if STUDY.pool.source
            else expand(
                f"{POOL}/data/{{domain}}.{{kind}}",
                domain=STUDY.pool.shares,
                kind=["tsv", "yaml"],
            )
        ),
    output:
        pool=f"{RESULTS}/pool/pool.parquet",
        skipped=f"{RESULTS}/pool/skipped.parquet",
    log:
        f"{RESULTS}/logs/pool/pool.log",
    localrule: True
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        spec=STUDY.pool_spec.model_dump_json(),
        model=option("--model", STUDY.outside or []),
        code=code_of(
            "atlas.pool.build",
            lambda wildcards: (
                or_stop(readers.reader_of, Path(STUDY.pool.source))
                if STUDY.pool.source
                else None
            ),
        ),
    shell:
        step(
            "atlas.pool.build --spec {params.spec:q} {params.model} --out {output.pool:q} --log {log:q}"
        )


rule stream:
    input:
        TAUGHT_POOL,
    output:
        f"{RESULTS}/pool/streams/{{seed}}.parquet",
    log:
        f"{RESULTS}/logs/pool/stream_{{seed}}.log",
    wildcard_constraints:
        seed=one_of([*STUDY.all_seeds, *STUDY.search.seeds]),
    localrule: True
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        spec=lambda wildcards: STUDY.stream_spec(int(wildcards.seed)).model_dump_json(),
        code=code_of("atlas.pool.streams"),
    shell:
        step(
            "atlas.pool.streams --spec {params.spec:q} --pool {input:q} --out {output:q} --log {log:q}"
        )
