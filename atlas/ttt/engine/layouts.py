"""Lines of all lanes as a batch: behind one another on a processor, in rows of one length on a GPU.

A processor saves what padding costs, and may ask how long lines are, or whether any lane goes on. On a GPU each such
question is a wait, so there nothing is asked: shapes follow from what the host knows anyway, and what need not be
computed is masked. This module alone knows the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from atlas.base.attention import pack, rows
from atlas.ttt.engine.lines import IGNORED, Batch, Padded
from atlas.ttt.engine.scoring import LOGITS_PER_PASS, TOKENS_PER_PASS, together
from atlas.ttt.engine.sharing import NO_TOKEN, shared


class Layout(Protocol):
    """How lines lie that run together."""

    def batch(self, lines: Padded, keep: Tensor, over: str) -> Batch:
        """The lines as a batch whose sums are (lanes * lines,).

        Args:
            keep: bool, (lanes, lines), False where what comes out of a line is not looked at.
            over: the tokens whose prediction is asked for: of the ``sentence``, or only of the ``answer``.
        """

    def passes(self, lines: Padded, keep: Tensor, symbols: int) -> Iterator[tuple[slice, Tensor]]:
        """Cut lines, of each lane the first ones ``keep``, into passes: columns, and which of their lines to keep."""

    def ended(self, running: Tensor) -> bool:
        """Whether no lane goes on, as far as it costs nothing to know."""


class PackedLines:
    """Lines behind one another, without padding and without those that are not kept; those of a lane that begin alike
    share what they begin with."""

    def batch(self, lines: Padded, keep: Tensor, over: str) -> Batch:
        real = lines.real & keep[..., None]
        answers = real & lines.answers
        asked = answers if over == "answer" else real
        lengths, counts = real.sum(-1), asked.sum(-1)  # (lanes, lines)
        sizes, ends = (part[keep].numpy() for part in (lengths, counts))
        read, predicted = lines.tokens[..., :-1], tuple(counts.sum(1).tolist())
        made = Batch(
            tokens=read[real],
            positions=torch.arange(lines.time).expand_as(real)[real],
            targets=lines.tokens[..., 1:][asked],
            outputs=torch.arange(sum(predicted)),
            answers=answers[asked],
            lengths=counts.flatten(),
            lanes=tuple(lengths.sum(1).tolist()),
            asked=predicted,
            predicted=predicted,
            packed=pack(sizes, read.device, asked=ends if over == "answer" else None),
        )
        return shared(made, read.where(real, NO_TOKEN)[keep].numpy(), keep.nonzero()[:, 0].numpy())

    def passes(self, lines: Padded, keep: Tensor, symbols: int) -> Iterator[tuple[slice, Tensor]]:
        lengths = [some[:count].tolist() for some, count in zip(lines.predicted, keep.sum(1).tolist(), strict=True)]
        for lane, column in together(lengths, keep.device, symbols):
            chosen = np.zeros(keep.shape, bool)
            chosen[lane, column] = True
            yield slice(None), torch.from_numpy(chosen)

    def ended(self, running: Tensor) -> bool:
        return not running.any()


class PaddedRows:
    """Every line in a row of its own, all of one length; nothing waits for the device."""

    def batch(self, lines: Padded, keep: Tensor, over: str) -> Batch:  # noqa: ARG002
        (lanes, many), time, device = keep.shape, lines.time, keep.device
        sizes = (many * time,) * lanes
        return Batch(
            tokens=lines.tokens[..., :-1].flatten(),
            positions=torch.arange(time, device=device).clamp(max=lines.longest - 1).repeat(lanes * many),
            targets=torch.where(lines.real, lines.tokens[..., 1:], IGNORED).flatten(),
            outputs=torch.arange(lanes * many * time, device=device),
            answers=(lines.real & lines.answers).flatten(),
            lengths=torch.full((lanes * many,), time, device=device),
            lanes=sizes,
            asked=sizes,
            predicted=sizes,
            packed=rows(lanes * many, time, device),
            time=time,
        )

    def passes(self, lines: Padded, keep: Tensor, symbols: int) -> Iterator[tuple[slice, Tensor]]:
        lanes, many = keep.shape
        most = min(TOKENS_PER_PASS["cuda"], max(1, LOGITS_PER_PASS // symbols)) // (lanes * lines.time)
        for first in range(0, many, max(1, most)):
            columns = slice(first, first + max(1, most))
            yield columns, keep[:, columns]

    def ended(self, running: Tensor) -> bool:  # noqa: ARG002
        return False


def layout_on(device: torch.device) -> Layout:
    """The layout that serves a device."""
    return PackedLines() if device.type == "cpu" else PaddedRows()
