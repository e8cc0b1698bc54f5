"""The columns of trace.parquet, as its readers check them. Imports no torch."""

from __future__ import annotations

import pyarrow as pa

KINDS = ("hidden", "mlp", "attention")
"""What causal tracing restores: a layer's whole output, or only what its feed-forward or attention adds to it."""

POSITIONS = ("subject_first", "subject_middle", "subject_last", "subject_after", "further", "prompt_last")
"""Where: tokens of the subject, the one behind it, further ones, and the one that the answer comes after."""

TRACE = pa.schema(
    [
        ("kind", pa.string()),  # one of KINDS
        ("layer", pa.int32()),  # from 0; of a window the one in its middle
        ("position", pa.string()),  # one of POSITIONS
        ("effect", pa.float64()),  # by how much restoring raises the answer's probability; mean over texts
        ("ci_low", pa.float64()),  # 95% interval over texts; null for fewer than two
        ("ci_high", pa.float64()),
        ("n", pa.int32()),  # texts that have such a position
        ("probability", pa.float64()),  # of the answer, the subject whole; mean over the same texts
        ("corrupted", pa.float64()),  # the same, with noise on the subject's embeddings
    ]
)
"""trace.parquet: one row per (kind, layer, position) that some text has."""
