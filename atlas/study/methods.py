"""The methods by which an arm may teach: those of Atlas, and the classes of plugins that a study names."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, WithJsonSchema

from atlas.errors import PluginError
from atlas.plugins import loading
from atlas.plugins.loading import ADAPTERS, EDITORS, PATTERN
from atlas.study.editor_settings import BY_METHOD, Editing, EditorMethod, LayeredSettings
from atlas.study.settings import Settings

OwnMethod = Literal["lora", "finetune", EditorMethod]
"""LoRA adapters or whole matrices that a recipe trains, or an editor (``editor_settings``)."""
OWN: tuple[str, ...] = get_args(OwnMethod)


class Plugged(Settings):
    """What a plugin's method was told, all defaults filled in: so whoever reads a record needs no plugin."""

    kind: Literal["editing", "adapter"]
    settings: dict[str, Any]


class HowTaught(Settings):
    """How a run teaches: a method, and what an editor, or a plugin, is told besides."""

    method: str = Field("lora", description="of Atlas, or a plugin's")
    editing: Editing | None = Field(None, description="settings of an editor of Atlas; null where another teaches")
    plugged: Plugged | None = Field(None, description="what a plugin's method is told; null for methods of Atlas")

    @property
    def edits(self) -> bool:
        """Whether an editor writes facts, of Atlas or a plugin's."""
        return self.editing is not None or (self.plugged is not None and self.plugged.kind == "editing")

    @property
    def adapts(self) -> bool:
        """Whether adapters are trained, LoRA's or a plugin's; else whole matrices change."""
        return self.method == "lora" or (self.plugged is not None and self.plugged.kind == "adapter")


def plugged_class(method: str) -> tuple[type[Any], str] | None:
    """The class of a plugin that a method names, and its group; None for those of Atlas.

    Raises PluginError where there is none, or it is not what a method has to be.
    """
    if method in OWN:
        return None
    reference = loading.reference_of(method, EDITORS, ADAPTERS)
    if reference is None:
        entries = sorted({*loading.installed(EDITORS), *loading.installed(ADAPTERS)})
        there = f"; of plugins: {', '.join(entries)}" if entries else ""
        raise PluginError(
            f"no method of Atlas ({', '.join(OWN)}{there}); write one of these, the entry point of a package that is "
            "installed, or my_package.module:MyClass"
        )
    found, group = loading.load_class(reference, EDITORS, ADAPTERS)
    least = {EDITORS: LayeredSettings, ADAPTERS: Settings}[group]
    kind = found.settings_class
    if not (isinstance(kind, type) and issubclass(kind, least)):
        raise PluginError(
            f"{reference}: its settings_class is {kind!r:.80}, expected a class derived from "
            f"{least.__module__}.{least.__name__}"
        )
    try:
        kind.model_validate({})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise PluginError(f"{reference}: its settings have no default for {key!r}; give every key one") from None
    return found, group


def reference_of(method: str) -> str | None:
    """``package.module:Name`` of the plugin that a method names; None for the methods of Atlas. Errors as above."""
    return None if method in OWN else loading.reference_of(method, EDITORS, ADAPTERS)


def section_of(method: str) -> Literal["editing", "adapter", ""]:
    """Where an arm of this method has settings of the method's own, besides targets, ranks and recipe; "" for none."""
    if method in BY_METHOD:
        return "editing"
    if plugged := plugged_class(method):
        return "editing" if plugged[1] == EDITORS else "adapter"
    return ""


def edits(method: str) -> bool:
    """Whether an editor writes facts; else a recipe trains."""
    return section_of(method) == "editing"


def adapts(method: str) -> bool:
    """Whether adapters train, of ranks that the arm names; else whole matrices change."""
    return method == "lora" or section_of(method) == "adapter"


def known(method: str) -> str:
    """The method; ValueError where there is none of this name, in a line that a validator may say."""
    try:
        plugged_class(method)
    except PluginError as error:
        raise ValueError(str(error)) from None
    return method


Method = Annotated[
    str,
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [*OWN], "type": "string"},
                {"pattern": PATTERN, "type": "string"},
                {"pattern": "^[a-z][a-z0-9_]*$", "type": "string"},
            ]
        }
    ),
]
"""How facts are taught: a method of Atlas, an entry point, or ``package.module:Name``; ``known`` checks it."""
