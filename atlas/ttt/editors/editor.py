"""What all editors are: matrices of all lanes, facts that are written into them, and a state to go on from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from atlas.base.language import LanguageModel
from atlas.pool.facts import Fact
from atlas.study.editor_settings import LayeredSettings, RomeSettings, layers_of
from atlas.ttt.editors.passes import Tail, layer_of, watched
from atlas.ttt.editors.requests import Context, RequestBatch, in_passes, request
from atlas.ttt.editors.value_search import Found
from atlas.ttt.engine.full import Full


@dataclass(frozen=True)
class EditorState:
    """All that an editor goes on from; on its device."""

    theta: Tensor  # float32, (lanes, parameters): what was added to the edited matrices, see ``Full``
    written: Tensor
    """float32, (lanes, layers, in, in): sum of k k' over the keys of all facts written so far; (lanes, 0, 0, 0) where
    the editor does not look back."""


@dataclass(frozen=True)
class Effort:
    """The search for values of one call of ``edit``: means over each lane's facts, float32, (lanes,); nan for a lane
    without facts."""

    first: np.ndarray  # loss before the search, see ``value_search``
    last: np.ndarray  # loss after it
    steps: np.ndarray
    unwritten: np.ndarray
    """bool, (lanes, most facts of a lane): facts whose edit gave no finite numbers, so that it was left out."""

    @classmethod
    def of(cls, found: Sequence[Found], batches: Sequence[RequestBatch], unwritten: np.ndarray) -> Effort:
        """The lanes' means over the facts of some batches."""
        lanes = len(unwritten)
        owners = np.concatenate([np.arange(0), *(batch.lane_of_fact.cpu().numpy() for batch in batches)])
        each = [torch.stack([one.first, one.last, one.steps]).cpu().numpy() for one in found]  # (3, facts)
        rows = np.concatenate([np.zeros((3, 0), np.float32), *each], axis=1)
        sums, counts = [np.bincount(owners, row, lanes) for row in rows], np.bincount(owners, minlength=lanes)
        first, last, steps = (
            np.where(counts > 0, total / np.maximum(counts, 1), np.nan).astype(np.float32) for total in sums
        )
        return cls(first, last, steps, unwritten)


@dataclass(frozen=True)
class Ground:
    """What every editor works on."""

    model: LanguageModel  # the base, on its device
    lanes: int  # how many models are edited side by side
    moments: Mapping[str, Tensor]  # E[k k'] of the base's keys, float64 (in, in), by the paths of the `down` matrices
    contexts: Sequence[Context]  # random texts that stand in front of a sentence
    origin: str  # the pool's name, for errors


@dataclass(frozen=True)
class Reading:
    """What a pass showed of every token: inputs (tokens, in) and outputs (tokens, width) of each edited matrix, and
    ``hidden``, the residual stream behind the last one's layer, (tokens, width)."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    hidden: Tensor


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """X of ``matrix X = right``, which may have leading axes; nan where the matrix is singular."""
    found, wrong = torch.linalg.solve_ex(matrix, right)
    filled: Tensor = found.masked_fill((wrong != 0)[..., None, None], torch.nan)
    return filled


class Editor(ABC):
    """Writes facts into every lane's own copies of the matrices that the settings name; the model itself is frozen.

    Attributes:
        settings_class: what `editing:` of an arm may say where a plugin edits, with defaults for all of it.

    Raises AtlasError where a layer does not exist.
    """

    settings_class: ClassVar[type[LayeredSettings]] = LayeredSettings

    def __init__(self, settings: RomeSettings | LayeredSettings, ground: Ground) -> None:
        self.settings, self.contexts, self.origin = settings, ground.contexts, ground.origin
        self.edits = Full.attach(ground.model, ["down"], layers_of(settings))
        self.device = next(ground.model.parameters()).device
        theta = torch.zeros(ground.lanes, self.edits.parameters, device=self.device)
        self.state = EditorState(theta, theta.new_zeros(ground.lanes, 0, 0, 0))
        self.tail = Tail(ground.model, self.edits.slots[-1].site.layer)
        self.together: int | None = None  # facts of a lane that one edit writes; None: all of a session

    def edit(self, facts: Sequence[Sequence[Fact]]) -> Effort:
        """Write facts, lane by lane, and change ``state``. A lane may have none and then stays as it is.

        An edit after which a lane's weights or what they make of its facts are no finite numbers is left out in that
        lane: nothing that is taught later would come of it.

        Raises AtlasError where the site needs the subject of a fact that has none.
        """
        found: list[Found] = []
        asked: list[RequestBatch] = []
        most = max(map(len, facts), default=0)
        unwritten, size = np.zeros((len(facts), most), bool), self.together or max(most, 1)
        for begin in range(0, most, size):
            turn = slice(begin, begin + size)
            batches, before = self.batches([lane[turn] for lane in facts]), self.state
            after, searched = self.write(batches)
            sound = self._finite(after, batches)
            self.state = EditorState(
                torch.where(sound[:, None], after.theta, before.theta),
                torch.where(sound[:, None, None, None], after.written, before.written),
            )
            unwritten[:, turn] = ~sound.cpu().numpy()[:, None]
            found += searched
            asked += batches
        return Effort.of(found, asked, unwritten)

    @abstractmethod
    def write(self, batches: Sequence[RequestBatch]) -> tuple[EditorState, list[Found]]:
        """The state after one edit that writes the facts of all batches, and what was found for each batch."""

    @torch.no_grad()
    def _finite(self, state: EditorState, batches: Sequence[RequestBatch]) -> Tensor:
        """In which lanes a state is of finite numbers, and gives such for the facts of batches: bool (lanes,)."""
        sound = state.theta.isfinite().all(1) & state.written.flatten(1).isfinite().all(1)
        self.edits.bind(state.theta)
        for batch in batches:
            good = self.edits.logits(batch.lines).isfinite().all(1)
            sizes = torch.tensor(batch.lines.lanes, device=self.device)
            sound &= torch.segment_reduce(good.float(), "min", lengths=sizes, unsafe=True, initial=1.0) > 0
        return sound

    def batches(self, facts: Sequence[Sequence[Fact]]) -> list[RequestBatch]:
        """The requests for the facts of every lane, in batches of a pass each: lane after lane, in order."""
        site, text = self.settings.site, self.edits.model.text
        given = self.contexts, self.origin, text, self.edits.model.config.context
        lanes = [[request(fact, site, *given) for fact in lane] for lane in facts]
        return [RequestBatch.of(part, self.device) for part in in_passes(lanes, self.device)]

    @torch.no_grad()
    def read(self, theta: Tensor, batch: RequestBatch) -> Reading:
        """Run requests through the model with these edits, (lanes, parameters)."""
        self.edits.bind(theta)
        layer, matrices = layer_of(self.edits.model, self.tail.last), [slot.module for slot in self.edits.slots]
        with watched(dict(enumerate([*matrices, layer]))) as seen:
            self.edits.logits(batch.lines)
        *each, behind = seen.values()
        return Reading(tuple(one.into for one in each), tuple(one.out for one in each), behind.out)
