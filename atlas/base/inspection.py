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
from atlas.guard.formats import CONFIG, checkpoint_in, is_gguf
from atlas.guard.report import LOSS, Report
from atlas.guard.verification import inspect_foreign
from atlas.workflow import files


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
    checkpoint = checkpoint_in(path)
    if not checkpoint.is_file():
        raise AtlasError(f"{path}: no such file; give a safetensors file, such as results/base/1/base.safetensors")
    gguf, beside = is_gguf(checkpoint), checkpoint.with_suffix(".json")
    if manifest and gguf:
        raise AtlasError(f"{manifest}: goes with checkpoints of Atlas's own, but {checkpoint} is GGUF; leave it out")
    if not manifest and not gguf and beside.is_file() and beside != checkpoint:
        manifest = beside
    missing = {}
    if manifest or (not gguf and _is_own(checkpoint.parent / CONFIG)):
        if sample:
            raise AtlasError(
                f"--text {sample}: goes with other projects' models; {checkpoint} is Atlas's own: --corpus"
            )
        places = (folder / "corpus.txt" for folder in checkpoint.absolute().parents[:2])
        text = text or next((corpus for corpus in places if corpus.is_file()), None)
        certificate = verify_checkpoint(checkpoint, manifest, text)
        adopted = checkpoint.with_name(ADOPTED).is_file()
        words = "a model from outside, as a study took it" if adopted else "a model of Atlas's own"
        if not manifest:
            missing["hashes, the seed's own initialisation, the loss on record"] = (
                "no manifest; give --manifest base.json"
            )
        if not text:
            missing[LOSS] = "no text; give --corpus corpus.txt"
    else:
        return inspect_foreign(path, text=sample)
    return Report.of_checks(certificate, path, words, missing, manifest, text)


def _is_own(config: Path) -> bool:
    """Whether a config is one that Atlas writes: another OPT has other symbols."""
    if not config.is_file():
        return True  # the error then says what is missing
    values = files.read_json(config)
    if not isinstance(values, dict) or values.get("model_type") != "opt" or values.get("vocab_size") != len(SYMBOLS):
        return False
    own = opt_config(model_beside(config))
    return {key: values.get(key, value) for key, value in own.items()} == own
