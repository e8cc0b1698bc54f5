"""Which tables a study asks for: those that its arms give something to show in.

Nothing here that is slow to import: every snakemake command asks.
"""

from __future__ import annotations

from atlas.study.config import Study
from atlas.tables.factorial import FEWEST_SEEDS, Levels, design, place_name


def several_paraphrases(study: Study) -> bool:
    """Whether arms are taught different numbers of paraphrases, and differ in nothing else."""
    taught: dict[str, set[int]] = {}
    for name, arm in study.arms.items():
        recipe = study.recipe_of(name)
        rest = arm.place_in(study.shape), arm.base, recipe.model_copy(update={"paraphrases": 0})
        taught.setdefault(str(rest), set()).add(recipe.paraphrases)
    return any(len(paraphrases) > 1 for paraphrases in taught.values())


def crossed(study: Study) -> bool:
    """Whether the arms cross recipes and placements, with seeds enough to tell how much each explains."""
    levels = {name: found for name in study.arms if (found := levels_of(study, name))}
    return len(study.all_seeds) >= FEWEST_SEEDS and design(levels) is not None


def levels_of(study: Study, name: str) -> Levels | None:
    """Where an arm stands in the factors of the table of variance; None where it does not count there."""
    arm, recipe = study.arms[name], study.recipe_of(name)
    if arm.method != "lora" or arm.base.reinit or not recipe.active:
        return None
    return Levels(recipe.preset, place_name(arm.targets), arm.adapter_parameters(study.shape))
