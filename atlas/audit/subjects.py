"""What the jobs of the audit share: honest models, and with what evidence verification refuses a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from atlas.audit.audit_columns import HONEST_LEVELS, LEVELS
from atlas.base.certify import model_beside, verify_checkpoint
from atlas.base.checkpoint import save
from atlas.base.language import validation_loss
from atlas.base.model import Transformer, fresh, opt_config
from atlas.base.pretrain import train
from atlas.errors import AtlasError
from atlas.guard.faults.kinds import Kind, Subject
from atlas.guard.report import GuardError
from atlas.guard.verification import verify
from atlas.study.base_settings import Base, Model, Pretraining
from atlas.study.config import Guard
from atlas.workflow import files

BATCH = 8  # windows a step of the honest trainings, which are short
BLOCK, EVERY = 10_000, 10  # every tenth block of the corpus is text enough, and from all of it
NO_LIMIT = 1e9  # on the validation loss: a limit of the study would tell what the checks themselves have to find
UNREADABLE = "unreadable"  # the name of the check that a file fails which cannot be read at all


def excerpt(text: str) -> str:
    """Every tenth block of 10,000 characters."""
    return "".join(text[at : at + BLOCK] for at in range(0, len(text), EVERY * BLOCK))


def training(guard: Guard, shape: int, seed: int) -> Base:
    """The honest training of a shape of the study, by its place in ``guard.models``, and a seed."""
    pretraining = Pretraining(steps=max(guard.snapshots), batch=BATCH)
    return Base(seed=seed, model=guard.models[shape], training=pretraining, max_val_loss=NO_LIMIT)


def snapshots(base: Base, tokens: np.ndarray, steps: Collection[int]) -> dict[int, dict[str, Tensor]]:
    """Train on tokens, uint8, (characters,); the weights after each of these steps, in order."""
    kept: dict[int, dict[str, Tensor]] = {}

    def after_step(step: int, model: Transformer) -> None:
        if step in steps:
            kept[step] = weights(model)

    train(base, tokens, after_step)
    return kept


def subject(
    shape: Model,
    tensors: dict[str, Tensor],
    earlier: dict[str, Tensor] | None = None,
    other: dict[str, Tensor] | None = None,
) -> Subject:
    """An honest checkpoint of a shape, to be damaged, with what there is of other weights of this shape."""
    return Subject(opt_config(shape), tensors, weights(fresh(shape, 10_007)), earlier, other)


def small(guard: Guard, tokens: np.ndarray) -> Subject:
    """The first shape's honest model of the first seed, an earlier step of it, and the same of the second seed."""
    first, second = (snapshots(training(guard, 0, seed), tokens, guard.snapshots) for seed in (0, 1))
    *earlier, last = first
    return subject(guard.models[0], first[last], first[earlier[-1]] if earlier else None, second[last])


def weights(model: Transformer) -> dict[str, Tensor]:
    """A copy of a model's tensors."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def loaded(shape: Model, tensors: Mapping[str, Tensor]) -> Transformer:
    """The model of a shape with these weights."""
    model = Transformer(shape)
    model.load_state_dict(tensors)
    return model.eval()


def put_down(folder: Path, base: Base, step: int, model: Transformer, validation: np.ndarray, text: Path) -> float:
    """Write base.safetensors and base.json, as the pretraining would have after a step; the validation loss."""
    loss = validation_loss(model, validation)
    save(
        folder / "base.safetensors",
        folder / "base.json",
        model,
        config=base,
        val_loss=loss,
        tokens=step * base.training.batch * base.own.context,
        seconds=0.0,
        corpus_sha256=files.sha256(text),
    )
    return loss


def refusals(checkpoint: Path, manifest: Path, text: Path) -> dict[str, str]:
    """The columns ``failed_LEVEL``: by level of evidence the checks that fail, those of the levels before included.

    Verifies with the config beside the checkpoint and a text, as others would find it, then with the manifest.
    """
    by_text = _failed(checkpoint, None, text)
    file = {name for needs, name in by_text if needs == "file"}
    seen = file | {name for needs, name in by_text if needs == "text"}
    proven = seen | {name for needs, name in _failed(checkpoint, manifest, None) if needs != "text"}
    found = zip(HONEST_LEVELS, (file, seen, proven), strict=True)
    return {f"failed_{level}": ", ".join(sorted(names)) for level, names in found}


def refused_in_memory(model: nn.Module, checkpoint: Path) -> set[str]:
    """Names of the checks that refuse a model in memory that should hold an honest checkpoint."""
    try:
        verify(model, checkpoint, trained=False)
    except GuardError as error:
        return {check.name for check in error.failed}
    return set()


def detected(
    subject: str,
    each: Kind,
    place: str,
    measured: tuple[float, float] | None,
    failed: Mapping[str, Collection[str]],
) -> dict[str, Any]:
    """A row of ``DETECTION``.

    Args:
        measured: the rise in loss and the largest change of a logit; None where the damaged model does not load.
        failed: names of the checks that fail, by level, those of the levels before included.
    """
    rise, change = (value if math.isfinite(value) else math.inf for value in measured) if measured else (None, None)
    return {
        "subject": subject,
        "family": each.family,
        "kind": each.name,
        "module": place,
        "harmless": each.harmless,
        "unknowable": each.unknowable,
        "loads": measured is not None,
        "rise": rise,
        "logit_change": change,
        **{f"failed_{level}": ", ".join(sorted(failed[level])) for level in LEVELS},
    }


def _failed(checkpoint: Path, manifest: Path | None, text: Path | None) -> list[tuple[str, str]]:
    """What each check that fails needs, and its name; ``UNREADABLE`` where the checkpoint cannot be read at all."""
    try:
        config = None if manifest else Base(model=model_beside(checkpoint), max_val_loss=NO_LIMIT)
        certificate = verify_checkpoint(checkpoint, manifest, text, config)
    except AtlasError:
        return [("file", UNREADABLE)]
    return [(check.needs, check.name) for check in certificate.failed]
