"""The arms: where the adapters sit and how many parameters they have."""

from __future__ import annotations

import pyarrow as pa

from atlas.tables import output
from atlas.tables.runs import Runs
from atlas.tables.schema import ARMS
from atlas.ttt.run_files import RunRecord
from atlas.workflow.steps import run_step


def table(runs: Runs) -> pa.Table:
    """One row an arm, in the order of the runs."""
    records = [runs.of(arm)[0] for arm in runs.arms]
    rows = [
        {
            "arm": record.arm,
            "method": record.method,
            "targets": ",".join(record.targets),
            "ranks": ranks_text(record.ranks),
            "reinit": ",".join(record.reinit),
            "recipe": record.recipe.preset,
            "trainable_params": record.trainable_params,
            "base_params": record.base_params,
            "share": record.trainable_params / _whole(record),
        }
        for record in records
    ]
    return output.as_table(rows, ARMS)


def _whole(record: RunRecord) -> int:
    """Parameters of the taught model: adapters come on top of the base's, whole matrices are among them."""
    return record.base_params + (record.trainable_params if record.method == "lora" else 0)


def ranks_text(ranks: list[int]) -> str:
    """One number where all layers agree, else layer by layer."""
    return str(ranks[0]) if len(set(ranks)) == 1 else ",".join(map(str, ranks))


def main() -> None:
    """Write arms.parquet for the runs given."""
    output.make("atlas.tables.arms", __doc__, table)


if __name__ == "__main__":
    run_step(main)
