"""Verify any checkpoint, Atlas's own or another project's, with all that lies beside it: what ``atlas verify`` does.

Apart from the step that certifies a base, which an edit of what reads other projects' files must not run again.
"""

from __future__ import annotations

from pathlib import Path

from atlas.base.certify import model_beside, verify_checkpoint
from atlas.base.hosted import CONFIG as ADOPTED
from atlas.base.model import opt_config
from atlas.base.text import SYMBOLS
from atlas.errors import AtlasError
from atlas.guard.formats import CONFIG, REMEDY, is_gguf
from atlas.guard.reading import FETCH, OURS, checkpoint_in, ours, plainly, read_json
from atlas.guard.report import LOSS, Report
from atlas.guard.verification import inspect_foreign


def inspect(
    path: Path, manifest: Path | None = None, text: Path | None = None, sample: str | Path | None = None
) -> Report:
    """Verify any checkpoint, Atlas's own or another project's, and say what could not be checked, and why.

    Args:
        path: safetensors or GGUF file, index of shards, or the folder of one.
        manifest: base.json of a checkpoint of Atlas's own; without it the .json of the same name, if there.
        text: text to measure the loss on; without it the corpus.txt beside the checkpoint or, where a study has it, in
            the folder above, if there.
        sample: text for a model of another project, a file or "english".

    Raises AtlasError where the file cannot be read, or nothing tells what model it should be.
    """
    with plainly():
        try:
            return _inspect(path, manifest, text, sample)
        except AtlasError as error:
            if ours(checkpoint_in(path)):
                raise
            raise AtlasError(str(error).replace(REMEDY, FETCH)) from None  # nobody deletes what others made


def _inspect(path: Path, manifest: Path | None, text: Path | None, sample: str | Path | None) -> Report:
    checkpoint = checkpoint_in(path)
    if not checkpoint.is_file():
        raise AtlasError(f"{path}: no such file; give a safetensors file, such as results/base/1/base.safetensors")
    gguf, beside = is_gguf(checkpoint), checkpoint.with_suffix(".json")
    for given in (manifest, text):
        if given and not given.is_file():
            raise AtlasError(f"{given}: no such file; check the path, or leave it out")
    if manifest and (gguf or _is_other(checkpoint)):
        raise AtlasError(
            f"{manifest}: --manifest goes with checkpoints of Atlas's own, {path} is another project's; leave it out"
        )
    if not manifest and not gguf and beside != checkpoint and _is_manifest(beside):
        manifest = beside
    if manifest or (not gguf and _is_own(checkpoint.parent / CONFIG)):
        if sample:
            raise AtlasError(
                f"--text {sample}: goes with other projects' models; {checkpoint} is Atlas's own: --corpus"
            )
        return _own(path, checkpoint, manifest, text)
    if text:
        raise AtlasError(
            f"{text}: --corpus goes with checkpoints of Atlas's own, and {path} is another project's; give --text"
        )
    return inspect_foreign(path, text=sample)


def _own(path: Path, checkpoint: Path, manifest: Path | None, text: Path | None) -> Report:
    """What is found in a checkpoint of Atlas's own."""
    missing = {}
    places = (folder / "corpus.txt" for folder in checkpoint.absolute().parents[:2])
    text = text or next((corpus for corpus in places if corpus.is_file()), None)
    certificate = verify_checkpoint(checkpoint, manifest, text)
    adopted = checkpoint.with_name(ADOPTED).is_file()
    words = "a model from outside, as a study took it" if adopted else "a model of Atlas's own"
    if not manifest:
        missing["hashes, the seed's own initialisation, the loss on record"] = "no manifest; give --manifest base.json"
    if not text:
        missing[LOSS] = "no text; give --corpus corpus.txt"
    return Report.of_checks(certificate, path, words, missing, manifest, text)


def _is_manifest(beside: Path) -> bool:
    """Whether the .json of a checkpoint's name is a manifest of Atlas's: others keep there what they like."""
    if beside.name == OURS or not beside.is_file():
        return beside.is_file()
    try:
        values = read_json(beside)
    except AtlasError:
        return False
    return isinstance(values, dict) and "fingerprint" in values


def _is_other(checkpoint: Path) -> bool:
    """Whether its config is of an architecture that Atlas never writes; of one that may be damaged a manifest tells."""
    config = checkpoint.with_name(CONFIG)
    values = read_json(config) if config.is_file() and not checkpoint.with_name(ADOPTED).is_file() else {}
    return isinstance(values, dict) and values.get("model_type", "opt") != "opt"


def _is_own(config: Path) -> bool:
    """Whether a config is one that Atlas writes: another OPT has other symbols."""
    if not config.is_file():
        return True  # the error then says what is missing
    values = read_json(config)
    if not isinstance(values, dict) or values.get("model_type") != "opt" or values.get("vocab_size") != len(SYMBOLS):
        return False
    own = opt_config(model_beside(config))
    return {key: values.get(key, value) for key, value in own.items()} == own
