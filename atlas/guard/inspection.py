"""Verify any checkpoint, Atlas's own or another project's, with all that lies beside it: what ``atlas verify`` does."""

from __future__ import annotations

from pathlib import Path

from atlas.base.build import CONFIG as ADOPTED
from atlas.base.certify import model_beside, verify_checkpoint
from atlas.base.checkpoint import Certificate, fingerprint
from atlas.base.model import opt_config
from atlas.base.text import SYMBOLS
from atlas.errors import AtlasError
from atlas.guard import checks
from atlas.guard.foreign import CONFIG, Foreign, checkpoint_in, read_foreign
from atlas.guard.gguf_file import is_gguf
from atlas.guard.report import Report
from atlas.guard.ties import copies, head_tied
from atlas.workflow import files

FOREIGN_NOT_CHECKED = {
    "hashes": "another project's checkpoint has no manifest of Atlas",
    "the loss, and whether every module does its part": "needs the model itself; see docs/guard.md",
}


def inspect(path: Path, manifest: Path | None = None, text: Path | None = None) -> Report:
    """Verify any checkpoint with all that lies beside it, and say what could not be checked, and why.

    Args:
        path: safetensors or GGUF file, index of shards, or the folder of one.
        manifest: base.json of a checkpoint of Atlas's own; without it the .json of the same name, if there.
        text: text to measure the loss on; without it the corpus.txt beside the checkpoint, if there.

    Raises AtlasError where the file cannot be read, or nothing tells what model it should be.
    """
    checkpoint = checkpoint_in(path)
    if not checkpoint.is_file():
        raise AtlasError(f"{path}: no such file; give a safetensors file, such as results/base/base.safetensors")
    own = not is_gguf(checkpoint)
    if manifest and not own:
        raise AtlasError(f"{manifest}: goes with checkpoints of Atlas's own, but {checkpoint} is GGUF; leave it out")
    manifest = manifest or (_if_there(checkpoint.with_suffix(".json"), but=checkpoint) if own else None)
    text = text or _if_there(checkpoint.with_name("corpus.txt"))
    if manifest or (own and _is_own(checkpoint.parent / CONFIG)):
        certificate, missing = verify_checkpoint(checkpoint, manifest, text), _not_checked(manifest, text)
        adopted = checkpoint.with_name(ADOPTED).is_file()
        words = "a model from outside, as a study took it" if adopted else "a model of Atlas's own"
    else:
        foreign = read_foreign(checkpoint)
        certificate, missing = verify_foreign(foreign), FOREIGN_NOT_CHECKED
        words, text = foreign.words, None
    if any(not check.passed for check in certificate.checks if check.name in checks.FITS):
        missing = {"all that needs a model that loads": "the file does not fit, see above", **missing}
    return Report(
        **dict(certificate),
        checkpoint=str(path),
        model=words,
        manifest=manifest and str(manifest),
        text=text and str(text),
        not_checked=missing,
    )


def verify_foreign(foreign: Foreign) -> Certificate:
    """Make every check that a checkpoint of another project allows: names, shapes, dtypes, values, training."""
    found = list(checks.fit(list(foreign.mismatches())))
    if all(check.passed for check in found):
        parts = foreign.parts()
        found += [head_tied(foreign), *checks.static(parts), copies(parts)]
    return Certificate(
        passed=all(check.passed for check in found), fingerprint=fingerprint(foreign.tensors), checks=found
    )


def _not_checked(manifest: Path | None, text: Path | None) -> dict[str, str]:
    """What needs a file that is not there."""
    missing = {}
    if not manifest:
        missing["hashes, the seed's own initialisation, the loss on record"] = "no manifest; give --manifest base.json"
    if not text:
        missing["the loss, and whether every module does its part"] = "no text; give --corpus corpus.txt"
    return missing


def _is_own(config: Path) -> bool:
    """Whether a config is one that Atlas writes: another OPT has other symbols."""
    if not config.is_file():
        return True  # the error then says what is missing
    values = files.read_json(config)
    if not isinstance(values, dict) or values.get("model_type") != "opt" or values.get("vocab_size") != len(SYMBOLS):
        return False
    own = opt_config(model_beside(config))
    return {key: values.get(key, value) for key, value in own.items()} == own


def _if_there(path: Path, but: Path | None = None) -> Path | None:
    return path if path.is_file() and path != but else None
