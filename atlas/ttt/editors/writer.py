"""An editor as the teacher of a course: a session is one call of ``edit`` for its facts, in every lane."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.plugins.loading import EDITORS
from atlas.pool.facts import Fact
from atlas.study.editor_settings import AlphaEditSettings, LayeredSettings, MemitSettings, RomeSettings
from atlas.ttt.editors.covariance import read_moments
from atlas.ttt.editors.editor import Editor, EditorState, Ground
from atlas.ttt.editors.memit import AlphaEdit, Memit
from atlas.ttt.editors.rome import Rome
from atlas.ttt.editors.sampling import write_contexts
from atlas.ttt.inputs import Given
from atlas.ttt.plugged import class_of
from atlas.ttt.run_files import LeftAlone
from atlas.ttt.session import Learner, Session, Trace

PHASE = "edit"


def make_editor(
    settings: RomeSettings | LayeredSettings,
    model: LanguageModel,
    moments: Mapping[str, Tensor],
    lanes: int,
    base_seed: int,
    origin: str,
    kind: type[Editor] | None = None,
) -> Editor:
    """The editor that the settings ask for, or one of a plugin's kind; ``base_seed`` draws its random texts, the rest
    is of ``Ground``.

    Raises AtlasError where a layer does not exist.
    """
    ground = Ground(model, lanes, moments, write_contexts(model, settings.contexts, base_seed), origin)
    match settings:
        case _ if kind:
            return kind(settings, ground)
        case RomeSettings():
            return Rome(settings, ground)
        case MemitSettings():
            return Memit(settings, ground)
        case AlphaEditSettings():
            return AlphaEdit(settings, ground)
    raise TypeError(f"{type(settings).__name__} is of no editor of Atlas")


class Writer:
    """Writes the facts of each session by an editor.

    Args:
        streams: the facts of each lane, in the order of teaching.
        at_once: numbers of facts at which all facts so far are written into the base as it was, and between which
            nothing is; None: each session writes its own.
        left_alone: the text that the editor's moments are of.
    """

    def __init__(
        self,
        editor: Editor,
        streams: Sequence[Sequence[Fact]],
        at_once: Collection[int] | None,
        left_alone: LeftAlone,
    ) -> None:
        self.editor, self.streams, self.at_once, self.left_alone = editor, streams, at_once, left_alone
        self.adapters, self.fresh = editor.edits, editor.state
        self.phases = {PHASE: editor.settings.value.lr}

    def learner(self, theta: Tensor) -> Learner:
        """A learner that starts from ``theta``, float32 (lanes, parameters)."""
        return Learner(theta, [], theta.new_zeros(len(theta), 0), self.fresh.written)

    def teaches(self, facts: int) -> bool:
        """Whether facts are written by the session that ends with so many."""
        return self.at_once is None or facts in self.at_once

    def session(self, learner: Learner, session: Session) -> tuple[Learner, list[Trace]]:
        """Write the facts of one session; ``learner`` is not changed."""
        end = session.stored + session.new
        if not self.teaches(end):
            return learner, []
        begin = session.stored if self.at_once is None else 0
        self.editor.state = EditorState(learner.theta, learner.written) if self.at_once is None else self.fresh
        facts = [lane[begin:end] for lane in self.streams]
        effort = self.editor.edit(facts)
        # a step of the search takes its loss over the answers with their line ends, alone and behind each text
        lines = 1 + len(self.editor.contexts)
        answers = np.array([sum(len(fact.answer) + 1 for fact in lane) for lane in facts])
        counts = np.rint([effort.steps, effort.steps * answers * lines]).astype(np.int64)
        losses, unwritten = np.stack([effort.first, effort.last]), torch.from_numpy(effort.unwritten)
        steps, tokens = torch.from_numpy(counts)
        trace = Trace(torch.from_numpy(losses), steps, tokens, unwritten)
        state = self.editor.state
        return Learner(state.theta, [], learner.importance, state.written), [trace]


def editing(given: Given) -> Writer:
    """The editor that an arm asks for, on the model. AtlasError where it lacks the moments of the base's keys."""
    spec, inputs = given.spec, given.inputs
    kind, settings = class_of(spec, EDITORS) if spec.plugged else (None, spec.editing)
    if settings is None:
        raise AtlasError(f"--spec: method {spec.method!r} has no editing; atlas.ttt.run is the step that trains")
    if inputs.moments is None:
        raise AtlasError("--moments: none given, but an editor needs them; make them with atlas.ttt.editors.covariance")
    moments, left_alone = read_moments(inputs.moments, given.manifest.fingerprint)
    editor = make_editor(settings, given.model, moments, len(spec.seeds), spec.base_seed, str(inputs.pool), kind)
    whole = isinstance(settings, MemitSettings) and settings.at_once
    at_once = {n * spec.facts_per_session for n in spec.checkpoints} if whole else None
    return Writer(editor, given.streams, at_once, left_alone)
