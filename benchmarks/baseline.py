"""The baseline: transformers' OPT with PEFT's LoRA, as one who knows both would write it for short lines on a CPU.

One seed after another, since PEFT trains one adapter at a time; rows padded at the end to the longest of the batch,
where a causal model needs no mask; labels of -100 there; no cache, no dropout; Adam fused; adapters merged for scoring,
rows of like length together. Of the kernels for attention it takes the one that is faster at each setting.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.ttt.engine.lines import IGNORED, Line
from atlas.ttt.engine.lora import Adapters
from benchmarks.tasks import Task

KERNELS = ("sdpa", "eager")
ROWS_A_PASS = 64  # in scoring; 32 and 128 are no faster


@dataclass(frozen=True)
class Rows:
    """Padded rows: tokens and labels int64 (rows, time); each label is the token behind its own."""

    tokens: Tensor
    labels: Tensor


def padded(lines: Sequence[Line], device: torch.device) -> Rows:
    """Lines as rows, padded at the end."""
    tokens, labels = np.full((2, len(lines), max(item.predicted for item in lines)), IGNORED, np.int64)
    for row, item in enumerate(lines):
        tokens[row, : item.predicted] = item.tokens[:-1]
        labels[row, : item.predicted] = item.tokens[1:]
    return Rows(torch.from_numpy(tokens).clamp_(min=0).to(device), torch.from_numpy(labels).to(device))


class Peft:
    """transformers with PEFT: one lane after the other."""

    def __init__(self, task: Task, kernel: str) -> None:
        self.task = task
        own = Adapters.attach(task.model(), task.arm.targets, [task.rank] * task.layers, task.study.alpha)
        self.model = lora(task, kernel, {slot.site.name for slot in own.slots})
        named = dict(self.model.named_parameters())
        weights = own.named(task.theta)
        outside = [f"{own.model.outside(slot.site.path)}.{part}" for slot in own.slots for part in slot.module.shapes]
        self.parameters = [named[f"base_model.model.{name}.default.weight"] for name in outside]
        self.starts = [[weight[lane].T.contiguous() for weight in weights.values()] for lane in range(len(task.lines))]
        self.rows = [self._padded(lines) for lines in task.lines]

    def steps(self, count: int) -> np.ndarray:
        rate = self.task.phases[0].lr
        lanes = []
        for start, rows in zip(self.starts, self.rows, strict=True):
            self._set(start)
            lanes.append(self._descend([rows] * count, rate))
        return np.stack(lanes, axis=1)

    def session(self) -> np.ndarray:
        lanes = range(len(self.task.lines))
        return np.stack([self._session(self.starts[lane], self.task.lines[lane], lane) for lane in lanes], axis=1)

    def _session(self, start: list[Tensor], lines: Sequence[Line], lane: int) -> np.ndarray:
        (fast, slow), (steps, epochs), stored = self.task.phases, self.task.passes, len(lines) - self.task.new
        self._set(start)
        first = self._descend([self._padded(lines[stored:])] * steps, fast.lr)
        self._set([was.lerp(now, fast.blend) for was, now in zip(start, self._now(), strict=True)])
        facts, order = [*lines[stored:], *lines[:stored]], self.task.draw(lane, "slow order")
        shuffled = [[facts[i] for i in order.permutation(len(facts))] for _ in range(epochs)]
        size = slow.batch or len(facts)
        batches = (self._padded(epoch[at : at + size]) for epoch in shuffled for at in range(0, len(epoch), size))
        return np.concatenate([first, self._descend(batches, slow.lr, slow.anchor.weight if slow.anchor else 0.0)])

    @torch.inference_mode()
    def score(self) -> np.ndarray:
        lanes = []
        for start, lines in zip(self.starts, self.task.lines, strict=True):
            self._set(start)
            self.model.merge_adapter()
            scores = np.empty(len(lines), np.float32)
            order = np.argsort([item.predicted for item in lines], kind="stable")
            for part in np.split(order, range(ROWS_A_PASS, len(order), ROWS_A_PASS)):
                scores[part] = self._score(self._padded([lines[i] for i in part])).cpu().numpy()
            self.model.unmerge_adapter()
            lanes.append(scores)
        return np.stack(lanes)

    def trial(self) -> float:
        """Seconds that one lane takes for one batch."""
        began = time.perf_counter()
        if self.task.setting.work == "score":
            with torch.inference_mode():
                self._score(self.rows[0])
        else:
            self._set(self.starts[0])
            self._descend([self.rows[0]], self.task.phases[0].lr)
        return time.perf_counter() - began

    def _padded(self, lines: Sequence[Line]) -> Rows:
        return padded(lines, self.task.device)

    def _score(self, rows: Rows) -> Tensor:
        logits = self.model(input_ids=rows.tokens, use_cache=False).logits
        nll = F.cross_entropy(logits.flatten(0, 1), rows.labels.flatten(), reduction="none")
        return nll.view(rows.labels.shape).sum(1) / (rows.labels != IGNORED).sum(1)

    def _descend(self, batches: Iterable[Rows], rate: float, anchor: float = 0.0) -> np.ndarray:
        """Adam, anew, held near where it starts; the losses, float32 (steps,)."""
        start = self._now() if anchor else []
        optimiser = torch.optim.Adam(self.parameters, lr=rate, fused=True)
        losses = []
        for rows in batches:
            logits = self.model(input_ids=rows.tokens, use_cache=False).logits
            loss = F.cross_entropy(logits.flatten(0, 1), rows.labels.flatten())  # transformers' own is always float32
            torch.autograd.backward(loss)
            if anchor:
                self._pull(start, anchor)
            torch.nn.utils.clip_grad_norm_(self.parameters, self.task.recipe.clip)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.detach())  # read at the end: a GPU would wait for the processor at every step
        return torch.stack(losses).float().cpu().numpy()

    def _pull(self, start: list[Tensor], anchor: float) -> None:
        """Add the gradients of a squared distance from ``start``."""
        with torch.no_grad():
            for parameter, was in zip(self.parameters, start, strict=True):
                assert parameter.grad is not None
                parameter.grad.add_(parameter - was, alpha=2 * anchor)

    def _now(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def _set(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)


def lora(task: Task, kernel: str, modules: set[str]) -> Any:
    """The same base as Atlas's in transformers, with PEFT's adapters at the modules of these names."""
    import peft  # both take seconds to import, which `--help` need not wait for
    from transformers import AutoConfig, AutoModelForCausalLM

    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(**task.config), attn_implementation=kernel)
    ours = task.model()
    weights = {ours.outside(name): tensor for name, tensor in ours.state_dict().items()}
    base.load_state_dict({**weights, "lm_head.weight": ours.head}, strict=True)
    config = peft.LoraConfig(r=task.rank, lora_alpha=task.study.alpha, target_modules=modules, lora_dropout=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by an old name
        return peft.get_peft_model(base.to(task.device, task.dtype), config).train()


def fastest(task: Task, tries: int = 3) -> tuple[str, Peft]:
    """The baseline with the attention kernel that is faster at this setting, by the best of some tries."""
    baselines = {kernel: Peft(task, kernel) for kernel in KERNELS}
    kernel = min(KERNELS, key=lambda name: min(baselines[name].trial() for _ in range(tries)))
    return kernel, baselines[kernel]
