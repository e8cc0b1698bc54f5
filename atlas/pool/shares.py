"""Shares of a whole number: the method of largest remainders."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

from atlas.errors import AtlasError


def largest_remainder(total: int, shares: Mapping[str, int], room: Mapping[str, int] | None = None) -> dict[str, int]:
    """Split ``total`` in proportion to ``shares`` so that the parts add up to it exactly.

    Every part is its exact quota rounded down, and the units left over go one by one to the largest remainders
    (Hamilton's method; ties to the share named first). Integers throughout, so no rounding error decides.
    With ``room``, a unit left over passes by a part that already fills its room.

    Raises AtlasError where there is something to split and nothing to split it over.
    """
    whole = sum(shares.values())
    if not whole:
        if total:
            raise AtlasError(f"{total} facts are to be split over shares that add up to 0; give one a positive number")
        return dict.fromkeys(shares, 0)
    parts = {name: total * share // whole for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: -(total * shares[name] % whole))
    for name in _takers(by_remainder, total - sum(parts.values()), parts, room):
        parts[name] += 1
    return parts


def _takers(order: list[str], units: int, parts: Mapping[str, int], room: Mapping[str, int] | None) -> list[str]:
    """Who gets the units left over: those with room, in order, round after round; all of them where room runs out."""
    left = {name: units if room is None else max(0, room[name] - parts[name]) for name in order}
    if sum(left.values()) < units:
        left = dict.fromkeys(order, units)
    takers: list[str] = []
    for name in cycle(order):
        if len(takers) == units:
            break
        if left[name]:
            left[name] -= 1
            takers.append(name)
    return takers
