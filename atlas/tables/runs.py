"""The runs that tables are made from: read once, checked, joined into one frame per kind of file.

Runs are compared only where they may be; every refusal names the files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.ttt.run_files import EDIT_FAILURES, FACTS, MATRIX, SESSIONS, RunRecord, read_record
from atlas.workflow import files

WITHIN_ARM = ("code_digest", "method", "editing", "plugged", "recipe", "targets", "ranks", "reinit", "trainable_params")
MAY_BE_NULL = {"session_taught", "associated", "loss_first", "loss_last", "lr"}
MAY_BE_NULL |= {"first_layer", "last_layer", "role", "half", *EDIT_FAILURES}


@dataclass(frozen=True)
class Runs:
    """Runs that may be compared with each other; the files behind them are read when first asked for."""

    folders: tuple[Path, ...]
    records: tuple[RunRecord, ...]

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the order that the runs were given in."""
        return list(dict.fromkeys(record.arm for record in self.records))

    @property
    def seeds(self) -> list[int]:
        """All seeds, sorted."""
        return sorted({seed for record in self.records for seed in record.seeds})

    @cached_property
    def replica_of(self) -> dict[int, int]:
        """Seed to the base that all arms were taught on with it."""
        return {seed: record.base_replica for record in self.records for seed in record.seeds}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Replica to the fingerprint of the certified base, in order."""
        found = {record.base_replica: record.base_fingerprint for record in self.records}
        return {str(replica): found[replica] for replica in sorted(found)}

    def bases(self, seeds: Iterable[int]) -> int:
        """How many bases some seeds rest on."""
        return len({self.replica_of[seed] for seed in seeds})

    def draws(self, arm: str, seeds: Collection[int]) -> int:
        """How many draws of a re-initialised base an arm's runs of some seeds rest on."""
        return len({record.frozen.at_start for record in self.of(arm) if not {*seeds}.isdisjoint(record.seeds)})

    def with_bases(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with the figures of single seeds (``exact``), and how many bases these seeds rest on."""
        return rows.assign(bases=[self.bases(exact) for exact in rows["exact"]])

    @cached_property
    def facts(self) -> pd.DataFrame:
        """All rows of facts.parquet, see ``atlas.ttt.run_files.FACTS``; text columns are categories.

        Raises AtlasError where arms were not asked the same facts, taught in the same sessions, for each seed and
        checkpoint. An arm may have fewer checkpoints than another (ablations do); they are compared where both were
        probed.
        """
        facts = self.joined("facts.parquet", FACTS, ("sessions", "probe", "fact_id", "form"))
        self._alike(facts)
        return facts

    @cached_property
    def matrix(self) -> pd.DataFrame:
        """All rows of matrix.parquet, see ``atlas.ttt.run_files.MATRIX``; text columns are categories."""
        return self.joined("matrix.parquet", MATRIX, ("session", "fact_id"))

    @cached_property
    def sessions(self) -> pd.DataFrame:
        """All rows of sessions.parquet, see ``atlas.ttt.run_files.SESSIONS``."""
        return self.joined("sessions.parquet", SESSIONS, ("session", "phase"))

    @cached_property
    def facts_per_session(self) -> int:
        """Facts that a session teaches, the same in all runs."""
        taught = self.facts[self.facts["probe"] == "taught"]
        facts = taught.groupby(["arm", "seed", "sessions"], observed=True)["fact_id"].nunique()
        return int(facts.iloc[0] // facts.index[0][-1])

    def of(self, arm: str) -> list[RunRecord]:
        """Records of one arm, a block each."""
        return [record for record in self.records if record.arm == arm]

    def first(self, arm: str) -> RunRecord:
        """The record of an arm's first block: what it says of the arm, those of the others say, too."""
        return self.of(arm)[0]

    def folder(self, arm: str, seed: int) -> Path:
        """The run folder of one seed of an arm; StopIteration where there is none."""
        pairs = zip(self.folders, self.records, strict=True)
        return next(folder for folder, record in pairs if record.arm == arm and seed in record.seeds)

    def joined(self, name: str, schema: pa.Schema, key: Sequence[str]) -> pd.DataFrame:
        """One file of all runs: text as categories (grouping goes by code, not by string), arms in the runs' order.

        Raises AtlasError, naming the file, where it is damaged or of another run; ``key`` tells its rows apart.
        """
        tables = []
        for folder, record in zip(self.folders, self.records, strict=True):
            table = files.read_parquet(folder / name, schema).select(schema.names)
            sound(folder / name, table, record, key)
            tables.append(table)
        text = [field.name for field in schema if pa.types.is_string(field.type)]
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas(categories=text)
        frame["arm"] = pd.Categorical(frame["arm"].astype(str), categories=self.arms, ordered=True)
        return frame

    def _alike(self, facts: pd.DataFrame) -> None:
        what = facts[["sessions", "probe", "fact_id", "form", "session_taught"]]
        # one number a row, small enough that a sum over facts, in any order, is exact
        hashes = (pd.util.hash_pandas_object(what, index=False).to_numpy(np.uint64) >> np.uint64(24)).astype(np.int64)
        prints = facts[["arm", "seed", "sessions"]].assign(hash=hashes)
        sums = prints.groupby(["seed", "sessions", "arm"], observed=True)["hash"].sum().unstack("arm")
        self._same_checkpoints(sums.notna())
        first = sums.bfill(axis=1).iloc[:, 0]
        odd = np.argwhere((sums.notna() & sums.ne(first, axis=0)).to_numpy())
        if len(odd):
            arm, (seed, sessions) = sums.columns[odd[0, 1]], sums.index[odd[0, 0]]
            other = sums.columns[int(np.argmax(sums.iloc[odd[0, 0]].notna()))]
            raise AtlasError(
                f"{self.folder(arm, seed) / 'facts.parquet'}: after {plural(sessions, 'session')} seed {seed} has "
                f"other facts than in {self.folder(other, seed) / 'facts.parquet'}; arms are compared fact by fact, so "
                "make both runs with one study"
            )

    def _same_checkpoints(self, probed: pd.DataFrame) -> None:
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
                    f"{self.folder(arm, seed) / 'facts.parquet'}: seed {seed} of arm {arm!r} was probed after "
                    f"{sorted(points)} sessions, expected {expected}; make the run again with the study of the others"
                )


