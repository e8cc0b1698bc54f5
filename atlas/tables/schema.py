"""Columns of the tables, as their readers check them. Shares, rates and intervals are fractions of 1."""

from __future__ import annotations

import pyarrow as pa

_INTERVAL = [
    ("value", pa.float64()),  # mean over seeds of each seed's mean
    ("ci_low", pa.float64()),  # 95% interval; null where one seed cannot give any
    ("ci_high", pa.float64()),
]

ARMS = pa.schema(
    [
        ("arm", pa.string()),
        ("targets", pa.string()),  # "q,v"
        ("ranks", pa.string()),  # "32" where all layers agree, else layer by layer: "4,32,32,4"
        ("reinit", pa.string()),  # roles of the base left at a fresh initialisation; empty for most arms
        ("trainable_params", pa.int64()),
        ("base_params", pa.int64()),
        ("share", pa.float64()),  # trainable / (base + trainable)
    ]
)

RETENTION = pa.schema(
    [
        ("arm", pa.string()),
        ("sessions", pa.int32()),
        ("probe", pa.string()),  # taught, rephrase, placebo
        ("metric", pa.string()),  # recall, ranked, recognition, recognition_net
        ("domain", pa.string()),  # a domain, or "all"
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),  # facts of a seed (the mean, rounded, where seeds differ)
        ("n_tests", pa.int64()),  # facts of all seeds together
        *_INTERVAL,
    ]
)

ABLATIONS = pa.schema(
    [
        *RETENTION,
        ("reference", pa.string()),  # the arm that this one varies; itself for a reference
        ("variant", pa.string()),  # what the recipe is called; the preset for a reference
    ]
)

CURVE = pa.schema(
    [
        ("arm", pa.string()),
        ("session", pa.int32()),
        ("metric", pa.string()),  # recall, recognition; over all facts taught so far
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),
        *_INTERVAL,
    ]
)

MATRIX = pa.schema(
    [
        ("arm", pa.string()),
        ("session", pa.int32()),
        ("session_taught", pa.int32()),  # up to session; a fact's age is session - session_taught
        ("metric", pa.string()),
        ("n", pa.int64()),  # facts of all seeds together
        ("value", pa.float64()),
    ]
)

HARM = pa.schema(
    [
        ("arm", pa.string()),
        ("sessions", pa.int32()),
        ("n_seeds", pa.int32()),
        ("val_loss_base", pa.float64()),  # nats per character
        ("val_loss", pa.float64()),
        ("rise", pa.float64()),  # val_loss - val_loss_base; the interval is of this
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
    ]
)
