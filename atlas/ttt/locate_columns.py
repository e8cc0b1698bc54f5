"""The columns of knockouts.parquet and slots.parquet, as their readers check them. Imports no torch."""

from __future__ import annotations

import pyarrow as pa

CHANGES = ("intact", "without", "only", "halved", "rotated")
"""What is done to an adapter: nothing; a unit is taken out; all else is taken out; the update of a slot is halved, or
turned at random."""

UNITS = ("all", "half", "layer", "role", "slot")
"""What it is done to: the whole adapter, attention or feed-forward, a layer (or group of layers), a role in all layers,
a role in one layer (or group)."""

HALVES = ("attention", "feed_forward")

_PLACE = [
    ("first_layer", pa.int32()),  # from 0; of a group of layers its first one; null where the unit is in all layers
    ("last_layer", pa.int32()),  # the same as first_layer, or of a group its last one
    ("role", pa.string()),
]
_RUN = [("arm", pa.string()), ("seed", pa.int32()), ("base_replica", pa.int32()), ("sessions", pa.int32())]

KNOCKOUTS = pa.schema(
    [
        *_RUN,
        ("change", pa.string()),  # one of CHANGES
        ("unit", pa.string()),  # one of UNITS
        *_PLACE,
        ("half", pa.string()),  # one of HALVES; null unless the unit is one
        ("probe", pa.string()),  # taught or placebo
        ("session_taught", pa.int32()),  # null for placebo
        ("facts", pa.int32()),  # that were asked
        ("recalled", pa.int32()),
        ("judged", pa.int32()),  # facts with an alternative whose association was measured
        ("associated", pa.int32()),
        ("base_loss_rise", pa.float64()),  # nats a token, over the base without an adapter; the same for all probes
    ]
)
"""knockouts.parquet: one row per (seed, change, unit, probe, session taught)."""

SLOTS = pa.schema(
    [
        *_RUN,
        *_PLACE,
        ("parameters", pa.int64()),  # of the adapter's two matrices
        ("norm", pa.float64()),  # Frobenius norm of what it adds to the matrix
        ("gradient_energy", pa.float64()),  # squared norm of the gradient of the base's loss on the taught answers
    ]
)
"""slots.parquet: one row per (seed, slot)."""
