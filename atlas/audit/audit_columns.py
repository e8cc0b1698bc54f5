"""Columns of the guard's tables, as their readers check them."""

from __future__ import annotations

import pyarrow as pa

LEVELS = ("file", "text", "manifest")
"""What verification has at hand: the checkpoint and its config; a text, too; its manifest, too."""

_FAILED = [
    ("failed_file", pa.string()),  # names of the checks that failed, comma and space between; empty: none
    ("failed_text", pa.string()),  # each level includes those before it
    ("failed_manifest", pa.string()),
]

HONEST = pa.schema(
    [
        ("architecture", pa.string()),  # atlas, or one of atlas.audit.outsiders
        ("dtype", pa.string()),  # of the file
        ("shape", pa.int32()),  # place in guard.models; null of other projects' architectures
        ("seed", pa.int32()),
        ("step", pa.int32()),
        ("val_loss", pa.float64()),  # nats per character
        *_FAILED,
    ]
)

DETECTION = pa.schema(
    [
        ("subject", pa.string()),  # base: the study's own; small: a short honest training
        ("family", pa.string()),
        ("kind", pa.string()),
        ("module", pa.string()),  # what the damage was done to
        ("harmless", pa.bool_()),  # by mathematics: the function stays what it was
        ("unknowable", pa.bool_()),  # honest weights, or within rounding: nothing but the manifest can tell
        ("loads", pa.bool_()),  # whether a strict loader takes it at all
        ("rise", pa.float64()),  # of the validation loss, nats per character; null where it does not load
        ("logit_change", pa.float64()),  # largest; null where it does not load
        *_FAILED,
    ]
)
