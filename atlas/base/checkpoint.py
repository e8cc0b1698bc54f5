"""Checkpoints of a base: safetensors with a manifest beside it, read back exactly or not at all."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from atlas.base.hosted import CONFIG as ADOPTED
from atlas.base.hosted import hosted
from atlas.base.language import LanguageModel
from atlas.base.model import Transformer
from atlas.base.pieces import TOKENIZER, Pieces
from atlas.errors import AtlasError
from atlas.guard.formats import REMEDY, read_tensors
from atlas.guard.report import Certificate
from atlas.guard.tensors import fingerprint, sha256_of
from atlas.guard.weight_checks import mismatches
from atlas.study.base_settings import Base, Model
from atlas.study.settings import Settings, explain
from atlas.workflow.files import read_json, together, write_json
from atlas.workflow.steps import add_base, add_spec, parser

NAMED_AT_MOST = 5  # problems spelt out in one line; `atlas verify` lists them all


def base_options(step_doc: str | None) -> argparse.ArgumentParser:
    """The options that the steps share which make a base or certify it."""
    options = parser(step_doc)
    add_spec(options, Base)
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt")
    add_base(options, threads=2)
    return options


class Manifest(Settings):
    """What ``base.json`` says of a checkpoint."""

    config: Base
    val_loss: float = Field(description="nats per character, by atlas.base.language.validation_loss")
    steps: int
    tokens: int = Field(description="characters trained on, repeats counted")
    seconds: float = Field(description="wall time of the training loop")
    fingerprint: str
    sha256: dict[str, str] = Field(description="per tensor, by atlas.guard.tensors.sha256_of")
    corpus_sha256: str
    code: str | None = Field(None, description="code digest of the step that trained it")
    run: dict[str, Any] = Field({}, description="versions, host, threads, time")


def save(
    checkpoint: Path | str,
    manifest: Path | str,
    model: LanguageModel,
    *,
    config: Base,
    val_loss: float,
    tokens: int,
    seconds: float,
    corpus_sha256: str,
    code: str | None = None,
    run: Mapping[str, Any] | None = None,
    beside: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write weights, manifest and what JSON goes ``beside`` them, by name, atomically together; return the manifest.

    AtlasError where checkpoint and manifest are not in one folder.
    """
    if Path(checkpoint).parent != Path(manifest).parent:
        raise AtlasError(f"{manifest}: not beside {checkpoint}, but the two are written together; give one folder")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    record = Manifest(
        config=config,
        val_loss=val_loss,
        steps=config.training.steps if isinstance(config.model, Model) else 0,
        tokens=tokens,
        seconds=round(seconds, 1),
        fingerprint=fingerprint(tensors),
        sha256={name: sha256_of(tensors[name]) for name in sorted(tensors)},
        corpus_sha256=corpus_sha256,
        code=code,
        run=dict(run or {}),
    )
    with together(manifest) as stage:  # transformers reads only files that say "pt"
        (stage / Path(checkpoint).name).write_bytes(to_safetensors(tensors, metadata={"format": "pt"}))
        for name, content in (beside or {}).items():
            write_json(stage / name, content)
        write_json(stage / Path(manifest).name, record.model_dump())
    return record


def empty_model(base: Base, folder: Path) -> LanguageModel:
    """The model of a base, waiting for its weights: no tensor holds a number that could be taken for one.

    Args:
        folder: where the config and the tokenizer of a model from outside lie.
    """
    if isinstance(base.model, Model):
        with torch.device("meta"):
            return Transformer(base.model)
    config = read_json(folder / ADOPTED)
    return hosted(config, Pieces.parse(read_json(folder / TOKENIZER), config, str(folder / TOKENIZER)))


def load_strict(checkpoint: Path | str, model: nn.Module) -> dict[str, Tensor]:
    """Fill ``model`` with a checkpoint and return what was read.

    Names, shapes and dtypes must match exactly and every value must be finite; otherwise AtlasError names the
    tensors and the model is left as it was. A model on the meta device gets the tensors themselves.
    """
    tensors = read_tensors(checkpoint)
    problems = [f"{found.tensor}: {found.problem}" for found in mismatches(tensors, model.state_dict())]
    if problems:
        more = len(problems) - NAMED_AT_MOST
        listed = "; ".join(problems[:NAMED_AT_MOST]) + (f"; and {more} more" if more > 0 else "")
        raise AtlasError(f"{checkpoint}: does not fit the model: {listed}; check the model section, or {REMEDY}")
    model.load_state_dict(tensors, strict=True, assign=any(parameter.is_meta for parameter in model.parameters()))
    return tensors


def load_certified(checkpoint: Path | str, manifest: Path | str, certificate: Path | str) -> LanguageModel:
    """Load the base that a certificate vouches for: in evaluation mode, frozen.

    Raises AtlasError where the certificate did not pass, or where the weights now in memory, the manifest and the
    certificate do not all have one fingerprint.
    """
    record, proof = read_manifest(manifest), read_certificate(certificate)
    if not proof.passed:
        failed = ", ".join(check.name for check in proof.failed) or "no check is listed"
        raise AtlasError(f"{certificate}: the base failed verification ({failed}); mend or retrain it, then verify")
    if proof.fingerprint != record.fingerprint:
        raise AtlasError(
            f"{certificate}: fingerprint {proof.fingerprint}, but {manifest} has {record.fingerprint}; "
            "the certificate is for other weights; run atlas.base.certify again"
        )
    model = empty_model(record.config, Path(checkpoint).parent)  # nothing can stay at an initialisation
    load_strict(checkpoint, model)
    in_memory = fingerprint(model.state_dict())
    if in_memory != record.fingerprint:
        raise AtlasError(
            f"{checkpoint}: fingerprint {in_memory}, but {manifest} has {record.fingerprint}; "
            f"the file is not the one that was certified; {REMEDY}"
        )
    return model.requires_grad_(False).eval()


def read_manifest(path: Path | str) -> Manifest:
    """Read ``base.json``. Raises AtlasError where it is missing or not a manifest."""
    try:
        return Manifest.model_validate(read_json(path))
    except ValidationError as error:
        raise AtlasError(f"{path}: not a manifest ({explain(error)}); {REMEDY}") from None


def read_certificate(path: Path | str) -> Certificate:
    """Read ``certificate.json``. Raises AtlasError where it is missing or not a certificate."""
    try:
        return TypeAdapter(Certificate).validate_python(read_json(path), extra="forbid")
    except ValidationError as error:
        raise AtlasError(f"{path}: not a certificate ({explain(error)}); {REMEDY}") from None
