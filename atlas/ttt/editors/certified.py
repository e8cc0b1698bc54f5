"""The certified base with its training text, as the steps read them that measure it for editors."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from atlas.base.checkpoint import Manifest, load_certified, read_manifest
from atlas.base.corpus import split
from atlas.base.language import LanguageModel
from atlas.workflow import files
from atlas.workflow.allocator import keep_freed_memory
from atlas.workflow.steps import add_certified


@dataclass(frozen=True)
class CertifiedBase:
    """A base, and the part of its corpus that it was trained on."""

    model: LanguageModel
    manifest: Manifest
    training: str

    @staticmethod
    def add_options(options: ArgumentParser, out: str) -> None:
        """Add the options of such a step; ``out`` says what it writes."""
        options.add_argument("--corpus", type=Path, required=True, help="corpus.txt")
        add_certified(options)
        options.add_argument("--out", type=Path, required=True, help=f"{out}, to be written")

    @classmethod
    def read(cls, args: Namespace) -> CertifiedBase:
        """Read what the options name. AtlasError where the base is not certified."""
        torch.set_num_threads(args.threads)
        keep_freed_memory()
        model = load_certified(args.checkpoint, args.manifest, args.certificate)
        manifest = read_manifest(args.manifest)
        training, _ = split(files.read_text(args.corpus), manifest.config.validation)
        return cls(model, manifest, training)
