"""The arms: where the adapters sit and how many parameters they have."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from atlas.tables import table_step
from atlas.tables.columns import ARMS
from atlas.tables.runs import Runs
from atlas.ttt.run_files import RunRecord


def table(runs: Runs) -> pa.Table:
    """One row an arm, in the order of the runs."""
    return table_step.as_table(
        [described(runs.first(arm)) | {"bases": runs.bases(runs.seeds)} for arm in runs.arms], ARMS
    )


def described(record: RunRecord) -> dict[str, Any]:
    """An arm as a row of the table."""
    # parameters of the taught model: adapters come on top of the base's, whole matrices are among them
    whole = record.base_params + (record.trainable_params if record.method == "lora" else 0)
    return {
        "arm": record.arm,
        "method": record.method,
        "targets": ",".join(record.targets),
        # one number where all layers agree
        "ranks": ",".join(map(str, record.ranks if len(set(record.ranks)) > 1 else record.ranks[:1])),
        "reinit": ",".join(record.reinit),
        "recipe": record.recipe.preset,
        "trainable_params": record.trainable_params,
        "base_params": record.base_params,
        "share": record.trainable_params / whole,
    }


if __name__ == "__main__":
    table_step.step("atlas.tables.arms", __doc__, table)
