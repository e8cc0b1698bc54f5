"""Verify a checkpoint as others would find it: with what evidence it is refused, and by which checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.base.certify import model_beside, verify_checkpoint
from atlas.base.checkpoint import Certificate
from atlas.errors import AtlasError
from atlas.guard.foreign import CONFIG
from atlas.study.base_settings import Base
from atlas.workflow import files

NO_LIMIT = 1e9  # on the validation loss: a limit of the study would tell what the checks themselves have to find
UNREADABLE = "unreadable"  # the name of the check that a file fails which cannot be read at all


@dataclass(frozen=True)
class Verdict:
    """By level of evidence, the checks that failed; a level includes those before it."""

    failed: dict[str, list[str]]
    tensors: list[str]

    def refused(self, level: str) -> bool:
        return bool(self.failed[level])


def judged(checkpoint: Path, manifest: Path, text: Path) -> Verdict:
    """Verify with the config beside the checkpoint and a text, and once more with the manifest."""
    by_text = _certified(checkpoint, None, text)
    by_manifest = _certified(checkpoint, manifest, None)
    file = _failed(by_text, "file")
    seen = sorted({*file, *_failed(by_text, "text")})
    proven = sorted({*seen, *_failed(by_manifest, "file"), *_failed(by_manifest, "manifest")})
    tensors = {name for found in (by_text, by_manifest) if found for check in found.checks for name in check.tensors}
    return Verdict({"file": file, "text": seen, "manifest": proven}, sorted(tensors))


def _certified(checkpoint: Path, manifest: Path | None, text: Path | None) -> Certificate | None:
    """The certificate, or None where the checkpoint cannot be read at all."""
    try:
        config = None if manifest else Base(model=model_beside(checkpoint), max_val_loss=NO_LIMIT)
        return verify_checkpoint(checkpoint, manifest, text, config)
    except AtlasError:
        return None


def _failed(found: Certificate | None, needs: str) -> list[str]:
    if found is None:
        return [UNREADABLE] if needs == "file" else []
    return sorted(check.name for check in found.checks if not check.passed and check.needs == needs)


def lay_out(folder: Path, checkpoint: bytes, config: dict[str, Any]) -> Path:
    """Write a checkpoint and the config beside it; return the checkpoint's path."""
    path = folder / "base.safetensors"
    with files.whole(path) as scratch:
        scratch.write_bytes(checkpoint)
    files.write_json(folder / CONFIG, config)
    return path
