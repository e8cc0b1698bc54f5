"""How an arm's learning rate was chosen: said beside its figures, and no part of what a run depends on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from atlas.phrases import listed, plural
from atlas.study.recipes import PRESETS, Recipe, preset
from atlas.study.settings import Rate, Seed, Settings


def _rising(rates: list[float]) -> list[float]:
    return sorted(set(rates))


class Tuned(Settings):
    """What was tried before the learning rate of an arm, or the settings of an editor, were fixed."""

    seeds: list[Seed] = Field(min_length=1, description="tuning seeds; none of the study's")
    rates: Annotated[list[Rate], AfterValidator(_rising)] = Field(
        [],
        description="learning rates tried to the end, of the recipe's first phase; the arm's own is one of them",
    )
    study: str | None = Field(None, description="file of the search, such as studies/search.yaml; null: by hand")


def check_tuned(where: str, tuned: Tuned, recipe: Recipe, seeds: list[int]) -> Iterator[str]:
    """What an arm cannot say of its tuning, in lines that start with ``where`` and the key."""
    if shared := sorted({*tuned.seeds} & {*seeds}):
        yield f"{where}.seeds: seed {shared[0]} is one of the study's; name the seeds that only served for tuning"
    rate = rate_of(recipe)
    if tuned.rates and rate is None:
        yield f"{where}.rates: the arm trains nothing, so it has no learning rate; leave the key out"
    elif tuned.rates and rate not in tuned.rates:
        yield (
            f"{where}.rates: found {listed(tuned.rates)}, but the arm's learning rate is {rate:g}; say how that one "
            f"was chosen, or write {where.rpartition('.')[2]}: null"
        )


def rate_of(recipe: Recipe) -> float | None:
    """The learning rate of a recipe: of its first phase; None where it has none."""
    return next((phase.lr for phase in recipe.active.values()), None)


def at_rate(recipe: Recipe, rate: float | None = None) -> Recipe:
    """A recipe whose first phase has a learning rate, and the others in proportion; None, or its own: as it is."""
    own = rate_of(recipe)
    if rate is None or own is None or rate == own:
        return recipe
    scaled = {name: float(f"{phase.lr * (rate / own):.9g}") for name, phase in recipe.active.items()}
    changed = {name: phase and phase.model_copy(update={"lr": scaled[name]}) for name, phase in recipe.phases.items()}
    return recipe.model_copy(update={"phases": changed})


def in_words(tuned: Tuned | None, recipe: Recipe, edits: bool) -> str:
    """How the learning rate of an arm was chosen, or an editor's settings, as far as the study tells."""
    rate = rate_of(recipe)
    if rate is None and not edits:
        return "trains nothing"
    what = "settings" if rate is None else f"{rate:g}"
    if tuned is None:
        untouched = recipe.preset in PRESETS and rate is not None and _rates(recipe) <= _rates_of_preset(recipe.preset)
        return f"{what}, that of preset {recipe.preset}, not tuned" if untouched else f"{what}, not tuned"
    where = f"{tuned.study or 'by hand'} on {'seed' if len(tuned.seeds) == 1 else 'seeds'} {listed(tuned.seeds)}"
    return ", ".join(filter(None, [what, _among_those_tried(tuned.rates, rate), where]))


def _among_those_tried(rates: list[float], rate: float | None) -> str:
    """Where a rate stands among those tried: of one at the edge, a better one may lie beyond."""
    if len(rates) < 2:
        return "the one rate tried" if rates else ""
    edge = "the lowest of " if rate == rates[0] else "the highest of " if rate == rates[-1] else "of "
    return f"{edge}{plural(len(rates), 'rate')} tried ({rates[0]:g} to {rates[-1]:g})"


def _rates(recipe: Recipe) -> set[tuple[str, float]]:
    """The learning rate of every phase."""
    return {(name, phase.lr) for name, phase in recipe.active.items()}


def _rates_of_preset(name: str) -> set[tuple[str, float]]:
    return _rates(Recipe.model_validate({**preset(name), "preset": name}))
