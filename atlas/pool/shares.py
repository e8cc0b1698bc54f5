"""Shares of a whole number: the method of largest remainders."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

from atlas.errors import AtlasError


def largest_remainder(total: int, shares: Mapping[str, int], room: Mapping[str, int] | None = None) -> dict[str, int]:
    """Split ``total`` in proportion to ``shares`` so that the parts add up to it exactly.

    Every part is its exact quota rounded down, and the units left over go one by one to the largest remainders
    (Hamilton's method; ties to the share named first). Integers throughout, so no rounding error decides.
    With ``room``, a unit left over passes by a part that already fills its room, unless all do.

    Raises AtlasError where there is something to split and nothing to split it over.
    """
    whole = sum(shares.values())
    if not whole:
        if total:
            raise AtlasError(f"{total} facts are to be split over shares that add up to 0; give one a positive number")
        return dict.fromkeys(shares, 0)
    parts = {name: total * share // whole for name, share in shares.items()}
    units = total - sum(parts.values())
    takes = {name: units if room is None else max(0, room[name] - parts[name]) for name in shares}
    if sum(takes.values()) < units:
        takes = dict.fromkeys(shares, units)
    for name in cycle(sorted(shares, key=lambda name: -(total * shares[name] % whole))):
        if not units:
            break
        if takes[name]:
            parts[name], takes[name], units = parts[name] + 1, takes[name] - 1, units - 1
    return parts
