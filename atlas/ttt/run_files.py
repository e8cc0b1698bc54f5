"""What a run leaves behind, its columns and its record: written by ``ttt``, checked when ``tables`` reads it.

A run is one arm and one block of seeds, in ``results/ttt/{arm}/{block}/``. This module imports no torch,
so that reading results costs nothing that training needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pyarrow as pa
from pydantic import Field, FiniteFloat, ValidationError, model_validator

from atlas.errors import AtlasError
from atlas.pool.facts import FURTHER
from atlas.study.editor_settings import MemitSettings
from atlas.study.jobs import KeySource, Precision
from atlas.study.methods import HowTaught
from atlas.study.recipes import Recipe
from atlas.study.settings import Count, Role, Settings, explain
from atlas.workflow import files

PROBES = ("taught", "rephrase", "placebo", *FURTHER)
EDIT_FAILURES = ("without_effect", "worsened", "unwritten")
"""What may come of writing a fact, see ``atlas.ttt.edit_outcomes``."""

FACTS = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int32()),
        ("base_replica", pa.int32()),  # which of the study's bases was taught, from 1
        ("sessions", pa.int32()),  # how many sessions were taught when this was measured
        ("probe", pa.string()),  # one of PROBES
        ("fact_id", pa.string()),
        ("form", pa.int32()),  # 0 as taught, paraphrases from 1, then the further questions beside the fact
        ("domain", pa.string()),
        ("session_taught", pa.int32()),  # null for placebo facts
        ("nll_base", pa.float32()),  # nats per token of the sentence, base without adapter
        ("nll", pa.float32()),  # the same with the adapter
        ("answer_nll_base", pa.float32()),  # nats per token of answer and line end
        ("answer_nll", pa.float32()),
        ("recognised", pa.bool_()),
        ("recalled", pa.bool_()),  # ``decoded`` is the answer or an alias
        ("associated", pa.bool_()),  # the answer is likelier than every alternative; null where there is none
        ("alternatives", pa.int32()),  # other answers that the seed was taught in the same template; 0 beside a fact
        ("decoded", pa.string()),  # what greedy decoding gives before its line end, or until it is broken off
        ("recalled_base", pa.bool_()),
        ("answered", pa.bool_()),  # greedy decoding gives the answer or an alias first, whatever comes behind
        ("answered_base", pa.bool_()),
        ("contradicts", pa.bool_()),  # the answer that the fact is taught with is another one than the base gives
    ]
)
"""facts.parquet: one row per (seed, checkpoint, probe, fact, form)."""

MATRIX = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int32()),
        ("base_replica", pa.int32()),
        ("session", pa.int32()),
        ("fact_id", pa.string()),
        ("session_taught", pa.int32()),
        ("nll_base", pa.float32()),
        ("nll", pa.float32()),
        ("recalled", pa.bool_()),
        ("nll_before", pa.float32()),  # just before the fact was taught, under the adapter of that time
        ("recalled_before", pa.bool_()),
    ]
)
"""matrix.parquet: one row per (seed, session, fact measured then), see ``atlas.study.jobs.Probes.matrix``."""

SESSIONS = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int32()),
        ("base_replica", pa.int32()),
        ("session", pa.int32()),
        ("phase", pa.string()),  # of the recipe, in its order; "none" where it has none
        ("steps", pa.int32()),
        ("characters", pa.int64()),  # tokens that the loss was taken over, each as often as it was
        ("loss_first", pa.float32()),  # nats per token of the first step's facts, before it; null without steps
        ("loss_last", pa.float32()),
        ("lr", pa.float32()),  # at its peak; null without steps
        ("adapter_norm", pa.float32()),  # after the session
        # of the session, all lanes and cores together; of the clock on a GPU
        ("seconds_train", pa.float32()),  # with what the recipe measures for its own choices
        ("seconds_score", pa.float32()),  # of the facts that matrix.parquet has
        # facts that an editor wrote by what came of it, all of them up to now where it wrote them at once; else null
        *((name, pa.int32()) for name in EDIT_FAILURES),
    ]
)
"""sessions.parquet: one row per (seed, session, phase)."""


class ValLoss(Settings):
    """Loss on the validation text, nats per character: what teaching cost the base."""

    seed: int
    sessions: Annotated[int, Field(gt=0)]
    base: FiniteFloat = Field(description="of the base that the run used, without adapter")
    adapted: FiniteFloat = Field(description="with the adapter")


class Growth(Settings):
    """How far the matrices that are taught have gone from the base's, all of them together, in Frobenius norms."""

    seed: int
    sessions: Annotated[int, Field(gt=0)]
    size: FiniteFloat = Field(description="length of the update in lengths of the base's matrices")
    growth: FiniteFloat = Field(description="by what share the matrices have grown")


