"""An arm, typed: by which method facts are taught, where, and what else differs from the study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, field_validator

from atlas.phrases import plural
from atlas.study.base_settings import Model
from atlas.study.editor_settings import BY_METHOD, LayeredSettings, RomeSettings, layers_of
from atlas.study.methods import Method, Plugged, adapts, edits, known, plugged_class
from atlas.study.paths import OwnPath
from atlas.study.recipes import Recipe
from atlas.study.settings import Positive, Rate, Role, Roles, Settings, laid_over, mistakes
from atlas.study.tuning import Tuned, at_rate

NOT_OF_EDITORS = {
    "targets": "an editor writes into `down`, in the layers of its `editing`",
    "ranks": "an editor changes whole matrices",
    "recipe": "an editor does not train",
    "start": "an editor has no adapter to begin with",
    "lr": "an editor has no learning rate; its settings stand below `editing`",
    "adapter": "an editor's settings stand below `editing`",
}


class ArmBase(Settings):
    """How an arm's base differs, on purpose, from the certified one."""

    reinit: Roles = Field([], description="roles left at a fresh initialisation in every layer (the confound)")


class Locating(Settings):
    """What the changed adapters of an arm are asked, see docs/locate.md; true for all as it is by default."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "boolean"]})

    groups: Positive | None = Field(
        None, description="groups of neighbouring layers that are changed together; null: every layer by itself"
    )
    facts: Positive | None = Field(
        80, description="taught facts that are asked, evenly from the first one taught to the last; null: all"
    )
    judged: Positive = Field(20, description="of these, facts whose association is measured, evenly too, at most")
    placebo: Positive = Field(20, description="placebo facts that are asked, evenly over the pool, at most")
    windows: Positive = Field(
        2, description="windows of the base's validation text, of its whole context, for its loss, at most"
    )


class Arm(Settings):
    """One way to teach: a method, where it works, and what else it changes."""

    targets: Roles = Field([], description="linear layers that get an adapter, or are trained; none for editors")
    ranks: int | list[int] = Field(32, description="rank, for all layers or layer by layer; 0 leaves a layer out")
    method: Method = Field(
        "lora",
        description="finetune: the targets' whole matrices; my_package.module:MyClass, or an entry point: an editor or "
        "adapter of a plugin (docs/plugins.md); the others edit",
    )
    recipe: dict[str, Any] = Field({}, description="overrides of the study's recipe, same keys; none for editors")
    lr: Rate | None = Field(
        None,
        description="learning rate of the recipe's first phase; those of the others keep their proportion to it; null: "
        "the recipe's own",
    )
    editing: dict[str, Any] = Field(
        {}, description="what an editor does otherwise than by default, see docs/editors.md; for editors only"
    )
    adapter: dict[str, Any] = Field(
        {}, description="what a plugin's adapter does otherwise than by default; for those only, see docs/plugins.md"
    )
    sweep: dict[str, list[Any]] = Field(
        {},
        description="key of the arm, its recipe or its editing, with dots (phases.slow.lr), to a list of values: makes "
        "an arm of each combination, named ARM_KEY_VALUE; contrasts and `only` that name ARM mean all of them",
    )
    base: ArmBase = ArmBase()
    start: OwnPath | None = Field(
        None, description="folder of a PEFT adapter that every seed begins with; null: a fresh one; for adapters only"
    )
    tuned: Tuned | None = Field(
        None,
        description="how the learning rate, or an editor's settings, were chosen, for the reader: a change reruns no "
        "run; null: they were not tuned",
    )
    locate: Locating | None = Field(
        None,
        description="true: find out where in its adapters the facts sit, once it is taught (docs/locate.md); what is "
        "asked may be said instead; for adapters only, and a change reruns no run",
    )

    @field_validator("method")
    @classmethod
    def _known(cls, method: str) -> str:
        return known(method)

    @field_validator("locate", mode="before")
    @classmethod
    def _spelt_out(cls, given: Any) -> Any:
        return ({} if given else None) if isinstance(given, bool) else given

    @property
    def edits(self) -> bool:
        """Whether the arm writes facts by an editor; else a recipe trains."""
        return edits(self.method)

    @property
    def adapts(self) -> bool:
        """Whether adapters train, LoRA's or a plugin's; else whole matrices change."""
        return adapts(self.method)

    @property
    def settings(self) -> Settings | None:
        """The settings of the method's own, an editor's or those of a plugin's adapter; None where it has none.

        ValidationError where a key is wrong.
        """
        kind: type[Settings]
        if self.method in BY_METHOD:
            kind, named, said = BY_METHOD[self.method], {"method": self.method}, self.editing
        elif plugged := plugged_class(self.method):
            kind, named, said = plugged[0].settings_class, {}, self.editing if self.edits else self.adapter
        else:
            return None
        defaults = kind.model_validate(named).model_dump()  # a section's keys keep the method's own defaults
        return kind.model_validate(laid_over(defaults, {**said, **named}))

    @property
    def plugged(self) -> Plugged | None:
        """What a plugin's method is told; None for a method of Atlas. ValidationError where a key is wrong."""
        if plugged_class(self.method) is None or (settings := self.settings) is None:
            return None
        return Plugged(kind="editing" if self.edits else "adapter", settings=settings.model_dump(mode="json"))

    @property
    def roles(self) -> list[Role]:
        """The linear layers that change."""
        return ["down"] if self.edits else self.targets

    def layer_ranks(self, layers: int) -> list[int]:
        """Ranks layer by layer, shape (layers,)."""
        return [self.ranks] * layers if isinstance(self.ranks, int) else list(self.ranks)

    def ranks_in(self, model: Model) -> list[int]:
        """Ranks layer by layer, shape (layers,); where whole matrices change, full ones."""
        if self.adapts:
            return self.layer_ranks(model.layers)
        settings = self.settings
        changed = layers_of(settings) if isinstance(settings, RomeSettings | LayeredSettings) else range(model.layers)
        return [model.width if layer in changed else 0 for layer in range(model.layers)]

    def place_in(self, model: Model) -> tuple[str, Settings | None, tuple[Role, ...], tuple[int, ...], str | None]:
        """How, where and from what on it teaches, whatever its recipe and its base."""
        return self.method, self.settings, tuple(sorted(self.roles)), tuple(self.ranks_in(model)), self.start

    def adapter_parameters(self, model: Model) -> int:
        """Parameters of its LoRA adapters: of rank r on a matrix of m by n they are r (m + n)."""
        sides = dict.fromkeys(("up", "gate", "down"), model.width + model.ffn)
        return sum(sides.get(role, 2 * model.width) for role in self.targets) * sum(self.layer_ranks(model.layers))

    def recipe_over(self, study: Recipe) -> Recipe:
        """What the arm trains by: the study's recipe with the arm's overrides laid over it, key by key, or over a
        preset that the arm names; for an editor one without phases, by the method's name."""
        if self.edits:
            own = self.method.rpartition(":")[2].lower().strip("_")
            return Recipe.model_validate({"preset": own, "phases": {}})
        return at_rate(study.with_overrides(self.recipe), self.lr)


