import json


rule corpus:
    input:
        own=present(STUDY.base.corpus),
        model=read_by(),
    output:
        f"{RESULTS}/base/corpus.txt",
    log:
        f"{RESULTS}/logs/base/corpus.log",
    cache: CACHED
    localrule: True  # nodes of a cluster seldom reach the package index
    conda:
        "../envs/atlas.yaml"
    resources:
        **SMALL,
    params:
        spec=json.dumps({"corpus": STUDY.base.corpus}),
        model=option("--model", STUDY.outside or []),
        code=code_of("atlas.base.corpus"),
    shell:
        step(
            "atlas.base.corpus --spec {params.spec:q} {params.model} --out {output:q} --log {log:q}"
        )


# The bases: pretrained here, or a language model from outside as it is. Only those that blocks of seeds are taught on.
BASE_STEP = "atlas.base.adopt" if STUDY.outside else "atlas.base.pretrain"
BESIDE = {
    name: f"{RESULTS}/base/{{replica}}/{name}.json"
    for name in ("lm", "tokenizer")
    if STUDY.outside
}


rule pretrain:
    input:
        corpus=f"{RESULTS}/base/corpus.txt",
        model=outside_files(),
    output:
        **BESIDE,
        checkpoint=f"{RESULTS}/base/{{replica}}/base.safetensors",
        manifest=f"{RESULTS}/base/{{replica}}/base.json",
    log:
        f"{RESULTS}/logs/base/{{replica}}/pretrain.log",
    wildcard_constraints:
        replica=one_of(STUDY.replicas),
    cache: CACHED
    group:
        "base"
    conda:
        "../envs/atlas.yaml"
    threads: 2
    resources:
        **asks_for(MEMORY, 60),
    params:
        threads=threads_of("pretrain"),
        spec=lambda wildcards: STUDY.base.spec(int(wildcards.replica)).model_dump_json(),
        step=BASE_STEP,
        code=code_of(BASE_STEP),
    shell:
        step(
            "{params.step} --spec {params.spec:q} --corpus {input.corpus:q}"
            " --checkpoint {output.checkpoint:q} --manifest {output.manifest:q} {params.threads} --log {log:q}"
        )


rule certify:
    input:
        corpus=f"{RESULTS}/base/corpus.txt",
        checkpoint=f"{RESULTS}/base/{{replica}}/base.safetensors",
        manifest=f"{RESULTS}/base/{{replica}}/base.json",
    output:
        certificate=f"{RESULTS}/base/{{replica}}/certificate.json",
        config=[] if STUDY.outside else f"{RESULTS}/base/{{replica}}/config.json",
    log:
        f"{RESULTS}/logs/base/{{replica}}/certify.log",
    wildcard_constraints:
        replica=one_of(STUDY.replicas),
    group:
        "base"
    conda:
        "../envs/atlas.yaml"
    threads: 2
    resources:
        **asks_for(MEMORY, 15),
    params:
        threads=threads_of("certify"),
        spec=lambda wildcards: STUDY.base.spec(int(wildcards.replica)).model_dump_json(),
        code=code_of("atlas.base.certify"),
    shell:
        step(
            "atlas.base.certify --spec {params.spec:q} --corpus {input.corpus:q}"
            " --checkpoint {input.checkpoint:q} --manifest {input.manifest:q} {params.threads}"
            " --out {output.certificate:q} --log {log:q}"
        )
