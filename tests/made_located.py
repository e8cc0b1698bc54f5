"""Knock-outs that nobody computed: files as locating an arm writes them, of facts planted in slots by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from atlas.draws import rng
from atlas.ttt.locate_columns import KNOCKOUTS, SLOTS
from atlas.ttt.run_files import RunRecord, read_record
from tests.synthetic import PLACEBO_FACTS, SyntheticArm, write_frame

Slot = tuple[int, int, str]  # first and last layer, role
Home = Callable[[int, int], Slot | None]
"""Seed and the session that taught a fact to the slot that it sits in; None: in all slots, so that each is needed."""

ATTENTION = ("q", "k", "v", "o")
FACTS = 3  # a session
RISE = 0.24  # in base loss, of all slots together

# one rank in two roles of each half, so that it has all that a real one has
EVERYWHERE = SyntheticArm(("q", "v", "up", "down"), ranks=(7,) * 4, recall=0.9, association=0.95)


@dataclass(frozen=True)
class Change:
    """What is done to which slots, as in a row of knockouts.parquet."""

    change: str
    unit: str
    place: dict[str, Any]
    slots: frozenset[Slot]

    def of(self, slot: Slot) -> float:
        """How much of a slot's content is left."""
        if self.change == "only":
            return float(slot in self.slots)
        return {"without": 0.0, "halved": 0.5, "rotated": 0.0}.get(self.change, 1.0) if slot in self.slots else 1.0


def planted(slot: Slot | None, before: Slot | None = None, until: int = 0) -> Home:
    """All facts in one slot, but those of the first ``until`` sessions in another."""
    return lambda _seed, session: before if session <= until else slot


def write_located(folder: Path, home: Home, groups: int | None = None) -> Path:
    """Write knockouts.parquet and slots.parquet into the folder of a run; layers are joined into ``groups``."""
    record = read_record(folder / "run.json")
    write_frame(folder / "knockouts.parquet", rows_of(record, home, groups), KNOCKOUTS)
    slots = slots_of(record, groups)
    shares = pd.DataFrame([row for seed in record.seeds for row in shares_of(seed, slots, home(seed, 1))])
    shares = shares.assign(arm=record.arm, base_replica=record.base_replica, sessions=last_of(record))
    write_frame(folder / "slots.parquet", shares, SLOTS)
    return folder


def rows_of(record: RunRecord, home: Home, groups: int | None = None) -> pd.DataFrame:
    """The rows of knockouts.parquet of a run."""
    last, slots = last_of(record), slots_of(record, groups)
    rows = pd.DataFrame([row for seed in record.seeds for row in knocked_out(seed, last, slots, home)])
    rows = rows.astype(dict.fromkeys(("first_layer", "last_layer", "session_taught"), "Int32"))
    return rows.assign(arm=record.arm, base_replica=record.base_replica, sessions=last)


def last_of(record: RunRecord) -> int:
    return max(loss.sessions for loss in record.val_loss)


def slots_of(record: RunRecord, groups: int | None) -> list[Slot]:
    """Every role in every layer or group of layers."""
    parts = np.array_split(np.arange(len(record.ranks)), groups or len(record.ranks))
    return [(int(part[0]), int(part[-1]), role) for part in parts for role in record.targets]


def changes(slots: Sequence[Slot]) -> Iterator[Change]:
    """All knock-outs of an adapter."""
    yield Change("intact", "all", {}, frozenset(slots))
    yield Change("without", "all", {}, frozenset(slots))
    halves = dict.fromkeys(half_of(role) for *_, role in slots)
    layers = dict.fromkeys(slot[:2] for slot in slots)
    roles = dict.fromkeys(role for *_, role in slots)
    kinds: list[tuple[str, list[dict[str, Any]]]] = [
        ("half", [{"half": half} for half in halves]),
        ("layer", [{"first_layer": first, "last_layer": last} for first, last in layers]),
        ("role", [{"role": role} for role in roles]),
        ("slot", [{"first_layer": first, "last_layer": last, "role": role} for first, last, role in slots]),
    ]
    parts = [(unit, place) for unit, places in kinds for place in places if unit == "slot" or len(places) > 1]
    for change in ("without", "only", "halved", "rotated"):
        for unit, place in parts:
            if unit == "slot" or change in ("without", "only"):
                yield Change(change, unit, place, frozenset(slot for slot in slots if within(slot, place)))


def half_of(role: str) -> str:
    return "attention" if role in ATTENTION else "feed_forward"


def within(slot: Slot, place: dict[str, Any]) -> bool:
    mine = {"first_layer": slot[0], "last_layer": slot[1], "role": slot[2], "half": half_of(slot[2])}
    return all(mine[name] == value for name, value in place.items())


def knocked_out(seed: int, last: int, slots: Sequence[Slot], home: Home) -> Iterator[dict[str, Any]]:
    """All rows of one seed: a fact that is recalled at all is recalled where its home is whole, and by chance where it
    is halved. Every third session has a fact without alternatives."""
    draws = rng("located", seed)
    known = draws.binomial(FACTS, 0.9, last + 1)
    for change in changes(slots):
        place = dict.fromkeys(("first_layer", "last_layer", "role", "half")) | change.place
        kept = float(np.mean([change.of(slot) for slot in slots]))
        about = {"seed": seed, "change": change.change, "unit": change.unit, **place, "base_loss_rise": RISE * kept}
        for session in range(1, last + 1):
            at = home(seed, session)
            left = change.of(at) if at else float(min(change.of(slot) for slot in slots))
            recalled = int(known[session]) if left == 1 else int(draws.binomial(known[session], left))
            judged = FACTS - (session % 3 == 0)
            counts = {"facts": FACTS, "recalled": recalled, "judged": judged, "associated": min(judged, recalled)}
            yield about | {"probe": "taught", "session_taught": session} | counts
        counts = {"facts": PLACEBO_FACTS, "recalled": 1, "judged": PLACEBO_FACTS, "associated": 20}
        yield about | {"probe": "placebo", "session_taught": None} | counts


def shares_of(seed: int, slots: Sequence[Slot], home: Slot | None) -> Iterator[dict[str, Any]]:
    """Slots of known norms, the one where facts sit the greatest; its gradient is as great as any."""
    for first, last, role in slots:
        yield {
            "seed": seed,
            "first_layer": first,
            "last_layer": last,
            "role": role,
            "parameters": (last - first + 1) * (256 if role in ATTENTION else 640) * 7,
            "norm": (2.0 if (first, last, role) == home else 1.0) + 0.01 * seed,
            "gradient_energy": 1.0,
        }
