import os


def pool_files(wildcards):
    """The tables of the domains, or the user's own pool. One that is missing is left to the step, which says so."""
    folder = os.path.relpath(Path(workflow.basedir, "atlas", "pool", "data"))
    tables = [
        f"{folder}/{domain}.{kind}"
        for domain in STUDY.pool.shares
        for kind in ("tsv", "yaml")
    ]
    wanted = [STUDY.pool.source] if STUDY.pool.source else tables
    return [path for path in wanted if Path(path).is_file()]


rule pool:
    input:
        pool_files,
    output:
        f"{RESULTS}/pool/pool.parquet",
    log:
        f"{RESULTS}/logs/pool/pool.log",
    conda:
        "../envs/atlas.yaml"
    params:
        spec=STUDY.pool.model_dump_json(),
        code=code_digest("atlas.pool.build"),
    shell:
        "python -m atlas.pool.build --spec {params.spec:q} --out {output} --log {log}"


rule stream:
    input:
        f"{RESULTS}/pool/pool.parquet",
    output:
        f"{RESULTS}/pool/streams/{{seed}}.parquet",
    log:
        f"{RESULTS}/logs/pool/stream_{{seed}}.log",
    wildcard_constraints:
        seed=r"\d+",
    conda:
        "../envs/atlas.yaml"
    params:
        spec=lambda wildcards: STUDY.stream_spec(int(wildcards.seed)).model_dump_json(),
        code=code_digest("atlas.pool.streams"),
    shell:
        "python -m atlas.pool.streams --spec {params.spec:q} --pool {input} --out {output} --log {log}"
