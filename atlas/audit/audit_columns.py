"""Columns of the guard's tables, as their readers check them."""

from __future__ import annotations

import pyarrow as pa

LEVELS = ("file", "text", "model", "manifest")
"""What verification has at hand: the checkpoint and its config; a text, too; the model in memory that should hold an
honest checkpoint; a manifest."""
HONEST_LEVELS = ("file", "text", "manifest")
"""The same for honest checkpoints, whose models in memory are what they should be."""


def _failed(levels: tuple[str, ...]) -> list[tuple[str, pa.DataType]]:
    """Names of the checks that failed, comma and space between; empty: none. Each level includes those before it."""
    return [(f"failed_{level}", pa.string()) for level in levels]


HONEST = pa.schema(
    [
        ("architecture", pa.string()),  # atlas, or one of atlas.audit.outsiders
        ("dtype", pa.string()),  # of the file
        ("shape", pa.int32()),  # place in guard.models; null of other projects' architectures
        ("seed", pa.int32()),
        ("step", pa.int32()),
        ("val_loss", pa.float64()),  # nats per character
        *_failed(HONEST_LEVELS),
    ]
)

DETECTION = pa.schema(
    [
        # base: the study's own; small: a short honest training; an architecture: one of `transformers`
        ("subject", pa.string()),
        ("family", pa.string()),
        ("kind", pa.string()),
        ("module", pa.string()),  # what the damage was done to
        ("harmless", pa.bool_()),  # by mathematics: the function stays what it was
        ("unknowable", pa.bool_()),  # honest weights, or within rounding: nothing but the manifest can tell
        ("loads", pa.bool_()),  # whether a strict loader takes it at all
        ("rise", pa.float64()),  # of the validation loss, nats per character; null where it does not load
        ("logit_change", pa.float64()),  # largest; null where it does not load
        *_failed(LEVELS),
    ]
)

VIEWS = pa.schema(
    [
        ("subject", pa.string()),  # as in DETECTION, or all
        ("family", pa.string()),  # as in DETECTION, or all
        ("damages", pa.int32()),
        ("felt", pa.int32()),  # that do not load, or raise the loss by over 0.02 nats, and are not honest in themselves
        ("changed", pa.int32()),  # that compute anything else
        *((f"seen_{level}", pa.int32()) for level in LEVELS),  # of those that are felt
        ("changed_seen_manifest", pa.int32()),  # of those that compute anything else
    ]
)

TOOLS = pa.schema(
    [
        ("subject", pa.string()),  # as in DETECTION; sound; adapter: a LoRA adapter of such a model
        ("family", pa.string()),
        ("kind", pa.string()),
        ("module", pa.string()),
        ("felt", pa.bool_()),  # does not load, or raises the loss by over 0.02 nats; null of adapters
        ("tool", pa.string()),
        ("version", pa.string()),
        (
            "verdict",
            pa.string(),
        ),  # error, warning, nothing
        ("said", pa.string()),  # first line
    ]
)
