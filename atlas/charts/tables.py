"""The tables as charts read them: checked against their schemas, missing values as NaN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from atlas.audit import audit_columns
from atlas.errors import AtlasError
from atlas.tables import columns
from atlas.ttt.editors import schema as editors
from atlas.workflow import files


@dataclass(frozen=True)
class Tables:
    """A folder of tables; each is read when asked for. AtlasError where one is missing, damaged or empty."""

    folder: Path
    order: tuple[str, ...] = ()

    @property
    def arms(self) -> pd.DataFrame:
        return self._read("arms", columns.ARMS)

    @property
    def retention(self) -> pd.DataFrame:
        return self._read("retention", columns.RETENTION)

    @property
    def curve(self) -> pd.DataFrame:
        return self._read("curve", columns.CURVE)

    @property
    def matrix(self) -> pd.DataFrame:
        return self._read("matrix", columns.MATRIX)

    @property
    def knowledge(self) -> pd.DataFrame:
        return self._read("knowledge", columns.KNOWLEDGE)

    @property
    def knowledge_contrasts(self) -> pd.DataFrame:
        """Empty where the study plans no contrast."""
        return self._read("knowledge_contrasts", columns.KNOWLEDGE_CONTRASTS, may_be_empty=True)

    @property
    def base_loss(self) -> pd.DataFrame:
        return self._read("base_loss", columns.BASE_LOSS)

    @property
    def ablations(self) -> pd.DataFrame:
        return self._read("ablations", columns.ABLATIONS)

    @property
    def contrasts(self) -> pd.DataFrame:
        return self._read("contrasts", columns.CONTRASTS)

    @property
    def continual(self) -> pd.DataFrame:
        return self._read("continual", columns.CONTINUAL)

    @property
    def controls(self) -> pd.DataFrame:
        """Empty where no arm of the study is untrained."""
        return self._read("controls", columns.CONTROLS, may_be_empty=True)

    @property
    def claims(self) -> pd.DataFrame:
        return self._read("claims", columns.CLAIMS)

    @property
    def confound(self) -> pd.DataFrame:
        return self._read("confound", columns.CONFOUND)

    @property
    def baselines(self) -> pd.DataFrame:
        return self._read("baselines", columns.BASELINES)

    @property
    def trace(self) -> pd.DataFrame:
        """Beside the runs, not the tables. Empty where the base knows nothing that could be traced."""
        return self._read("trace", editors.TRACE, may_be_empty=True)

    @property
    def trace_window(self) -> int:
        """Layers whose feed-forward or attention parts the trace put back together."""
        return int(files.provenance_of(self.folder / "trace.parquet").get("spec", {}).get("window") or 1)

    @property
    def speedrun(self) -> pd.DataFrame:
        return self._read("speedrun", columns.SPEEDRUN)

    @property
    def recipes(self) -> pd.DataFrame:
        """Of the search for recipes; its arms need not be arms of the study."""
        return self._read("recipes", columns.RECIPES)

    @property
    def capacity(self) -> pd.DataFrame:
        return self._read("capacity", columns.CAPACITY)

    @property
    def paraphrases(self) -> pd.DataFrame:
        return self._read("paraphrases", columns.PARAPHRASES)

    @property
    def variance(self) -> pd.DataFrame:
        return self._read("variance", columns.VARIANCE)

    @property
    def detection(self) -> pd.DataFrame:
        return self._read("detection", audit_columns.DETECTION)

    @property
    def false_alarms(self) -> pd.DataFrame:
        return self._read("false_alarms", audit_columns.HONEST)

    @property
    def names(self) -> list[str]:
        """Names of the arms in the order of the study: ``order``, or else as in the table of arms."""
        return list(self.order or self.arms["arm"])

    def has(self, name: str) -> bool:
        """Whether the study has a table of this name."""
        return (self.folder / f"{name}.parquet").is_file()

    def _read(self, name: str, columns: pa.Schema, may_be_empty: bool = False) -> pd.DataFrame:
        path = self.folder / f"{name}.parquet"
        frame: pd.DataFrame = files.read_parquet(path, columns).to_pandas()
        if frame.empty and not may_be_empty:
            raise AtlasError(f"{path}: no rows; expected at least one, so make it again from finished runs")
        return frame
