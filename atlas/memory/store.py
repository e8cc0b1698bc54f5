"""A memory on disk: what it was taught, when, how and on which base, and the state that teaching goes on from.

``memory.json`` says all that can be read, and names the file of the state. A change writes a state beside the one that
is there, then a new memory.json in the place of the old one: a process that is killed leaves the memory as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, ValidationError
from safetensors.numpy import load, save

from atlas.errors import AtlasError
from atlas.memory.foundation import Foundation
from atlas.pool.facts import Fact
from atlas.study.recipes import Recipe
from atlas.study.settings import Count, Positive, Roles, Settings, explain
from atlas.ttt.resume import packed, unpacked
from atlas.ttt.session import Estimates, Learner
from atlas.workflow import files
from atlas.workflow.steps import now

RECORD = "memory.json"
STATES = "state-{}.safetensors"


class Manner(Settings):
    """How a memory is taught, from its first session to its last: as one lane of a study's arm."""

    targets: Roles
    ranks: list[int]
    alpha: float
    recipe: Recipe
    seed: int
    base_seed: int


class Gone(Settings):
    """Why a fact is no longer rehearsed, tested or counted, and since when."""

    why: Literal["forgotten", "replaced"]
    sessions: Count
    when: str


class KeptFact(Settings):
    """A fact that was taught.

    ``turns`` has the sessions after which it was recalled and, in turn, no longer recalled: none of a fact that never
    was, [2, 5] of one that was from session 2 on and got lost in session 5.
    """

    fact: Fact
    session: Positive
    turns: list[Positive] = Field([])
    gone: Gone | None = None

    @property
    def recalled(self) -> bool:
        """Whether it was after the last session."""
        return len(self.turns) % 2 == 1

    @property
    def lost_since(self) -> int | None:
        """The session that lost it; None where it is recalled, or never was."""
        return self.turns[-1] if self.turns and not self.recalled else None

    def after(self, session: int, recalled: bool) -> KeptFact:
        """The same, with what a session left of it."""
        return self if recalled == self.recalled else self.model_copy(update={"turns": [*self.turns, session]})


class PastSession(Settings):
    """A session that was taught, with what taught it."""

    finished: str
    seconds: float
    fact_ids: list[str]
    steps: Count
    recalled: Count
    known: Positive
    code: str
    versions: dict[str, str]


class MemoryRecord(Settings):
    """Content of memory.json."""

    foundation: Foundation
    manner: Manner
    facts: list[KeptFact] = Field([])
    sessions: list[PastSession] = Field([])
    state: str = ""
    state_sha256: str = ""
    changes: Count = 0

    @property
    def kept(self) -> list[KeptFact]:
        """The facts that are rehearsed and counted, in the order of teaching."""
        return [fact for fact in self.facts if fact.gone is None]

    def named(self, name: str) -> KeptFact | None:
        """A fact that is kept, by its fact_id or its prompt."""
        return next((one for one in self.kept if name in (one.fact.fact_id, one.fact.prompt)), None)


@dataclass
class State:
    """What teaching goes on from: what one lane learnt, and what is known of the losses of the facts that are kept."""

    learner: Learner
    estimates: Estimates


def without(
    record: MemoryRecord,
    state: State,
    facts: Sequence[KeptFact],
    why: Literal["forgotten", "replaced"],
    phrasings: int,
) -> tuple[MemoryRecord, State]:
    """A memory and its state without some of the facts that it keeps, each in so many phrasings; noted as gone."""
    leaving = {one.fact.fact_id for one in facts}
    gone = Gone(why=why, sessions=len(record.sessions), when=now())
    marked = [
        one.model_copy(update={"gone": gone}) if one.gone is None and one.fact.fact_id in leaving else one
        for one in record.facts
    ]
    stays = torch.tensor([one.fact.fact_id not in leaving for one in record.kept], dtype=torch.bool)
    items = stays.repeat_interleave(phrasings).to(state.estimates.losses.device)
    estimates = Estimates(state.estimates.losses[:, items], state.estimates.measured[:, items])
    return record.model_copy(update={"facts": marked}), State(state.learner, estimates)


def read(folder: Path) -> MemoryRecord:
    """What the memory in a folder says of itself. AtlasError where there is none, or it is damaged."""
    path = folder / RECORD
    if not path.is_file():
        raise AtlasError(f"{folder}: no memory is there ({RECORD}); name the folder that `atlas teach` wrote")
    try:
        return MemoryRecord.model_validate_json(files.read_text(path))
    except ValidationError as error:
        raise AtlasError(f"{path}: {explain(error)}; put back a copy of the whole folder") from None


def read_state(folder: Path, device: torch.device) -> tuple[MemoryRecord, State]:
    """The memory in a folder with its state, its tensors on a device. AtlasError as of ``read``."""
    record = read(folder)
    path = folder / record.state
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if read(folder) != record:  # it was taught meanwhile
            return read_state(folder, device)
        raise AtlasError(
            f"{path}: no such file, but {folder / RECORD} names it; put back a copy of the folder"
        ) from None
    if hashlib.sha256(data).hexdigest() != record.state_sha256:
        raise AtlasError(
            f"{path}: damaged, its checksum is not that of {folder / RECORD}; put back a copy of the folder"
        )
    state: State = unpacked(State, load(data), device=device)
    return record, state


def write(folder: Path, record: MemoryRecord, state: State) -> MemoryRecord:
    """Publish a change of a memory, and return the record as it is now on disk."""
    name = STATES.format(record.changes + 1)
    data = save(packed(state))
    sha256 = hashlib.sha256(data).hexdigest()
    new = record.model_copy(update={"state": name, "state_sha256": sha256, "changes": record.changes + 1})
    with files.whole(folder / name) as scratch:
        scratch.write_bytes(data)
    files.write_json(folder / RECORD, new.model_dump(mode="json"))
    for old in folder.glob(STATES.format("*")):
        if old.name != name:
            old.unlink(missing_ok=True)
    return new
