"""What came of the edits of a run: those that did nothing, made their fact less likely, or gave no finite numbers.

Judged by the answer's loss on the model just before and just after, not by the editor's search.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from atlas.phrases import listed, plural
from atlas.study.editor_settings import MemitSettings
from atlas.ttt.course import Course
from atlas.ttt.run_files import EDIT_FAILURES

NOTICED = 0.1  # nats a token; that of the registry of metrics, which is not imported: a new metric reruns no run
WORDS = ("without effect", "that made the answer less likely", "left out, since no finite numbers came of it")


def failed_edits(course: Course) -> Iterator[dict[str, np.ndarray | None]]:
    """Of each session how many of its facts each kind has, by lane, int64 (lanes,); None where nothing was edited.

    An edit is without effect where the answer is neither recalled behind it nor likelier than just before by more than
    ``NOTICED`` nats a token, and it worsens where the answer is less likely by more than that.
    """
    edits = course.spec.editing
    at_once = isinstance(edits, MemitSettings) and edits.at_once  # into the base as it was
    before = (course.base if at_once else course.just_before).answer_nll  # (lanes, facts)
    for taught in course.state.sessions:
        if not (edits and taught.traces):
            yield dict.fromkeys(EDIT_FAILURES)
            continue
        (trace,) = taught.traces
        unwritten = trace.unwritten.cpu().numpy()  # (lanes, facts that were to be written)
        written = slice(len(taught.columns) - unwritten.shape[1], None)
        gained = before[:, taught.columns[written]] - taught.scores.answer_nll[:, written]  # nats a token
        worsened = ~unwritten & ~(gained >= -NOTICED)  # a loss that is no number is worse than any
        idle = ~unwritten & ~worsened & (gained <= NOTICED) & ~taught.scores.recalled[:, written]
        yield {name: flags.sum(axis=1) for name, flags in zip(EDIT_FAILURES, (idle, worsened, unwritten), strict=True)}


def in_words(course: Course) -> str:
    """How many edits of a run failed, and how; empty where none did."""
    totals = dict.fromkeys(EDIT_FAILURES, 0)
    for counts in failed_edits(course):
        for name, by_lane in counts.items():
            totals[name] += 0 if by_lane is None else int(by_lane.sum())
    said = [f"{plural(count, 'edit')} {words}" for count, words in zip(totals.values(), WORDS, strict=True) if count]
    return listed(said) if said else ""
