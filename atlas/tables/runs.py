"""The runs that tables are made from: read once, checked, joined into one frame per kind of file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa

from atlas.tables import checks
from atlas.ttt.run_files import FACTS, MATRIX, SESSIONS, RunRecord, read_record
from atlas.workflow import files


@dataclass(frozen=True)
class Runs:
    """Runs that may be compared with each other; the files behind them are read when first asked for."""

    folders: tuple[Path, ...]
    records: tuple[RunRecord, ...]

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the order that the runs were given in."""
        return list(dict.fromkeys(record.arm for record in self.records))

    @cached_property
    def facts(self) -> pd.DataFrame:
        """All rows of facts.parquet, see ``atlas.ttt.run_files.FACTS``; text columns are categories."""
        facts = self._joined("facts.parquet", FACTS, ("sessions", "probe", "fact_id", "form"))
        checks.same_facts(facts, self.folders, self.records)
        return facts

    @cached_property
    def matrix(self) -> pd.DataFrame:
        """All rows of matrix.parquet, see ``atlas.ttt.run_files.MATRIX``; text columns are categories."""
        return self._joined("matrix.parquet", MATRIX, ("session", "fact_id"))

    @cached_property
    def sessions(self) -> pd.DataFrame:
        """All rows of sessions.parquet, see ``atlas.ttt.run_files.SESSIONS``."""
        return self._joined("sessions.parquet", SESSIONS, ("session", "phase"))

    @cached_property
    def facts_per_session(self) -> int:
        """Facts that a session teaches, the same in all runs."""
        taught = self.facts[self.facts["probe"] == "taught"]
        facts = taught.groupby(["arm", "seed", "sessions"], observed=True)["fact_id"].nunique()
        return int(facts.iloc[0] // facts.index[0][-1])

    def of(self, arm: str) -> list[RunRecord]:
        """Records of one arm, a block each."""
        return [record for record in self.records if record.arm == arm]

    def folder(self, arm: str, seed: int) -> Path:
        """The run folder of one seed of an arm; StopIteration where there is none."""
        pairs = zip(self.folders, self.records, strict=True)
        return next(folder for folder, record in pairs if record.arm == arm and seed in record.seeds)

    def _joined(self, name: str, schema: pa.Schema, key: Sequence[str]) -> pd.DataFrame:
        tables = []
        for folder, record in zip(self.folders, self.records, strict=True):
            table = files.read_parquet(folder / name, schema).select(schema.names)
            checks.sound(folder / name, table, record, key)
            tables.append(table)
        return _frame(pa.concat_tables(tables), self.arms)


def read(folders: Sequence[Path]) -> Runs:
    """Read the records of all runs and check that the runs may be compared. Raises AtlasError naming the files."""
    records = tuple(read_record(folder / "run.json") for folder in folders)
    checks.comparable(folders, records)
    return Runs(tuple(folders), records)


def _frame(table: pa.Table, arms: Sequence[str]) -> pd.DataFrame:
    """To pandas, text as categories (grouping goes by code, not by string), arms in the order of the runs."""
    text = [field.name for field in table.schema if pa.types.is_string(field.type)]
    frame: pd.DataFrame = table.to_pandas(categories=text)
    frame["arm"] = pd.Categorical(frame["arm"].astype(str), categories=list(arms), ordered=True)
    return frame
