"""What a study makes jobs do."""

from __future__ import annotations

from atlas.study.config import Study


def jobs_of(study: Study) -> dict[str, str]:
    """All that jobs of a study are given, as rules write it into params: a change of it reruns the job."""
    given = {"results": study.results, "corpus": study.base.corpus, "replicas": str(sorted(study.replica_of.items()))}
    specs = {"pool": study.pool_spec, "guard": study.guard, "keys": study.keys, "trace": study.tracing}
    specs |= {f"base {replica}": study.base.spec(replica) for replica in study.replicas}
    specs |= {f"stream {seed}": study.stream_spec(seed) for seed in (*study.all_seeds, *study.search.seeds)}
    specs |= {f"locate {arm} {block}": study.locate_spec(arm, block) for arm in study.located for block in study.blocks}
    for arm in (*study.arms, *study.ablations, *study.mapped):
        specs |= {f"run {arm} {block}": study.run_spec(arm, block) for block in study.blocks}
        given[f"start {arm}"] = str(study.arm(arm).start)
    if study.search.sweeps:
        rungs = [(arm, rung) for arm in study.search.arms for rung in range(len(study.search.lengths(arm)))]
        specs |= {f"rung {arm} {rung}": study.rung_spec(arm, rung) for arm, rung in rungs}
    return given | {name: spec.model_dump_json() for name, spec in specs.items()}
