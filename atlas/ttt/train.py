"""Teachers that train: LoRA adapters, or whole matrices, by the recipe of an arm."""

from __future__ import annotations

from atlas.errors import AtlasError
from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.inputs import Given
from atlas.ttt.recipe import Trainer


def trainer(given: Given) -> Trainer:
    """The trainer that an arm asks for; what it trains is attached to the model. AtlasError where the arm edits."""
    if given.spec.editing:
        raise AtlasError(f"--spec: method {given.spec.method!r} does not train; atlas.ttt.edit is the step that edits")
    return Trainer(attached(given), given.spec.recipe, given.device, given.text)


def attached(given: Given) -> Adapters:
    """What an arm trains: adapters, or where it fine-tunes whole matrices."""
    spec, model = given.spec, given.model
    if spec.method == "finetune":
        layers = [layer for layer, rank in enumerate(spec.ranks) if rank]
        return Full.attach(model, spec.targets, layers)
    return Adapters.attach(model, spec.targets, spec.ranks, spec.alpha)
