"""What two arms differ in: a comparison of two that differ in several things cannot tell which of them it was."""

from __future__ import annotations

from atlas.phrases import listed
from atlas.study.recipes import Recipe
from atlas.ttt.run_files import RunRecord

SAME_SIZE = 0.05
"""Arms are of one size where the smaller one lacks at most this share of the larger one's trainable parameters: ranks
are whole numbers, so that no two places can have exactly as many."""


def unlike(a: RunRecord, b: RunRecord) -> str:
    """What two arms differ in, in words, such as ``place and size``; ``nothing`` where they do not.

    place: targets, or how ranks are shared out over the layers. size: trainable parameters. recipe: all of it but its
    learning rates, which are tuned for a place. settings: the method's own, of an editor but its layers, which are a
    place. An arm that is taught nothing differs in teaching alone, wherever its adapters sit.
    """
    teach, edits = a.teaches and b.teaches, a.edits or b.edits
    trained, size = teach and not edits, abs(a.trainable_params - b.trainable_params)
    differences = {
        "teaching": a.teaches != b.teaches,
        "method": a.method != b.method,
        "place": teach and _place(a) != _place(b),
        "size": teach and size > SAME_SIZE * max(a.trainable_params, b.trainable_params),
        "recipe": trained and _but_rates(a.recipe) != _but_rates(b.recipe),
        "learning rate": trained and _rates_differ(a.recipe, b.recipe),
        "settings": a.method == b.method and _settings(a) != _settings(b),
        "start": a.start != b.start,
        "base": set(a.reinit) != set(b.reinit),
    }
    return listed(name for name, differ in differences.items() if differ) if any(differences.values()) else "nothing"


def _place(record: RunRecord) -> tuple[frozenset[str], list[float]]:
    return frozenset(record.targets), [rank / max(record.ranks) for rank in record.ranks]


def _but_rates(recipe: Recipe) -> Recipe:
    phases = {name: phase.model_copy(update={"lr": 0.5}) for name, phase in recipe.active.items()}
    return recipe.model_copy(update={"preset": "any", "phases": phases})


def _rates_differ(a: Recipe, b: Recipe) -> bool:
    """In the phases that both have."""
    return any(a.active[name].lr != b.active[name].lr for name in a.active.keys() & b.active.keys())


def _settings(record: RunRecord) -> object:
    own = record.plugged.settings if record.plugged else record.editing.model_dump() if record.editing else {}
    return {key: value for key, value in own.items() if key not in ("method", "layer", "layers")}
