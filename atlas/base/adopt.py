"""Take a language model from outside as the base: check it, and write it as every other step reads a base.

Queries, keys and values that share a matrix get one each, and all numbers become float32; nothing else changes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.base.checkpoint import base_options, save
from atlas.base.corpus import split
from atlas.base.hosted import CONFIG, Hosted, hosted, hosted_name
from atlas.base.language import validation_loss
from atlas.base.pieces import TOKENIZER, text_of
from atlas.errors import AtlasError
from atlas.guard.report import insist
from atlas.guard.verification import Foreign, read_foreign, verify_foreign
from atlas.study.base_settings import Base
from atlas.workflow import files, progress
from atlas.workflow.digest import code_digest
from atlas.workflow.steps import environment, now, run_step


def main(arguments: Sequence[str] | None = None) -> None:
    """Adopt a model by the command line; see ``python -m atlas.base.adopt --help``."""
    args = base_options(__doc__).parse_args(arguments)
    config: Base = args.spec
    if not isinstance(config.model, str):
        raise AtlasError("base.model: a shape, so there is nothing to adopt; atlas.base.pretrain is the step for it")
    torch.set_num_threads(args.threads)
    clock, started = time.perf_counter(), now()
    model, beside, words = adopt(Path(config.model), "base.model")
    _, validation = split(files.read_text(args.corpus), config.validation)
    val_loss = validation_loss(model, model.text.encode(validation, str(args.corpus)))
    save(
        args.checkpoint,
        args.manifest,
        model,
        config=config,
        val_loss=val_loss,
        tokens=0,
        seconds=time.perf_counter() - clock,
        corpus_sha256=files.sha256(args.corpus),
        code=code_digest("atlas.base.adopt"),
        run={"threads": args.threads, "started": started, "finished": now(), **environment("torch", "transformers")},
        beside=beside,
    )
    progress.say(f"base: {words}; {val_loss:.4f} nats/char of the corpus, see {args.checkpoint}")


def adopt(source: Path, named: str) -> tuple[Hosted, dict[str, Any], str]:
    """A model from outside, checked and frozen, the JSON that belongs beside its checkpoint, and what it is in words.

    ``named`` is the key or option that names it. AtlasError where a check fails, or it cannot be read.
    """
    text, _ = text_of(source)  # first: what cannot be taught need not be checked
    foreign = read_foreign(source)
    insist(verify_foreign(foreign), foreign.origin, f"not taken as a base; fetch it again, or name another {named}")
    tied = {"tie_word_embeddings": foreign.blueprint.tied}  # a file may hold a head that is the embedding again
    beside = {CONFIG: dict(foreign.config) | tied, TOKENIZER: json.loads(text.tokenizer.to_str())}
    model = hosted(beside[CONFIG], text)
    model.load_state_dict(dict(adopted(foreign)), strict=True)
    model.requires_grad_(False).eval()
    return model, beside, foreign.words


def adopted(foreign: Foreign) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a checkpoint by the name that a hosted model has for it, float32."""
    for spec in foreign.specs.values():
        if spec.role == "head" and foreign.blueprint.tied:
            continue  # the embedding again
        for part in replace(spec, unused=0).parts(foreign.tensors[spec.name]):
            yield hosted_name(part, foreign.blueprint.prefix), part.values.float().contiguous()


if __name__ == "__main__":
    run_step(main)
