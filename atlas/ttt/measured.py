"""What a base makes of all that may be asked, before any teaching: measured once, whatever is taught to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from atlas.base.checkpoint import Manifest
from atlas.base.language import validation_loss
from atlas.errors import AtlasError
from atlas.pool.facts import TAUGHT, TRUE_FORM, Fact
from atlas.study.jobs import MeasureSpec
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.scoring import Scores, passes
from atlas.ttt.probes import END, Probe, Prober, note, room
from atlas.workflow import files

MEASURED = pa.schema(
    [
        ("fact_id", pa.string()),
        ("form", pa.int32()),  # as in facts.parquet; -1: as taught, for the true answer
        ("nll", pa.float32()),  # nats per token of the sentence
        ("answer_nll", pa.float32()),  # nats per token of answer and line end
        ("recalled", pa.bool_()),
        ("answered", pa.bool_()),
        ("worst", pa.float32()),  # nats of the answer's least likely token
        ("decoded", pa.list_(pa.int32())),  # tokens of greedy decoding, its line end included
    ]
)
"""base-REPLICA.parquet: one row per (fact, phrasing that may be asked)."""
SCORES = ("nll", "answer_nll", "recalled", "answered", "worst")


@dataclass(frozen=True)
class Measured:
    """What a base made of phrasings of facts.

    Attributes:
        rows: the place of each phrasing, by fact_id and form.
        scores: every array (phrasings,).
        decoded: int64, (phrasings, longest): tokens behind the prompt up to a line end, then END.
        val_loss: on the validation text, nats per character.
    """

    rows: Mapping[tuple[str, int], int]
    scores: Scores
    decoded: np.ndarray
    val_loss: float

    def places(self, asked: Sequence[Sequence[tuple[str, int]]]) -> np.ndarray:
        """Where phrasings are, by fact_id and form, int64 (lanes, phrasings); lanes of fewer are filled up with 0."""
        found = np.zeros((len(asked), max(map(len, asked))), np.int64)
        for row, lane in zip(found, asked, strict=True):
            row[: len(lane)] = [self.rows[key] for key in lane]
        return found

    def of(self, lanes: Sequence[Sequence[Probe]]) -> np.ndarray:
        """Where the phrasings of probes are, int64 (lanes, probes)."""
        return self.places([[(probe.fact.fact_id, probe.form) for probe in lane] for lane in lanes])

    def contradicted(self, fact: Fact) -> bool:
        """Whether a fact to be taught has another answer than the base gives, which was true before."""
        if fact.role != TAUGHT or fact.true_answer is None:
            return False
        return bool(self.scores.answered[self.rows[fact.fact_id, TRUE_FORM]] if fact.known is None else fact.known)

    def table(self) -> pa.Table:
        """The table, with the columns of ``MEASURED``."""
        fact_ids, forms = zip(*self.rows, strict=True)
        decoded = [row[row != END] for row in self.decoded]
        columns = [fact_ids, forms, *self.scores.all, decoded]
        return pa.table(
            [pa.array(values, kind.type) for values, kind in zip(columns, MEASURED, strict=True)], schema=MEASURED
        )


@torch.inference_mode()
def measure_base(
    model: LaneModel, prober: Prober, facts: Sequence[Fact], validation: np.ndarray, device: torch.device
) -> Measured:
    """Score the base on all that may be asked of some facts, decode, and take its loss on ``validation``, unsigned
    (tokens,). Nothing that was taught to the model counts."""
    asked = [(fact, form) for fact in facts for form in _forms(fact)]
    lines = [prober.phrasing(fact, form) for fact, form in asked]
    model.bind(None)
    found = room([lines])
    for forward in passes(model, [lines], device):
        note(forward, found)
    rows = {(fact.fact_id, form): row for row, (fact, form) in enumerate(asked)}
    scores = found.scores.at(np.arange(len(lines)))
    return Measured(rows, scores, found.decoded[0], validation_loss(model.model, validation))


def _forms(fact: Fact) -> tuple[int, ...]:
    """The forms of a fact that a run may ask, and that of its true answer, unless a base was asked for it before."""
    if fact.role != TAUGHT:
        return (0,)
    true = () if fact.true_answer is None or fact.known is not None else (TRUE_FORM,)
    return (0, *fact.held_out, *fact.further_forms, *true)


def decided_by(spec: MeasureSpec, manifest: Manifest, pool: Path, corpus: Path) -> dict[str, Any]:
    """What decides the numbers of a base, for the file's footer."""
    return {
        "base_fingerprint": manifest.fingerprint,
        "pool_sha256": files.sha256(pool),
        "corpus_sha256": files.sha256(corpus),
        **spec.model_dump(),
    }


def read_measured(path: Path, expected: Mapping[str, Any] | None = None) -> Measured:
    """Read base-REPLICA.parquet. Raises AtlasError where it is damaged, or was decided by other things than
    ``expected``."""
    table, said = files.read_parquet(path, MEASURED), files.provenance_of(path)
    remedy = "measure the base again with atlas.ttt.measure_base"
    if not isinstance(said.get("val_loss"), float):
        raise AtlasError(f"{path}: val_loss in its footer is {said.get('val_loss')!r}, expected a number; {remedy}")
    if odd := [
        f"{key} {said.get(key)}, expected {value}" for key, value in (expected or {}).items() if said.get(key) != value
    ]:
        raise AtlasError(f"{path}: measured with {'; '.join(odd)}; {remedy}")
    columns = {name: table.column(name) for name in MEASURED.names}
    rows = dict.fromkeys(zip(columns["fact_id"].to_pylist(), columns["form"].to_pylist(), strict=True))
    lists = columns["decoded"].to_pylist()
    decoded = np.full((len(lists), max(map(len, lists), default=0)), END)
    for row, tokens in zip(decoded, lists, strict=True):
        row[: len(tokens)] = tokens
    scores = Scores(*(columns[name].to_numpy() for name in SCORES))
    return Measured({key: row for row, key in enumerate(rows)}, scores, decoded, said["val_loss"])
