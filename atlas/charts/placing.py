"""What charts and sentences call the parts of an adapter, and which of them older facts need more than newer ones."""

from __future__ import annotations

import pandas as pd

from atlas.phrases import listed, plural
from atlas.tables.knockouts import ROLES
from atlas.tables.level import LEVEL, attainable
from atlas.tables.locate_by_age import NEWER, OLDER

ALL_LAYERS, ALL_ROLES = "all layers", "all"
NAMED = 2  # slots that a sentence names


def placed(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of parts with the names of their layers (``layers``), their role (``column``) and both (``place``).

    Where layers are grouped, they are named by their depth in tenths of the model, so that models of any depth compare.
    """
    depth = rows["last_layer"].max() + 1
    grouped = (rows["first_layer"] < rows["last_layer"]).any()
    first, last = rows["first_layer"], rows["last_layer"]
    names = {
        (a, b): f"{10 * a / depth:.2g} to {10 * (b + 1) / depth:.2g}" if grouped else f"layer {a:.0f}"
        for a, b in sorted(set(zip(first.dropna(), last.dropna(), strict=True)))
    }
    layers = [names.get(pair, ALL_LAYERS) for pair in zip(first, last, strict=True)]
    column = rows["role"].fillna(ALL_ROLES)
    depths = "depth " if grouped else ""
    place = [
        " ".join(filter(None, (f"{depths}{layer}" if layer != ALL_LAYERS else "", role if role != ALL_ROLES else "")))
        for layer, role in zip(layers, column, strict=True)
    ]
    return rows.assign(layers=layers, column=column, place=place)


def slots_of(rows: pd.DataFrame) -> list[str]:
    """Names of all slots, layer by layer, of rows of ``placed``."""
    slots = rows.dropna(subset=["first_layer", "role"]).drop_duplicates("place")
    role = slots["role"].map(ROLES.index)
    return list(slots.assign(at=role).sort_values(["first_layer", "at"], kind="stable")["place"])


def shifted(shifts: pd.DataFrame) -> str:
    """Which slots of an arm older facts need more, and which newer ones; how many, where they are many."""
    of = plural(len(shifts), "slot")
    slots = {words: list(shifts.loc[shifts["verdict"] == words, "place"]) for words in (OLDER, NEWER)}
    need = [
        f"{words} need {listed(names) if len(names) <= NAMED else f'{len(names)} of {of}'} more"
        for words, names in slots.items()
        if names
    ]
    if need:
        return ", ".join(need)
    if shifts.empty or attainable(int(shifts["n_seeds"].max())) >= LEVEL:
        return "too few seeds, sessions or slots to hold older facts against newer ones"
    return f"in none of {of} is a difference between older and newer facts decided"
