"""What is known of the losses of stored facts, and which facts are measured again after a session.

To choose the weakest facts exactly, all that was ever taught must be measured after every session, at a cost that grows
with the square of the sessions. Here a session measures a bounded number, and the choice goes by each fact's last
known loss: fresh for what was just trained, stale for the others, of which those that seem weakest and those that were
not looked at for longest are measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimates:
    """Last known losses of every lane's facts.

    Attributes:
        losses: float32, (lanes, facts); infinite where a fact was never measured.
        measured: int64, (lanes, facts): the tick at which each one was measured last, 0 for never. Ticks count
            measurements; those of a session all lie behind those of the sessions before it.
    """

    losses: np.ndarray
    measured: np.ndarray

    @classmethod
    def none(cls, lanes: int, facts: int) -> Estimates:
        """Nothing is known yet."""
        return cls(np.full((lanes, facts), np.inf, np.float32), np.zeros((lanes, facts), np.int64))

    def note(self, lane: int, columns: np.ndarray, losses: np.ndarray) -> None:
        """Take in what was found of a lane's facts ``columns``."""
        self.losses[lane, columns] = losses
        self.measured[lane, columns] = self.measured[lane].max() + 1

    def to_measure(
        self, known: int, scheduled: np.ndarray, rehearsed: Sequence[np.ndarray], budget: int | None
    ) -> np.ndarray:
        """Which facts to measure after a session.

        Args:
            known: facts taught so far, the first ones of each lane.
            scheduled: facts that are measured in any case, the same for all lanes.
            rehearsed: of each lane, the stored facts that the session trained again.
            budget: how many facts to measure beyond these; half of them seem the weakest, half were not measured for
                longest. None: all.

        Returns:
            int64, (lanes, measured), ``scheduled`` first.
        """
        count = known
        if budget is not None:
            count = min(known, len(scheduled) + max(map(len, rehearsed)) + budget)
        return np.stack([self._of_lane(i, known, scheduled, some, count) for i, some in enumerate(rehearsed)])

    def _of_lane(self, lane: int, known: int, scheduled: np.ndarray, rehearsed: np.ndarray, count: int) -> np.ndarray:
        chosen = np.concatenate([scheduled, np.setdiff1d(rehearsed, scheduled)])
        rest = np.setdiff1d(np.arange(known), chosen)
        weakest = rest[np.argsort(-self.losses[lane, rest], kind="stable")][: (count - len(chosen)) // 2]
        rest = np.setdiff1d(rest, weakest)
        oldest = rest[np.argsort(self.measured[lane, rest], kind="stable")]
        return np.concatenate([chosen, weakest, oldest])[:count]


def on_schedule(session: int) -> bool:
    """Whether all taught facts are measured after a session: four an octave, 1 to 8, then 10, 12, 14, 16, 20, 24, ...

    A pass over n facts then stands for n / 4 sessions or more, so what it costs a session does not grow.
    """
    return session % (1 << max(0, session.bit_length() - 3)) == 0
