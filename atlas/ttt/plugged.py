"""The classes of plugins that a run teaches by, and the code that its numbers rest on."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from atlas.errors import AtlasError
from atlas.plugins.loading import ADAPTERS, load_class
from atlas.study.methods import HowTaught, reference_of
from atlas.study.settings import Settings, explain
from atlas.ttt.engine.lora import Kind, LoraLinear
from atlas.workflow.plugin_code import digest_of


def adapter_of(run: HowTaught) -> tuple[Kind, Settings | None]:
    """The kind of adapter that a run trains, and its settings. AtlasError where a plugin is not there, or not fit."""
    return class_of(run, ADAPTERS) if run.plugged else (LoraLinear, None)


def code_behind(step: str, method: str) -> str:
    """The digest of the code of a step that teaches by a method, that of a plugin included."""
    return digest_of(step, reference_of(method))


def class_of(run: HowTaught, group: str) -> tuple[type[Any], Any]:
    """The class of a plugin that a run teaches by, and its settings as an instance of what that says.

    Raises AtlasError where it is not there, not fit, or no longer takes the settings.
    """
    reference = reference_of(run.method)
    if reference is None or run.plugged is None:
        raise AtlasError(f"method {run.method!r}: no entry point of {group}; install the package that has it")
    kind, _ = load_class(reference, group)
    try:
        return kind, kind.settings_class.model_validate(run.plugged.settings)
    except ValidationError as error:
        raise AtlasError(f"{run.method}: settings: {explain(error)}; the plugin has changed, plan again") from None
