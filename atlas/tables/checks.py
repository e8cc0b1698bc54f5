"""What must hold before runs are compared. Every refusal names the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import AtlasError
from atlas.tables.intervals import Ints
from atlas.ttt.run_files import RunRecord

WITHIN_ARM = ("code_digest", "method", "editing", "recipe", "targets", "ranks", "reinit", "trainable_params")
ASKED = ["arm", "seed", "sessions", "probe", "fact_id", "form"]
MAY_BE_NULL = {"session_taught", "loss_first", "loss_last", "lr"}


def comparable(folders: Sequence[Path], records: Sequence[RunRecord]) -> None:
    """Check the records against each other. Raises AtlasError on the first pair that must not be mixed."""
    paths = [folder / "run.json" for folder in folders]
    first: dict[str, int] = {}  # arm to the index of its first run
    for index, record in enumerate(records):
        _same(paths, records, 0, index, "base_fingerprint", "runs on different bases cannot be compared")
        _same(paths, records, 0, index, "base_params", "runs on different bases cannot be compared")
        for key in WITHIN_ARM:
            _same(paths, records, first.setdefault(record.arm, index), index, key, f"arm {record.arm!r} is mixed")
    _same_frozen(paths, records)
    _no_duplicates(paths, records)
    _paired_seeds(paths, records)


def _same_frozen(paths: Sequence[Path], records: Sequence[RunRecord]) -> None:
    """Every run trained on the certified base, or on it with exactly the declared tensors changed, the same for all
    runs that declare the same roles."""
    first: dict[frozenset[str], int] = {}  # roles left at a fresh initialisation, to the first run that declares them
    for index, (path, record) in enumerate(zip(paths, records, strict=True)):
        if problem := _strayed(record):
            raise AtlasError(f"{path}: {problem}; the figures are of another base, so delete the run and make it again")
        start = first.setdefault(frozenset(record.reinit), index)
        if record.frozen.at_start != records[start].frozen.at_start:
            raise AtlasError(
                f"{path}: trained on weights {record.frozen.at_start}, but {paths[start]}, which declares the same "
                f"reinit {record.reinit}, on {records[start].frozen.at_start}; delete the older run and make it again"
            )


def _strayed(record: RunRecord) -> str | None:
    """How the weights that a run trained on differ from those that it declares; None where they do not."""
    frozen = record.frozen
    if frozen.at_end != frozen.at_start:
        return f"frozen weights moved: fingerprint {frozen.at_start} at the start, {frozen.at_end} at the end"
    if odd := sorted({*frozen.changed} ^ {*frozen.declared}):
        how = "differs from the certified base undeclared" if odd[0] in frozen.changed else "is declared but unchanged"
        return f"frozen.changed: {odd[0]} {how}"
    if bool(record.reinit) != bool(frozen.declared):
        return f"frozen.declared: {len(frozen.declared)} tensors, but reinit is {record.reinit}"
    if (frozen.at_start != record.base_fingerprint) != bool(record.reinit):
        relation = "is" if record.reinit else "is not"
        return (
            f"frozen.at_start {relation} base_fingerprint {record.base_fingerprint}, though reinit is {record.reinit}"
        )
    return None


def _same(paths: Sequence[Path], records: Sequence[RunRecord], a: int, b: int, key: str, why: str) -> None:
    mine, other = getattr(records[a], key), getattr(records[b], key)
    if mine != other:
        raise AtlasError(
            f"{paths[b]}: {key} is {_short(other)}, but {paths[a]} has {_short(mine)}: {why}; "
            "delete the older run's folder and run again"
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _no_duplicates(paths: Sequence[Path], records: Sequence[RunRecord]) -> None:
    seen: dict[tuple[str, int], Path] = {}
    for path, record in zip(paths, records, strict=True):
        for seed in record.seeds:
            if other := seen.get((record.arm, seed)):
                raise AtlasError(f"{path}: seed {seed} of arm {record.arm!r} is in {other} too; leave one of them out")
            seen[record.arm, seed] = path


def _paired_seeds(paths: Sequence[Path], records: Sequence[RunRecord]) -> None:
    """The design is paired: every arm has the same seeds."""
    seeds: dict[str, set[int]] = {}
    where: dict[str, list[str]] = {}
    for path, record in zip(paths, records, strict=True):
        seeds.setdefault(record.arm, set()).update(record.seeds)
        where.setdefault(record.arm, []).append(str(path))
    arms = list(seeds)
    for arm in arms[1:]:
        if odd := sorted(seeds[arm] ^ seeds[arms[0]]):
            lacking = arm if odd[0] in seeds[arms[0]] else arms[0]
            raise AtlasError(
                f"seed {odd[0]}: missing for arm {lacking!r} ({', '.join(where[lacking])}), present for others; "
                "arms are compared seed by seed, so run it for all arms or for none"
            )


def sound(path: Path, table: pa.Table, record: RunRecord, key: Sequence[str]) -> None:
    """Check one table of a run against its record: arm and seeds, no gaps, no NaN, one row per key and seed."""
    if (arms := pc.unique(table["arm"]).to_pylist()) != [record.arm]:
        raise AtlasError(f"{path}: column 'arm' holds {arms}, but run.json says {record.arm!r}; make the run again")
    if (seeds := sorted(pc.unique(table["seed"]).to_pylist())) != sorted(record.seeds):
        raise AtlasError(f"{path}: holds seeds {seeds}, but run.json says {sorted(record.seeds)}; make the run again")
    _no_gaps(path, table)
    keys = table.select(["seed", *key])
    if keys.group_by(keys.column_names).aggregate([]).num_rows != table.num_rows:
        raise AtlasError(f"{path}: several rows for one {', '.join(keys.column_names)}; make the run again")


def _no_gaps(path: Path, table: pa.Table) -> None:
    """No nulls but where the schema means them, no NaN or infinity anywhere."""
    for name in table.column_names:
        column = table[name]
        if name not in MAY_BE_NULL and column.null_count:
            raise AtlasError(f"{path}: column {name!r} has {column.null_count} nulls; make the run again")
        if pa.types.is_floating(column.type):
            broken = int(pc.sum(pc.invert(pc.is_finite(column.drop_null()))).as_py() or 0)
            if broken:
                raise AtlasError(
                    f"{path}: column {name!r} has {broken} values that are NaN or infinite; the training went astray "
                    "(lower the rates of the recipe) or the file is damaged (delete the run and make it again)"
                )


def same_facts(facts: pd.DataFrame, folders: Sequence[Path], records: Sequence[RunRecord]) -> None:
    """Check that every arm probed the same facts, taught in the same sessions, for each seed and checkpoint.

    An arm may have fewer checkpoints than another (ablations do); they are compared where both were probed. Arms that
    were taught other paraphrases are asked others, so between them it is the facts that must agree, not the
    paraphrases.
    """
    by_paraphrases: dict[tuple[int, bool], list[str]] = {}
    for record in records:
        by_paraphrases.setdefault((record.recipe.paraphrases, record.recipe.mixed), []).append(record.arm)
    if len(by_paraphrases) > 1:
        _alike(facts.assign(form=0).drop_duplicates(ASKED), folders, records)
    for arms in by_paraphrases.values():
        _alike(facts[facts["arm"].isin(arms)], folders, records)


def _alike(facts: pd.DataFrame, folders: Sequence[Path], records: Sequence[RunRecord]) -> None:
    what = facts[["sessions", "probe", "fact_id", "form", "session_taught"]]
    prints = facts[["arm", "seed", "sessions"]].assign(hash=_hashes(what))
    sums = prints.groupby(["seed", "sessions", "arm"], observed=True)["hash"].sum().unstack("arm")  # rows in any order
    _same_checkpoints(sums.notna(), folders, records)
    first = sums.bfill(axis=1).iloc[:, 0]
    odd = np.argwhere((sums.notna() & sums.ne(first, axis=0)).to_numpy())
    if len(odd):
        arm, (seed, sessions) = sums.columns[odd[0, 1]], sums.index[odd[0, 0]]
        other = sums.columns[int(np.argmax(sums.iloc[odd[0, 0]].notna()))]
        raise AtlasError(
            f"{_facts_of(arm, seed, folders, records)}: after {sessions} sessions seed {seed} has other facts than in "
            f"{_facts_of(other, seed, folders, records)}; arms are compared fact by fact, so make both runs with one "
            "study"
        )


def _hashes(rows: pd.DataFrame) -> Ints:
    """One number a row, small enough that a sum over facts is exact."""
    return (pd.util.hash_pandas_object(rows, index=False).to_numpy(np.uint64) >> np.uint64(24)).astype(np.int64)


def _same_checkpoints(probed: pd.DataFrame, folders: Sequence[Path], records: Sequence[RunRecord]) -> None:
    """Seeds of an arm have the same checkpoints, and those of an arm with fewer are among those of the others."""
    by_seed = {
        (arm, seed): {sessions for sessions in probed.loc[seed].index if probed.loc[(seed, sessions), arm]}
        for seed in probed.index.unique("seed").tolist()
        for arm in probed.columns
    }
    most = max(by_seed.values(), key=len)
    for (arm, seed), points in by_seed.items():
        first = next(other for (name, _), other in by_seed.items() if name == arm)
        if points != first or not points <= most:
            expected = f"{sorted(first)} as its other seeds" if points != first else f"some of {sorted(most)}"
            raise AtlasError(
                f"{_facts_of(arm, seed, folders, records)}: seed {seed} of arm {arm!r} was probed after "
                f"{sorted(points)} sessions, expected {expected}; make the run again with the study of the others"
            )


def _facts_of(arm: str, seed: int, folders: Sequence[Path], records: Sequence[RunRecord]) -> Path:
    run = next(f for f, r in zip(folders, records, strict=True) if r.arm == arm and seed in r.seeds)
    return run / "facts.parquet"
