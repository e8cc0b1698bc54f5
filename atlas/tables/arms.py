"""The arms: where the adapters sit, how many parameters they have, what a session takes, how the rate was chosen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pyarrow as pa
from pydantic import Field

from atlas.study.settings import Name, Settings
from atlas.study.tuning import Tuned, in_words
from atlas.tables import table_step
from atlas.tables.columns import ARMS
from atlas.tables.effort import effort
from atlas.tables.runs import Runs
from atlas.ttt.run_files import RunRecord


class Tuning(Settings):
    """The part of the study that the arms are described by, beside their runs."""

    tuned: dict[Name, Tuned] = Field({}, description="arms that were tuned; the others were not")


def table(runs: Runs, tuning: Tuning | None = None) -> pa.Table:
    """One row an arm, in the order of the runs."""
    tuned = tuning.tuned if tuning else {}
    bases, rows = runs.bases(runs.seeds), []
    for arm in runs.arms:
        record = runs.first(arm)
        said = in_words(tuned.get(arm), record.recipe, record.edits)
        rows.append(described(record) | {"bases": bases} | asdict(effort(runs, arm)) | {"tuning": said})
    return table_step.as_table(rows, ARMS)


def described(record: RunRecord) -> dict[str, Any]:
    """What an arm is, as a row of a table."""
    # parameters of the taught model: adapters come on top of the base's, whole matrices are among them
    whole = record.base_params + (record.trainable_params if record.adapts else 0)
    return {
        "arm": record.arm,
        "method": record.method,
        "adapts": record.adapts,
        "targets": ",".join(record.targets),
        # one number where all layers agree
        "ranks": ",".join(map(str, record.ranks if len(set(record.ranks)) > 1 else record.ranks[:1])),
        "reinit": ",".join(record.reinit),
        "recipe": record.recipe.preset,
        "trainable_params": record.trainable_params,
        "base_params": record.base_params,
        "share": record.trainable_params / whole,
        "key_tokens": record.left_alone and record.left_alone.tokens,
        "key_source": record.left_alone and record.left_alone.source,
    }


if __name__ == "__main__":
    table_step.step("atlas.tables.arms", __doc__, table, Tuning)