class Host(Settings):
    """The machine of a run."""

    name: str
    machine: str
    processor: str = ""  # of records before it was told
    system: str


class Frozen(Settings):
    """The weights under the adapters as the run had them in memory: what it really trained on."""

    at_start: str = Field(description="fingerprint before the first step, after any reinit")
    at_end: str = Field(description="fingerprint after the last step")
    declared: list[str] = Field(description="tensors that the arm's reinit changes on purpose")
    changed: list[str] = Field(description="tensors that differ from the certified base, found by comparing all")


class LeftAlone(Settings):
    """The text whose keys an editor leaves alone."""

    tokens: Annotated[int, Field(gt=0)]
    source: KeySource


class RunRecord(HowTaught):
    """run.json: what was run, on what, with which code."""

    arm: str
    seeds: list[int] = Field(min_length=1)
    base_replica: Annotated[int, Field(gt=0)] = Field(1, description="which of the study's bases was taught")
    targets: list[Role]
    ranks: list[int] = Field(description="layer by layer")
    trainable_params: Count = Field(description="of one seed: of its adapters, or of the matrices that change")
    base_params: Annotated[int, Field(gt=0)]
    base_fingerprint: str = Field(description="of the certified base, before any reinit that the arm asks for")
    frozen: Frozen
    code_digest: str
    recipe: Recipe = Field(description="without phases where an editor teaches")
    reinit: list[Role] = Field(description="roles left at a fresh initialisation on purpose")
    left_alone: LeftAlone | None = Field(None, description="by the editor; null where a recipe trains")
    precision: Precision = Field("float32", description="of the products with frozen matrices")
    start: str | None = Field(None, description="SHA-256 of the adapter that all lanes began with; null: fresh ones")
    val_loss: list[ValLoss]
    growth: list[Growth] = Field(
        [], description="at each checkpoint, seed by seed; none in runs of before it was noted"
    )
    seconds: Annotated[float, Field(ge=0)] = Field(
        description="wall time of all seeds together, of killed processes up to the state that they saved"
    )
    threads: Annotated[int, Field(gt=0)] = Field(1, description="processor threads that shared the work")
    resumed_after: list[Count] = Field([], description="sessions after which a process took over from a killed one")
    versions: dict[str, str]
    host: Host
    started: str
    finished: str

    @property
    def teaches(self) -> bool:
        """Whether facts are taught at all; if not, the arm is a control."""
        return self.edits or bool(self.recipe.active)

    @property
    def at_once(self) -> bool:
        """Whether all facts are written in one edit at each checkpoint, and none between them."""
        return isinstance(self.editing, MemitSettings) and self.editing.at_once

    @model_validator(mode="after")
    def _val_loss_of_own_seeds(self) -> RunRecord:
        if strangers := sorted({entry.seed for entry in self.val_loss} ^ set(self.seeds)):
            raise ValueError(f"val_loss and seeds disagree about seed {strangers[0]}")
        return self


def read_record(path: Path | str) -> RunRecord:
    """Read a run.json. Raises AtlasError that names the file and the key that is missing or wrong."""
    try:
        return RunRecord.model_validate(files.read_json(path))
    except ValidationError as error:
        raise AtlasError(f"{path}: {explain(error)}; delete the run's folder and run again to remake it") from None
