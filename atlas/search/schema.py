"""What the search leaves behind, as a schema. Imports no torch, so that reading costs nothing that training needs."""

from __future__ import annotations

import pyarrow as pa

TRIALS = pa.schema(
    [
        ("arm", pa.string()),
        ("candidate", pa.string()),
        ("rung", pa.int32()),  # from 0
        ("sessions", pa.int32()),
        ("seed", pa.int32()),
        ("recall", pa.float64()),  # of all facts taught, as taught; shares from 0 to 1
        ("ranked", pa.float64()),
        ("recognition", pa.float64()),
        ("recognition_placebo", pa.float64()),  # of facts never taught
        ("recall_rephrase", pa.float64()),  # of paraphrases that were not trained
        ("val_loss_base", pa.float64()),  # nats per character
        ("val_loss", pa.float64()),  # with the adapter
        ("characters", pa.int64()),  # trained, each as often as it was
        ("core_seconds", pa.float64()),  # of training, and of the scoring that it chooses by
        ("recipe", pa.string()),  # JSON; of an editor, its settings
    ]
)
"""trials.parquet: one row per (candidate, seed) that a rung tried."""
