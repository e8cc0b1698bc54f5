"""What other tools say when they load a damaged checkpoint: an error, a warning, or nothing at all.

Each loads as its documentation shows, with its own defaults, and everything that it says is kept: exceptions, warnings,
log records, and what it hands back about names that did not fit. A tool that is not installed is not asked.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from torch import nn

from atlas.guard.formats import CONFIG, WHOLE

LOGGERS = ("transformers", "accelerate", "peft", "safetensors")

Load = Callable[[Path], Mapping[str, list[str]]]
"""How a tool loads a folder; gives back names, where it tells its caller of some that did not fit."""
Verdict = Literal["error", "warning", "nothing"]


@dataclass(frozen=True)
class Heard:
    """How a tool took a checkpoint, and the first line of what it said."""

    verdict: Verdict
    said: str = ""


def hear(load: Load, folder: Path) -> Heard:
    """What a tool says as it loads a folder: a transformers checkpoint, or an adapter of PEFT."""
    said: list[str] = []
    with _listening(said):
        try:
            said += [f"{kind}: {names[0]}" for kind, names in load(folder).items() if names]
        except Exception as error:
            return Heard("error", _first_line(f"{type(error).__name__}: {error}"))
    return Heard("warning", _first_line(said[0])) if said else Heard("nothing")


def installed() -> dict[str, str]:
    """Those of the tools that are installed, and their versions."""
    found = {}
    for tool in (*TOOLS_OF_MODELS, *ADAPTER_TOOLS):
        try:
            found[tool] = metadata.version(tool)
        except metadata.PackageNotFoundError:
            continue
    return found


def _fresh(folder: Path) -> nn.Module:
    """A model of the folder's config, as it is before anything is loaded."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model: nn.Module = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder / CONFIG))
    return model


def _torch(folder: Path) -> Mapping[str, list[str]]:
    """``load_state_dict`` with ``strict=False``, as code does that ships its own map of names; it hands back names."""
    from safetensors.torch import load_file

    found = _fresh(folder).load_state_dict(load_file(folder / WHOLE), strict=False)
    return {"missing": found.missing_keys, "unexpected": found.unexpected_keys}


def _safetensors(folder: Path) -> Mapping[str, list[str]]:
    from safetensors.torch import load_model

    load_model(_fresh(folder), folder / WHOLE)
    return {}


def _accelerate(folder: Path) -> Mapping[str, list[str]]:
    from accelerate import load_checkpoint_in_model

    load_checkpoint_in_model(_fresh(folder), str(folder / WHOLE))
    return {}


def _transformers(folder: Path) -> Mapping[str, list[str]]:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder)
    return {}


def _peft(base: Path, folder: Path) -> Mapping[str, list[str]]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    return {}


TOOLS_OF_MODELS: Mapping[str, Load] = {
    "torch": _torch,
    "safetensors": _safetensors,
    "accelerate": _accelerate,
    "transformers": _transformers,
}
ADAPTER_TOOLS: Mapping[str, Callable[[Path, Path], Mapping[str, list[str]]]] = {"peft": _peft}
"""Tools that load an adapter: given its base, too."""


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Collect log records from WARNING on, and warnings, of all that loads; whatever was set stays as it was."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    ear = Ear(logging.WARNING)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(ear)
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield
        said += [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(ear)
            logger.setLevel(level)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:200]
