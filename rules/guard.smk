import json


def place_of(arm):
    """What two arms share that differ in nothing but their base."""
    return set(arm.targets), arm.layer_ranks(STUDY.base.model.layers), arm.recipe


# Roles that an arm leaves at a fresh initialisation on purpose, as a loader that misses them would, where the study has
# the same arm on the certified base, too.
CERTIFIED = [place_of(arm) for arm in STUDY.arms.values() if not arm.base.reinit]
REINITS = sorted(
    {
        tuple(sorted(arm.base.reinit))
        for arm in STUDY.arms.values()
        if arm.base.reinit and place_of(arm) in CERTIFIED
    }
)


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
