"""The baseline: transformers' OPT with PEFT's LoRA, as one who knows both would write it for short lines on a CPU.

One seed after another, since PEFT trains one adapter at a time; rows padded at the end to the longest of the batch,
where a causal model needs no mask; labels of -100 there; no cache, no dropout; Adam fused. Of the kernels
for attention it takes the one that is faster at each setting.
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
        self.rows = [padded(lines, task.device) for lines in task.lines]

    def steps(self, count: int) -> np.ndarray:
        lanes = []
        for start, rows in zip(self.starts, self.rows, strict=True):
            self._set(start)
            lanes.append(self._descend([rows] * count))
        return np.stack(lanes, axis=1)

    def trial(self) -> float:
        """Seconds that one lane takes for one batch."""
        began = time.process_time()
        self._set(self.starts[0])
        self._descend([self.rows[0]])
        return time.process_time() - began

    def _descend(self, batches: Iterable[Rows]) -> np.ndarray:
        """Adam, anew; the losses, float32 (steps,)."""
        optimiser = torch.optim.Adam(self.parameters, lr=self.task.lr, fused=True)
        losses = []
        for rows in batches:
            logits = self.model(input_ids=rows.tokens, use_cache=False).logits
            loss = F.cross_entropy(logits.flatten(0, 1), rows.labels.flatten())  # transformers' own is always float32
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.parameters, self.task.recipe.clip)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.detach())  # read at the end: a GPU would wait for the processor at every step
        return torch.stack(losses).float().cpu().numpy()

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
