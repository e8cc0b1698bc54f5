"""Fetch the corpus: the complete works of Shakespeare, or a text file of one's own."""

from __future__ import annotations

from atlas.errors import AtlasError


def split(text: str, share: float) -> tuple[str, str]:
    """Split a text in two: for training, and the last ``share`` of it for validation.

    Raises AtlasError where either part would be empty.
    """
    cut = len(text) - round(len(text) * share)
    if not 0 < cut < len(text):
        raise AtlasError(
            f"corpus: {len(text)} characters cannot be split with base.validation {share}; give a longer text"
        )
    return text[:cut], text[cut:]
