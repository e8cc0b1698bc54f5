"""Checkpoints: safetensors with a manifest beside it, read back exactly or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from atlas.base.build import empty_model
from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.study.base_settings import Base, Model
from atlas.study.settings import Settings, explain
from atlas.workflow.files import read_json, together, write_json

NAMED_AT_MOST = 5  # problems spelt out in one line; `atlas verify` lists them all
REMEDY = "delete it and run snakemake to remake it"


class Manifest(Settings):
    """What ``base.json`` says of a checkpoint."""

    config: Base
    val_loss: float = Field(description="nats per character, by atlas.base.loss.validation_loss")
    steps: int
    tokens: int = Field(description="characters trained on, repeats counted")
    seconds: float = Field(description="wall time of the training loop")
    fingerprint: str
    sha256: dict[str, str] = Field(description="per tensor, by sha256_of")
    corpus_sha256: str
    code: str | None = Field(None, description="code digest of the step that trained it")
    run: dict[str, Any] = Field({}, description="versions, host, threads, time")


class Check(Settings):
    """The outcome of one check: a value, the limit it was held against, and a plain sentence."""

    name: str
    passed: bool
    measured: float | None = Field(description="null where it is not a finite number")
    limit: float
    detail: str
    tensors: list[str] = Field([], description="the tensors that fail, all of them")
    needs: Literal["file", "text", "manifest"] = Field(
        "file", description="what the check takes beside the checkpoint: nothing, a text in its language, its manifest"
    )
    by_module: dict[str, float | None] = Field({}, description="measured value of each tensor or module looked at")


class Certificate(Settings):
    """What ``certificate.json`` says: the checks, and the fingerprint of the weights they were made on."""

    passed: bool
    fingerprint: str
    checks: list[Check]


class Mismatch(NamedTuple):
    """One way in which a file and a model do not fit."""

    check: str  # names, shapes, dtypes or finite
    tensor: str
    problem: str


def sha256_of(tensor: Tensor) -> str:
    """SHA-256 of dtype, shape and bytes (row-major) of one tensor, in hex."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{_dtype(tensor)} {list(tensor.shape)}\n".encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of all tensors, in name order: the identity of weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {sha256_of(tensors[name])}\n".encode())
    return digest.hexdigest()


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
    """Write weights, manifest and what JSON goes ``beside`` them, by name, all or none; return the manifest.

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


def read_tensors(checkpoint: Path | str) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file into memory of their own.

    Raises AtlasError where the file is missing, truncated or has a broken header.
    """
    try:
        return dict(parse_safetensors(Path(checkpoint).read_bytes()))
    except (FileNotFoundError, IsADirectoryError):
        raise AtlasError(f"{checkpoint}: no such file; check the path, or make it by running snakemake") from None
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise AtlasError(f"{checkpoint}: not a whole safetensors file ({reason}); {REMEDY}") from None


def mismatches(tensors: Mapping[str, Tensor], model: nn.Module) -> Iterator[Mismatch]:
    """Yield every way in which tensors and a model differ in names, shapes or dtypes, or are not finite."""
    expected = model.state_dict()
    for name in sorted(expected.keys() - tensors.keys()):
        yield Mismatch("names", name, f"missing, expected shape {list(expected[name].shape)}")
    for name in sorted(tensors.keys() - expected.keys()):
        yield Mismatch("names", name, f"unexpected, shape {list(tensors[name].shape)}; the model has no such tensor")
    for name in sorted(expected.keys() & tensors.keys()):
        yield from _unlike(name, tensors[name], expected[name])


def _unlike(name: str, found: Tensor, expected: Tensor) -> Iterator[Mismatch]:
    if found.shape != expected.shape:
        yield Mismatch("shapes", name, f"shape {list(found.shape)}, expected {list(expected.shape)}")
    if found.dtype != expected.dtype:
        yield Mismatch("dtypes", name, f"dtype {_dtype(found)}, expected {_dtype(expected)}")
    bad = int((~torch.isfinite(found)).sum())
    if bad:
        yield Mismatch("finite", name, f"{bad} of {found.numel()} values are not finite")


def load_strict(checkpoint: Path | str, model: nn.Module) -> dict[str, Tensor]:
    """Fill ``model`` with a checkpoint and return what was read.

    Names, shapes and dtypes must match exactly and every value must be finite; otherwise AtlasError names the
    tensors and the model is left as it was. A model on the meta device gets the tensors themselves.
    """
    tensors = read_tensors(checkpoint)
    problems = [f"{found.tensor}: {found.problem}" for found in mismatches(tensors, model)]
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
        failed = ", ".join(check.name for check in proof.checks if not check.passed) or "no check is listed"
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


SettingsT = TypeVar("SettingsT", bound=Settings)


def _read(kind: type[SettingsT], path: Path | str) -> SettingsT:
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise AtlasError(f"{path}: not a {kind.__name__.lower()} ({explain(error)}); {REMEDY}") from None


def read_manifest(path: Path | str) -> Manifest:
    """Read ``base.json``. Raises AtlasError where it is missing or not a manifest."""
    return _read(Manifest, path)


def read_certificate(path: Path | str) -> Certificate:
    """Read ``certificate.json``. Raises AtlasError where it is missing or not a certificate."""
    return _read(Certificate, path)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
