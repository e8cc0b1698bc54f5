"""Verify a base of Atlas's own with all that lies beside it, and certify it where all checks pass.

The checks are those of ``atlas.guard``. Here stands what they need to know of Atlas: its manifest, its model, its loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from atlas.base.checkpoint import Manifest, base_options, empty_model, load_strict, read_manifest
from atlas.base.corpus import split
from atlas.base.hosted import CONFIG as ADOPTED
from atlas.base.hosted import hosted_name
from atlas.base.language import LanguageModel, validation_loss
from atlas.base.model import POSITION_OFFSET, Attention, Transformer, fresh, opt_config
from atlas.base.muon import orthogonalise
from atlas.errors import AtlasError
from atlas.guard import weight_checks
from atlas.guard.blueprints import blueprint, heads_of
from atlas.guard.formats import CONFIG
from atlas.guard.reading import read_json, read_safetensors
from atlas.guard.report import Certificate, Check, insist
from atlas.guard.tensors import WeightPart, fingerprint
from atlas.guard.value_checks import static
from atlas.guard.weight_checks import bounded, counted, finite, mismatches
from atlas.guard.wiring import BEFORE_LAYERS, Anatomy, LayerModule, functional, modules_of
from atlas.study.base_settings import Base, Model
from atlas.study.settings import explain
from atlas.workflow import files, progress
from atlas.workflow.steps import run_step

MOVED_LIMIT = 0.1  # share of its own first length that training moves a matrix by, at least
LOSS_TOLERANCE = 1e-4  # nats per character: rounding on another machine or thread count is below 1e-5
POSITIONS = "model.decoder.embed_positions.weight"


def main(arguments: Sequence[str] | None = None) -> None:
    """Certify by the command line; see ``python -m atlas.base.certify --help``."""
    options = base_options(__doc__)
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
    files.publish_json(args.out, asdict(certificate))
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
    in_file, folder = read_safetensors(Path(checkpoint)), Path(checkpoint).parent
    model = empty_model(record.config if record else asked, folder)
    found = weight_checks.fit(mismatches(in_file, model.state_dict()))
    identity = fingerprint(in_file)
    if all(check.passed for check in found):
        load_strict(checkpoint, model)
        model.requires_grad_(False).eval()
        identity = fingerprint(model.state_dict())
        found.append(weight_checks.loaded(model.state_dict(), in_file))
        found += static(parts_of_base(model, folder))
        found += _by_manifest(model, record) if record else []
        found += _by_corpus(model, corpus, asked, record) if corpus else []
    if record and (folder / CONFIG).is_file():
        values, wanted = read_json(folder / CONFIG), opt_config(record.config.own)  # other readers go by it
        beside = values if isinstance(values, dict) else {}
        keys = [key for key in wanted if beside.get(key) != wanted[key]]
        wrong = [f"{key}: {beside.get(key)!r}, manifest {wanted[key]!r}" for key in keys]
        sentence = "the config beside the checkpoint is the manifest's model"
        found.append(counted("config.json", sentence, wrong, needs="manifest"))
    if record and config:
        made, wanted = (section.model_dump(exclude={"max_val_loss"}) for section in (record.config, config))
        wrong = [f"{key}: made with {made[key]}, study has {wanted[key]}" for key in wanted if made[key] != wanted[key]]
        sentence = f"the base was made with the study's keys, as its replica {config.replica}"
        found.append(counted("config", sentence, wrong, needs="manifest"))
    return Certificate.of(found, identity)


def _by_manifest(model: LanguageModel, record: Manifest) -> Iterator[Check]:
    yield weight_checks.hashes(model.state_dict(), record.sha256)
    yield weight_checks.identity(model.state_dict(), record.fingerprint)
    if isinstance(record.config.model, Model):
        first = dict(_matrices(fresh(record.config.model, record.config.seed, record.config.replica)))
        moved = {name: float((used - first[name]).norm() / first[name].norm()) for name, used in _matrices(model)}
        sentence = "distance from the seed's initialisation, relative to its length"
        yield bounded("moved", sentence, moved, "at least", MOVED_LIMIT, needs="manifest")


def _by_corpus(model: LanguageModel, corpus: Path | str, asked: Base, record: Manifest | None) -> Iterator[Check]:
    _, validation = split(files.read_text(corpus), asked.validation)
    tokens = model.text.encode(validation, str(corpus))
    loss, limit = validation_loss(model, tokens), asked.max_val_loss
    sentence = "validation loss, nats/char, at most base.max_val_loss"
    yield Check("val_loss", loss <= limit, finite(loss), limit, sentence, needs="text")
    if isinstance(model, Transformer):
        yield from functional(anatomy(model), tokens)
    if record:
        found = files.sha256(corpus)
        wrong = [] if found == record.corpus_sha256 else [f"sha256 {found}, manifest {record.corpus_sha256}"]
        yield counted("corpus", "the corpus is the one trained on", wrong, needs="manifest")
        off = abs(loss - record.val_loss)
        detail = f"validation loss {loss:.6f} nats/char, manifest {record.val_loss:.6f}"
        passed = off <= LOSS_TOLERANCE
        yield Check("val_loss_reproduced", passed, finite(off), LOSS_TOLERANCE, detail, needs="manifest")


def _matrices(model: LanguageModel) -> Iterator[tuple[str, Tensor]]:
    """Matrices by name, without the rows of the positions that OPT never uses: those keep their first values."""
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 2:
            yield name, tensor[POSITION_OFFSET:] if name == POSITIONS else tensor


def parts_of_base(model: LanguageModel, folder: Path) -> list[WeightPart]:
    """The parts of a base, for checks; ``folder`` has the config of one from outside."""
    if isinstance(model, Transformer):
        return own_parts(model)
    tensors, parts = model.state_dict(), []
    expected = blueprint(read_json(folder / ADOPTED), str(folder / ADOPTED))
    for spec in expected.specs if expected.tied else (*expected.specs, expected.head):
        for part in replace(spec, unused=0).parts(torch.empty(spec.shape, device="meta")):
            name = hosted_name(part, expected.prefix)
            parts.append(replace(part, name=name, tensor=name, values=tensors[name][spec.unused :]))
    return parts


def own_parts(model: Transformer) -> list[WeightPart]:
    """The parts of a model of Atlas's own, which is an OPT."""
    tensors, specs = model.state_dict(), blueprint(opt_config(model.config), "the model").specs
    heads = heads_of(opt_config(model.config))
    parts = (part for spec in specs for part in spec.parts(tensors[spec.name]))
    return [replace(part, blocks=heads.get(part.role, part.blocks)) for part in parts]


def anatomy(model: Transformer) -> Anatomy:
    """A model of Atlas's own, taken apart for the functional checks."""
    decoder = model.model.decoder
    positions = decoder.embed_positions.weight.detach()[POSITION_OFFSET:]  # a view of the model's own
    return Anatomy(
        embed=lambda tokens: decoder.embed_tokens(tokens) + positions[: tokens.shape[1]],
        layers=[partial(layer, mask=None) for layer in decoder.layers],
        logits=lambda hidden: F.linear(decoder.final_layer_norm(hidden), model.head),
        modules=modules_of(model, own_parts(model)),
        positions=LayerModule(BEFORE_LAYERS, "positions", POSITIONS, positions),
        attentions=[module for module in model.modules() if isinstance(module, Attention)],
        descent=lambda gradient: -orthogonalise(gradient[None])[0],
    )


def model_beside(checkpoint: Path | str) -> Model:
    """The shape of a model from the transformers config beside its checkpoint."""
    path = Path(checkpoint).parent / CONFIG
    if not path.is_file():
        raise AtlasError(f"{path}: no such file; give --manifest, or put the model's transformers config there")
    values = read_json(path)
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
