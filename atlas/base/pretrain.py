"""Pretrain the base on the corpus and write its checkpoint and manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.base.checkpoint import base_options, save
from atlas.base.corpus import split
from atlas.base.language import validation_loss
from atlas.base.model import Transformer, draws, fresh
from atlas.base.muon import Muon
from atlas.base.optimisers import AdamW
from atlas.base.text import encode
from atlas.errors import AtlasError
from atlas.study.base_settings import Base, Pretraining
from atlas.workflow import files, progress
from atlas.workflow.allocator import keep_freed_memory
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import environment, now, run_step

NOTED_EVERY = 20  # steps between readings of the loss, which cost a little


@dataclass(frozen=True)
class Trained:
    """A pretrained model and what it took. ``tokens`` counts repeats; ``seconds`` is the training loop."""

    model: Transformer
    tokens: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Pretrain by the command line; see ``python -m atlas.base.pretrain --help``."""
    args = base_options(__doc__).parse_args(arguments)
    config: Base = args.spec
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    text = files.read_text(args.corpus)
    training, validation = (encode(part, str(args.corpus)) for part in split(text, config.validation))

    started = now()
    trained = train(config, training)
    val_loss = validation_loss(trained.model, validation)
    save(
        args.checkpoint,
        args.manifest,
        trained.model,
        config=config,
        val_loss=val_loss,
        tokens=trained.tokens,
        seconds=trained.seconds,
        corpus_sha256=files.sha256(args.corpus),
        code=code_digest("atlas.base.pretrain"),
        run={"threads": args.threads, "started": started, "finished": now(), **environment("torch", "numpy")},
    )
    progress.say(f"base: validation loss {val_loss:.4f} nats/char after {trained.seconds:.0f} s, see {args.checkpoint}")


def train(config: Base, tokens: np.ndarray, after_step: Callable[[int, Transformer], None] | None = None) -> Trained:
    """Train a fresh model on ``tokens``, uint8, shape (characters,).

    ``after_step`` is called with the number of steps done and the model, which it may look at but not change.

    Matrices inside the layers go by Muon, all other parameters by AdamW (Jordan et al. 2024; see atlas.base.muon).
    Raises AtlasError where the text is shorter than a window.
    """
    model = fresh(config.own, config.seed, config.replica)
    inside = [parameter for name, parameter in model.named_parameters() if ".layers." in name and parameter.ndim == 2]
    others = [parameter for name, parameter in model.named_parameters() if ".layers." not in name or parameter.ndim < 2]
    optimisers: list[torch.optim.Optimizer] = [
        Muon(inside, lr=config.training.matrix_lr, weight_decay=config.training.weight_decay),
        AdamW(others, lr=config.training.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["peak"] = group["lr"]
    windows = _windows(config, tokens)
    started, note = time.perf_counter(), ""
    with progress.tracker("pretraining", config.training.steps) as tracker:
        for step in range(config.training.steps):
            loss = _step(model, next(windows), optimisers, _rate(config.training, step))
            if step % NOTED_EVERY == 0:
                note = f"loss {loss.item():.3f}"
            if after_step:
                after_step(step + 1, model)
            tracker.advance(note)
    used = config.training.steps * config.training.batch * config.own.context
    return Trained(model.eval(), used, time.perf_counter() - started)


def _step(model: Transformer, rows: Tensor, optimisers: Sequence[torch.optim.Optimizer], rate: float) -> Tensor:
    """One step on rows of context + 1 tokens at ``rate`` times the peak rates; returns the loss before it."""
    logits = model(rows[:, :-1])  # (windows, context, 96)
    loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    torch.autograd.backward(loss)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * rate
        optimiser.step()
        optimiser.zero_grad()
    return loss.detach()


def _rate(training: Pretraining, step: int) -> float:
    """Share of the peak rate at a step: up linearly, flat, down linearly to zero (warmup, stable, decay)."""
    warmup, decay = training.warmup * training.steps, training.decay * training.steps
    return min(1.0, (step + 1) / max(warmup, 1.0), (training.steps - step) / max(decay, 1.0))


def _windows(config: Base, tokens: np.ndarray) -> Iterator[Tensor]:
    """Batches of windows, int64, (windows, context + 1), from a shuffled cut of the text that shifts every epoch."""
    size = config.own.context
    if len(tokens) < 2 * size + 1:
        raise AtlasError(
            f"corpus: {len(tokens)} characters to train on, expected at least {2 * size + 1}; use a longer text"
        )
    draw = draws(config.seed, config.replica, "windows")
    batch: list[np.ndarray] = []
    while True:
        starts = np.arange(draw.integers(size), len(tokens) - size, size)
        for start in draw.permutation(starts):
            batch.append(tokens[start : start + size + 1])
            if len(batch) == config.training.batch:
                yield torch.from_numpy(np.stack(batch).astype(np.int64))
                batch = []


if __name__ == "__main__":
    run_step(main)