def read(folders: Sequence[Path]) -> Runs:
    """Read the records of all runs and check that the runs may be compared. Raises AtlasError naming the files."""
    paths = [folder / "run.json" for folder in folders]
    records = [read_record(path) for path in paths]
    first: dict[str, int] = {}  # arm to the index of its first run
    of_replica: dict[int, int] = {}  # replica to the index of its first run
    for index, (path, record) in enumerate(zip(paths, records, strict=True)):
        _same(paths, records, 0, index, "base_params", "runs on bases of different size cannot be compared")
        start, replica = of_replica.setdefault(record.base_replica, index), record.base_replica
        _same(paths, records, start, index, "base_fingerprint", f"runs on different bases, both as replica {replica}")
        for earlier in of_replica.values():
            if (twin := records[earlier]).base_replica != replica and twin.base_fingerprint == record.base_fingerprint:
                raise AtlasError(
                    f"{path}: replica {replica} has base_fingerprint {record.base_fingerprint}, which is replica "
                    f"{twin.base_replica} in {paths[earlier]}: one base counts once; make the run on its own base again"
                )
        if record.precision != records[0].precision:
            raise AtlasError(
                f"{path}: made with precision {record.precision}, but {paths[0]} with {records[0].precision}; runs of "
                "unlike precision are in no table together, so make both with one study"
            )
        for key in WITHIN_ARM:
            _same(paths, records, first.setdefault(record.arm, index), index, key, f"arm {record.arm!r} is mixed")
    _same_frozen(paths, records)
    _same_replica(paths, records)
    seen: dict[tuple[str, int], Path] = {}
    for path, record in zip(paths, records, strict=True):
        for seed in record.seeds:
            if other := seen.get((record.arm, seed)):
                raise AtlasError(f"{path}: seed {seed} of arm {record.arm!r} is in {other} too; leave one of them out")
            seen[record.arm, seed] = path
    _paired_seeds(paths, records)
    return Runs(tuple(folders), tuple(records))


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


def _same_frozen(paths: Sequence[Path], records: Sequence[RunRecord]) -> None:
    """Every run trained on its certified base, or on it with exactly the declared tensors changed, the same for all
    runs that declare the same roles for the same seeds of the same base."""
    first: dict[tuple[object, ...], int] = {}  # what a draw belongs to, to the first run that rests on it
    for index, (path, record) in enumerate(zip(paths, records, strict=True)):
        if problem := _strayed(record):
            raise AtlasError(f"{path}: {problem}; the figures are of another base, so delete the run and make it again")
        block = record.seeds[0] if record.reinit else None  # the base itself is the same for all blocks
        start = first.setdefault((record.base_replica, frozenset(record.reinit), block), index)
        if record.frozen.at_start != records[start].frozen.at_start:
            raise AtlasError(
                f"{path}: trained on weights {record.frozen.at_start}, but {paths[start]}, which declares the same "
                f"reinit {record.reinit} for the same seeds, on {records[start].frozen.at_start}; delete the older run "
                "and make it again"
            )


def _same_replica(paths: Sequence[Path], records: Sequence[RunRecord]) -> None:
    """Arms are paired by seed, so with a seed all of them are taught on the same base."""
    first: dict[int, int] = {}  # seed to the index of its first run
    for index, (path, record) in enumerate(zip(paths, records, strict=True)):
        for seed in record.seeds:
            other = first.setdefault(seed, index)
            if record.base_replica != records[other].base_replica:
                raise AtlasError(
                    f"{path}: seed {seed} is taught on replica {record.base_replica} of the base, but on replica "
                    f"{records[other].base_replica} in {paths[other]}; arms are compared seed by seed on one base, so "
                    "make both runs with one study"
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
        return f"frozen.at_start {relation} base_fingerprint {record.base_fingerprint}, but reinit is {record.reinit}"
    return None


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
    if (replicas := pc.unique(table["base_replica"]).to_pylist()) != [record.base_replica]:
        raise AtlasError(
            f"{path}: column 'base_replica' holds {replicas}, but run.json says {record.base_replica}; make the run "
            "again"
        )
    for name in table.column_names:
        column = table[name]
        if name not in MAY_BE_NULL and column.null_count:
            raise AtlasError(f"{path}: column {name!r} has {column.null_count} nulls; make the run again")
        if not pa.types.is_floating(column.type):
            continue
        if broken := int(pc.sum(pc.invert(pc.is_finite(column.drop_null()))).as_py() or 0):
            raise AtlasError(
                f"{path}: column {name!r} has {broken} values that are NaN or infinite; the training went astray "
                "(lower the recipe's learning rates) or the file is damaged (delete the run and make it again)"
            )
    keys = table.select(["seed", *key])
    if keys.group_by(keys.column_names).aggregate([]).num_rows != table.num_rows:
        raise AtlasError(f"{path}: several rows for one {', '.join(keys.column_names)}; make the run again")
