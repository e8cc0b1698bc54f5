import json


localrules:
    corpus,  # nodes of a cluster seldom reach the package index


rule corpus:
    input:
        present(STUDY.base.corpus),
    output:
        f"{RESULTS}/base/corpus.txt",
    log:
        f"{RESULTS}/logs/base/corpus.log",
    cache: CACHED
    conda:
        "../envs/atlas.yaml"
    params:
        spec=json.dumps({"corpus": STUDY.base.corpus}),
        code=code_of("atlas.base.corpus"),
    shell:
        "python -m atlas.base.corpus --spec {params.spec:q} --out {output} --log {log}"


# The base: pretrained here, or a language model from outside as it is.
BASE_STEP = "atlas.base.adopt" if STUDY.outside else "atlas.base.pretrain"
BESIDE = {
    name: f"{RESULTS}/base/{name}.json" for name in ("lm", "tokenizer") if STUDY.outside
}


rule pretrain:
    input:
        corpus=f"{RESULTS}/base/corpus.txt",
        model=outside_files(),
    output:
        **BESIDE,
        checkpoint=f"{RESULTS}/base/base.safetensors",
        manifest=f"{RESULTS}/base/base.json",
    log:
        f"{RESULTS}/logs/base/pretrain.log",
    cache: CACHED
    group:
        "base"
    conda:
        "../envs/atlas.yaml"
    threads: 2
    resources:
        mem_mb=growing(MEMORY),
        runtime=growing(60),
    params:
        spec=STUDY.base.model_dump_json(),
        step=BASE_STEP,
        code=code_of(BASE_STEP),
    shell:
        "python -m {params.step} --spec {params.spec:q} --corpus {input.corpus}"
        " --checkpoint {output.checkpoint} --manifest {output.manifest} --threads {threads} --log {log}"


rule certify:
    input:
        corpus=f"{RESULTS}/base/corpus.txt",
        checkpoint=f"{RESULTS}/base/base.safetensors",
        manifest=f"{RESULTS}/base/base.json",
    output:
        certificate=f"{RESULTS}/base/certificate.json",
        config=[] if STUDY.outside else f"{RESULTS}/base/config.json",
    log:
        f"{RESULTS}/logs/base/certify.log",
    group:
        "base"
    conda:
        "../envs/atlas.yaml"
    threads: 2
    resources:
        mem_mb=growing(MEMORY),
        runtime=growing(15),
    params:
        spec=STUDY.base.model_dump_json(),
        code=code_of("atlas.base.certify"),
    shell:
        "python -m atlas.base.certify --spec {params.spec:q} --corpus {input.corpus}"
        " --checkpoint {input.checkpoint} --manifest {input.manifest} --threads {threads}"
        " --out {output.certificate} --log {log}"
