"""Named random draws: every draw in Atlas comes from a key such as (base seed, seed, session, purpose).

Two arms that ask for the same key get the same numbers, which is what makes the design paired.
"""

from __future__ import annotations

import hashlib

import numpy as np

Key = int | str


def rng(*key: Key) -> np.random.Generator:
    """Return a fresh generator for a key, for example ``rng(0, seed, session, "rehearsal")``.

    The key is hashed with SHA-256, so neighbouring keys are unrelated and the draws are the same on every machine.
    """
    text = "/".join(f"{type(part).__name__}:{part}" for part in key)
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
