"""Small phrases that the messages of every room are made of."""

from __future__ import annotations

from collections.abc import Iterable


def plural(number: int, one: str, many: str = "") -> str:
    """``1 seed``, ``1,520 facts``; where more than an s differs, say both: ``plural(n, "file is", "files are")``."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def listed(items: Iterable[object]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *head, last = map(str, items)
    return f"{', '.join(head)} and {last}" if head else last
