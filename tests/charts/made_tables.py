"""Tables for charts, made from synthetic runs by the stage before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from atlas.audit.misload_report import Misload
from atlas.guard.report import Certificate, Check
from atlas.tables import (
    ablations,
    arms,
    association,
    base_loss,
    capacity,
    claims,
    confound,
    continual,
    contrasts,
    controls,
    curve,
    matrix,
    paraphrases,
    retention,
    speedrun,
    table_step,
    variance,
    wrong_answers,
)
from atlas.tables.runs import read
from atlas.workflow import files
from tests.synthetic import Design, SyntheticArm, pool_of, random_print, write_study

STEPS = {
    "arms": arms,
    "retention": retention,
    "continual": continual,
    "controls": controls,
    "curve": curve,
    "matrix": matrix,
    "base_loss": base_loss,
    "speedrun": speedrun,
    "capacity": capacity,
    "claims": claims,
}


def make_tables(
    folder: Path, study: Mapping[str, SyntheticArm], design: Design, varied: Mapping[str, SyntheticArm] | None = None
) -> Path:
    """Write all tables of a study below ``folder``, with ablations where ``varied`` has any; returns their folder."""
    tables = folder / "tables"
    runs = read(write_study(folder / "ttt", study, design))
    for name, step in STEPS.items():
        files.write_parquet(tables / f"{name}.parquet", step.table(runs), table_step.provenance(step.__name__, runs))
    for name, step in (("association", association), ("wrong_answers", wrong_answers)):
        made = step.table(runs, pool_of(design), "made up")
        files.write_parquet(tables / f"{name}.parquet", made, table_step.provenance(step.__name__, runs))
    names = list(study)
    if len(names) > 1:
        plan = contrasts.Contrasts(contrasts={"around": list(zip(names, [*names[1:], names[0]], strict=True))})
        made_by = table_step.provenance(contrasts.__name__, runs)
        files.write_parquet(tables / "contrasts.parquet", contrasts.table(runs, plan), made_by)
    if confound.pairs(runs):
        made_by = table_step.provenance(confound.__name__, runs)
        files.write_parquet(
            tables / "confound.parquet", confound.table(runs, [refused(design.seeds)], "made up"), made_by
        )
    if (shares := variance.table(runs)).num_rows:
        files.write_parquet(tables / "variance.parquet", shares, table_step.provenance(variance.__name__, runs))
    if (by_paraphrases := paraphrases.table(runs)).num_rows:
        files.write_parquet(
            tables / "paraphrases.parquet", by_paraphrases, table_step.provenance(paraphrases.__name__, runs)
        )
    if varied:
        references = [name for name in study if any(other.startswith(f"{name}_") for other in varied)]
        both = {name: study[name] for name in references} | dict(varied)
        compared = read(write_study(folder / "varied", both, design))
        made_by = table_step.provenance(ablations.__name__, compared)
        files.write_parquet(tables / "ablations.parquet", ablations.table(compared, references), made_by)
    return tables


def refused(seeds: Sequence[int], replica: int = 1) -> Misload:
    """What verification says of the synthetic arms' mis-loaded base."""
    fingerprint = random_print(seeds, replica)
    failed = Check(name="spectrum", passed=False, measured=1.0, limit=6.0, detail="as if fresh")
    certificate = Certificate(passed=False, fingerprint=fingerprint, checks=[failed])
    return Misload(
        reinit=["up", "down"],
        seeds=list(seeds),
        missed=[],
        fingerprint=fingerprint,
        without_manifest=certificate,
        with_manifest=certificate,
    )
