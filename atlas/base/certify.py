"""Verify a checkpoint, and certify it where all checks pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from pydantic import ValidationError

from atlas.base.build import empty_model, parts_of_base
from atlas.base.checkpoint import (
    Certificate,
    Check,
    Manifest,
    fingerprint,
    load_strict,
    mismatches,
    read_manifest,
    read_tensors,
)
from atlas.base.corpus import split
from atlas.base.language import LanguageModel
from atlas.base.loss import validation_loss
from atlas.base.model import Transformer, fresh, opt_config
from atlas.errors import AtlasError
from atlas.guard import checks, wiring
from atlas.guard.foreign import CONFIG
from atlas.guard.report import insist
from atlas.guard.ties import copies
from atlas.study.base_settings import Base, Model
from atlas.study.settings import explain
from atlas.workflow import files, progress
from atlas.workflow.steps import add_base, add_spec, parser, run_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Certify by the command line; see ``python -m atlas.base.certify --help``."""
    options = parser(__doc__)
    add_spec(options, Base)
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt")
    add_base(options, threads=2)
    options.add_argument(
        "--out", type=Path, required=True, help=f"certificate.json, to be written; {CONFIG} goes beside the checkpoint"
    )
    args = options.parse_args(arguments)
    torch.set_num_threads(args.threads)
    for earlier in (args.out, args.checkpoint.parent / CONFIG):  # whatever happens, nothing of an earlier base is left
        earlier.unlink(missing_ok=True)
    certificate = verify_checkpoint(args.checkpoint, args.manifest, args.corpus, args.spec)
    insist(certificate, args.checkpoint)
    if isinstance(args.spec.model, Model):
        files.publish_json(args.checkpoint.parent / CONFIG, opt_config(args.spec.model))
    files.publish_json(args.out, certificate.model_dump())
    progress.say(f"base: {len(certificate.checks)} checks passed, see {args.out}")


def verify_checkpoint(
    checkpoint: Path | str,
    manifest: Path | str | None = None,
    corpus: Path | str | None = None,
    config: Base | None = None,
) -> Certificate:
    """Make every check that the given files allow and return the outcome, passed or not.

    Args:
        checkpoint: safetensors file. Without a manifest the shape of its model is read from the config.json beside it.
        manifest: base.json; adds the checks against hashes, against the seed's own initialisation, of the loss.
        corpus: corpus.txt; adds the validation loss.
        config: what the study asks for; the manifest must agree. Without it, limits are the manifest's or the default.

    Raises AtlasError where a file is missing or cannot be read at all.
    """
    record = read_manifest(manifest) if manifest else None
    asked = config or (record.config if record else Base(model=model_beside(checkpoint)))
    in_file = read_tensors(checkpoint)
    folder = Path(checkpoint).parent
    model = empty_model(record.config if record else asked, folder)
    found = list(checks.fit(list(mismatches(in_file, model))))
    identity = fingerprint(in_file)
    if all(check.passed for check in found):
        load_strict(checkpoint, model)
        model.requires_grad_(False).eval()
        identity = fingerprint(model.state_dict())
        parts = parts_of_base(model, folder)
        found += [checks.loaded(model.state_dict(), in_file), *checks.static(parts), copies(parts)]
        found += _by_manifest(model, record) if record else []
        found += _by_corpus(model, corpus, asked, record) if corpus else []
    if record and (Path(checkpoint).parent / CONFIG).is_file():
        found.append(checks.config_beside(files.read_json(Path(checkpoint).parent / CONFIG), record))
    if record and config:
        found.append(checks.configured(record, config))
    return Certificate(passed=all(check.passed for check in found), fingerprint=identity, checks=found)


def _by_manifest(model: LanguageModel, record: Manifest) -> Iterator[Check]:
    yield checks.hashes(model.state_dict(), record)
    yield checks.whole(model.state_dict(), record)
    if isinstance(record.config.model, Model):
        yield checks.moved(model, fresh(record.config.model, record.config.seed))


def _by_corpus(model: LanguageModel, corpus: Path | str, asked: Base, record: Manifest | None) -> Iterator[Check]:
    _, validation = split(files.read_text(corpus), asked.validation)
    tokens = model.text.encode(validation, str(corpus))
    loss = validation_loss(model, tokens)
    yield checks.loss_low(loss, asked.max_val_loss)
    if isinstance(model, Transformer):
        yield from wiring.checks(model, tokens)
    if record:
        yield checks.same_corpus(corpus, record)
        yield checks.loss_reproduced(loss, record)


def model_beside(checkpoint: Path | str) -> Model:
    """The shape of a model from the transformers config beside its checkpoint."""
    path = Path(checkpoint).parent / CONFIG
    if not path.is_file():
        raise AtlasError(f"{path}: no such file; give --manifest, or put the model's transformers config there")
    values = files.read_json(path)
    keys = {
        "layers": "num_hidden_layers",
        "width": "hidden_size",
        "heads": "num_attention_heads",
        "ffn": "ffn_dim",
        "context": "max_position_embeddings",
    }
    if not isinstance(values, dict) or values.get("model_type") != "opt":
        raise AtlasError(f'{path}: not the config of an OPT model; expected "model_type": "opt"')
    try:
        return Model.model_validate({key: values.get(name) for key, name in keys.items()})
    except ValidationError as error:
        raise AtlasError(f"{path}: {explain(error)}; expected {', '.join(keys.values())}") from None


if __name__ == "__main__":
    run_step(main)
