"""An editor as the teacher of a course: a session is one call of ``edit`` for its facts, in every lane."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.study.editor_settings import Memit
from atlas.ttt.editors.covariance import read_moments
from atlas.ttt.editors.editor import Editor, Effort, State
from atlas.ttt.editors.make import make_editor
from atlas.ttt.inputs import Given
from atlas.ttt.session import Learner, Session, Trace

PHASE = "edit"


class Writer:
    """Writes the facts of each session by an editor.

    Args:
        streams: the facts of each lane, in the order of teaching.
        at_once: numbers of facts at which all facts so far are written into the base as it was, and between which
            nothing is; None: each session writes its own.
    """

    def __init__(self, editor: Editor, streams: Sequence[Sequence[Fact]], at_once: Collection[int] | None) -> None:
        self.editor, self.streams, self.at_once = editor, streams, at_once
        self.adapters, self.fresh = editor.edits, editor.state
        self.phases = {PHASE: editor.style.value.lr}

    def learner(self, theta: np.ndarray) -> Learner:
        """A learner that starts from ``theta``, float32 (lanes, parameters)."""
        return Learner(theta, [], np.zeros((len(theta), 0), np.float32), self.fresh.written)

    def teaches(self, facts: int) -> bool:
        """Whether facts are written by the session that ends with so many."""
        return self.at_once is None or facts in self.at_once

    def session(self, learner: Learner, session: Session) -> tuple[Learner, list[Trace], list[np.ndarray]]:
        """Write the facts of one session; ``learner`` is not changed."""
        end, nothing = session.stored + session.new, [np.arange(0)] * session.lanes
        if not self.teaches(end):
            return learner, [], nothing
        begin = session.stored if self.at_once is None else 0
        self.editor.state = State(learner.theta, learner.written) if self.at_once is None else self.fresh
        facts = [lane[begin:end] for lane in self.streams]
        trace = self._trace(self.editor.edit(facts), facts)
        after = Learner(self.editor.state.theta, [], learner.importance, self.editor.state.written)
        return after, [trace], nothing

    def _trace(self, effort: Effort, facts: Sequence[Sequence[Fact]]) -> Trace:
        """How the search for values went. A step's loss is taken over the answers, alone and behind the texts."""
        lines = 1 + len(self.editor.style.contexts)
        answers = np.array([sum(len(fact.answer) + 1 for fact in lane) for lane in facts])
        steps, characters = np.rint(effort.steps), np.rint(effort.steps * answers * lines)
        return Trace(np.stack([effort.first, effort.last]), steps.astype(np.int64), characters.astype(np.int64))


def editing(given: Given) -> Writer:
    """The editor that an arm asks for, on the model. AtlasError where it lacks the moments of the base's keys."""
    spec, inputs, settings = given.spec, given.inputs, given.spec.editing
    if settings is None:
        raise AtlasError(f"--spec: method {spec.method!r} has no editing; atlas.ttt.run is the step that trains")
    if inputs.moments is None:
        raise AtlasError("--moments: none given, but an editor needs them; make them with atlas.ttt.editors.covariance")
    moments = read_moments(inputs.moments, given.manifest.fingerprint)
    editor = make_editor(settings, given.model, moments, len(spec.seeds), spec.base_seed, str(inputs.pool))
    whole = isinstance(settings, Memit) and settings.at_once
    return Writer(editor, given.streams, {n * spec.facts_per_session for n in spec.checkpoints} if whole else None)