def check_arm(where: str, arm: Arm, model: Model) -> Iterator[str]:
    """What does not fit an arm's method or the base's shape, in lines that start with ``where`` and the key."""
    if arm.sweep:
        yield f"{where}.sweep: only `arms` and `ablations` of a study are swept; leave the key out"
    if arm.locate and arm.method != "lora":
        yield f"{where}.locate: {arm.method} leaves no LoRA to take apart; leave the key out, or choose method lora"
    elif arm.locate and (arm.locate.groups or 0) > model.layers:
        found, layers = arm.locate.groups, plural(model.layers, "layer")
        yield f"{where}.locate.groups: {found}, but the base has {layers}; write at most {model.layers}"
    yield from (_check_editor if arm.edits else _check_trained)(where, arm, model)


def _check_trained(where: str, arm: Arm, model: Model) -> Iterator[str]:
    if arm.editing:
        yield f"{where}.editing: method {arm.method!r} trains; leave the key out, or choose an editor"
    if arm.adapter and plugged_class(arm.method) is None:
        yield f"{where}.adapter: method {arm.method!r} has no settings of its own; leave the key out"
    else:
        yield from _check_settings(f"{where}.adapter", arm)
    if not arm.targets:
        yield f"{where}.targets: none, so nothing would be trained; name linear layers, such as [q, v]"
    for key, roles in (("targets", arm.targets), ("base.reinit", arm.base.reinit)):
        if len(set(roles)) != len(roles):
            yield f"{where}.{key}: {roles} names a role twice; name each once"
    if arm.start and arm.method != "lora":
        lacks = "cannot begin with a LoRA" if arm.adapts else "has no adapter to begin with"
        yield f"{where}.start: {arm.method} {lacks}; leave the key out, or choose method lora"
    if arm.method == "finetune" and "ranks" in arm.model_fields_set:
        yield f"{where}.ranks: finetune trains whole matrices; leave the key out"
    else:
        yield from _check_ranks(f"{where}.ranks", arm.ranks_in(model), model)


def _check_ranks(where: str, ranks: list[int], model: Model) -> Iterator[str]:
    if len(ranks) != model.layers:
        found = f"{plural(len(ranks), 'rank')} for {plural(model.layers, 'layer')}"
        yield f"{where}: {found}; give one a layer"
    elif impossible := [rank for rank in ranks if not 0 <= rank <= model.width]:
        yield f"{where}: rank {impossible[0]} is impossible; expected 0 to {model.width} (the width)"
    elif not any(ranks):
        yield f"{where}: all ranks are 0, so nothing would be trained; give a layer a rank"


def _check_editor(where: str, arm: Arm, model: Model) -> Iterator[str]:
    for key, why in NOT_OF_EDITORS.items():
        if key in arm.model_fields_set:
            yield f"{where}.{key}: {why}; leave the key out"
    if "method" in arm.editing:
        yield f"{where}.editing.method: the method stands beside `editing`; write it there, once"
    if arm.base.reinit:
        yield f"{where}.base.reinit: an editor knows the keys of the certified base only; leave it out"
    if problems := [*_check_settings(f"{where}.editing", arm)]:
        yield from problems
        return
    settings = arm.settings
    assert isinstance(settings, RomeSettings | LayeredSettings)
    layers = layers_of(settings)
    if layers != sorted(set(layers)) or layers[-1] >= model.layers:
        key = "layer" if isinstance(settings, RomeSettings) else "layers"
        yield f"{where}.editing.{key}: found {layers}, expected some of 0 to {model.layers - 1}, rising, each once"


def _check_settings(where: str, arm: Arm) -> Iterator[str]:
    try:
        _ = arm.settings
    except ValidationError as error:
        yield from (f"{where}.{mistake}" for mistake in mistakes(error))
