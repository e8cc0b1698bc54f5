import json

# Roles that arms leave at a fresh initialisation on purpose, as a loader that misses them would.
REINITS = sorted({tuple(sorted(arm.base.reinit)) for arm in STUDY.arms.values()} - {()})


if REINITS:

    rule misload:
        input:
            corpus=f"{RESULTS}/base/corpus.txt",
            checkpoint=f"{RESULTS}/base/base.safetensors",
            manifest=f"{RESULTS}/base/base.json",
        output:
            report=f"{RESULTS}/guard/misloaded.json",
            checkpoints=expand(
                f"{RESULTS}/guard/misloaded-{{roles}}/{{file}}",
                roles=["-".join(roles) for roles in REINITS],
                file=("base.safetensors", "config.json"),
            ),
        log:
            f"{RESULTS}/logs/guard/misload.log",
        conda:
            "../envs/atlas.yaml"
        threads: 1
        params:
            spec=json.dumps({"reinit": REINITS, "base_seed": STUDY.base.seed}),
            code=code_of("atlas.guard.misload"),
        shell:
            "python -m atlas.guard.misload --spec {params.spec:q} --corpus {input.corpus}"
            " --checkpoint {input.checkpoint} --manifest {input.manifest} --threads {threads}"
            " --out {output.report} --log {log}"
