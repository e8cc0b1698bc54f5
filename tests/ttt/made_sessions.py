"""Sessions for tests: lines of unlike lengths, so that lanes are uneven."""

import numpy as np
import torch

from atlas.ttt.engine.lines import ItemTable, Line, line
from atlas.ttt.session import Estimates, Session

CPU = torch.device("cpu")


def taught(lane: int, count: int, word: str) -> list[Line]:
    return [
        line(f"The {word} of {'far ' * ((i + lane) % 4)}gate {i}{lane} is", f"{word[0]}{i}", "t") for i in range(count)
    ]


def draw(lane: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([lane, len(purpose), ord(purpose[0])])


def made_session(old: list[list[Line]], new: list[list[Line]], losses=None, device=CPU) -> Session:
    """A session that teaches ``new`` behind ``old``, whose ``losses`` (lanes, stored) are known."""
    items = [[*before, *now] for before, now in zip(old, new, strict=True)]
    table = ItemTable.of(items, device)
    estimates = Estimates.none(table)
    if losses is not None:
        estimates.losses[:, : len(old[0])] = torch.as_tensor(losses, device=device)
    return Session(table, len(old[0]), len(new[0]), estimates, draw)
