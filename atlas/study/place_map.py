"""The map of a study, typed: one place after another, each at the same budgets of parameters, as arms that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from atlas.phrases import listed
from atlas.study.arm import Arm
from atlas.study.base_settings import Model
from atlas.study.recipes import Recipe
from atlas.study.settings import Count, Name, Positive, Rate, Role, Roles, Settings, laid_over, mistakes
from atlas.study.tuning import at_rate, rate_of

Unit = Literal["slot", "role", "layer"]
"""One role in one layer; one role in all layers; all roles of one layer."""
HALF: dict[Role, Literal["attention", "feed_forward"]] = {
    **dict.fromkeys(("q", "k", "v", "o"), "attention"),
    **dict.fromkeys(("up", "gate", "down"), "feed_forward"),
}


def _rising(numbers: list[int]) -> list[int]:
    return sorted(set(numbers))


Sizes = Annotated[list[Positive], AfterValidator(_rising)]


class Budgets(Settings):
    """The budgets that each kind of place is tried at: parameters of its adapters, as near as ranks allow."""

    slot: Sizes = Field([], description="of one role in one layer")
    role: Sizes = Field([], description="of one role in all layers")
    layer: Sizes = Field([], description="of all roles in one layer")


class HalfRates(Settings):
    """Learning rates by the half of the model that a role is in."""

    attention: Rate | None = Field(None, description="of q, k, v, o; null: the recipe's own")
    feed_forward: Rate | None = Field(None, description="of up, gate, down; null: the recipe's own")


class PlaceRates(Settings):
    """Learning rates of the recipe's first phase; those of the others keep their proportion to it."""

    slot: HalfRates = Field(HalfRates(), description="of one role in one layer")
    role: HalfRates = Field(HalfRates(), description="of one role in all layers")
    layer: Rate | None = Field(None, description="of all roles in one layer; null: the recipe's own")


class MapCell(Settings):
    """One place at one budget."""

    arm: Name
    unit: Unit
    role: Role | None = Field(description="null: all of the map")
    layer: Count | None = Field(description="null: all of the map")
    budget: Positive
    rank: Positive | None = Field(description="the nearest to the budget; null: no rank that a matrix can have is near")
    most: Positive = Field(description="parameters that the place can have")


class PlaceMap(Settings):
    """Arms of one recipe, one a place and budget: ``map_q_0_8k``, ``map_q_all_8k``, ``map_all_0_8k``."""

    roles: Roles = Field(min_length=1, description="linear layers: q, k, v, o, up, down; in some models gate, too")
    layers: Annotated[list[Count], AfterValidator(_rising)] = Field(min_length=1, description="layers, from 0")
    budgets: Budgets
    recipe: dict[str, Any] = Field({}, description="overrides of the study's recipe, same keys")
    rates: PlaceRates = PlaceRates()

    def cells(self, model: Model) -> list[MapCell]:
        """All places at all of their budgets, those that no rank fits among them."""
        places: list[tuple[Unit, Role | None, int | None]] = [
            *(("slot", role, layer) for role in self.roles for layer in self.layers),
            *(("role", role, None) for role in self.roles),
            *(("layer", None, layer) for layer in self.layers),
        ]
        return [self._cell(*place, budget, model) for place in places for budget in getattr(self.budgets, place[0])]

    def _cell(self, unit: Unit, role: Role | None, layer: int | None, budget: int, model: Model) -> MapCell:
        of_rank = Arm(targets=self._roles(role), ranks=[1] * len(self._layers(layer))).adapter_parameters(model)
        rank = round(budget / of_rank)
        said = f"{budget // 1000}k" if budget % 1000 == 0 else str(budget)
        return MapCell(
            arm=f"map_{role or 'all'}_{'all' if layer is None else layer}_{said}",
            unit=unit,
            role=role,
            layer=layer,
            budget=budget,
            rank=rank if 1 <= rank <= model.width else None,  # a matrix has no more directions than its shorter side
            most=of_rank * model.width,
        )

    def _roles(self, role: Role | None) -> list[Role]:
        return [role] if role else self.roles

    def _layers(self, layer: int | None) -> list[int]:
        return self.layers if layer is None else [layer]

    def arms(self, model: Model, study: Recipe) -> dict[str, Arm]:
        """The arms of the cells that a rank fits, by name. ValidationError where the recipe is wrong."""
        made = {}
        for cell in self.cells(model):
            if cell.rank:
                roles, layers = self._roles(cell.role), self._layers(cell.layer)
                ranks = [cell.rank if layer in layers else 0 for layer in range(model.layers)]
                rate = getattr(self.rates, cell.unit)
                recipe = self._recipe(getattr(rate, HALF[cell.role]) if cell.role else rate, study)
                made[cell.arm] = Arm(targets=roles, ranks=ranks, recipe=recipe)
        return made

    def _recipe(self, rate: float | None, study: Recipe) -> dict[str, Any]:
        phases = at_rate(study.with_overrides(self.recipe), rate).active if rate else {}
        return laid_over(self.recipe, {"phases": {name: {"lr": phase.lr} for name, phase in phases.items()}})

    def problems(self, model: Model, study: Recipe) -> Iterator[str]:
        """What does not go together or does not fit the base, each in a line that starts with its key."""
        if len(set(self.roles)) != len(self.roles):
            yield f"roles: {self.roles} names a role twice; name each once"
        if self.layers[-1] >= model.layers:
            yield f"layers: found {self.layers[-1]}, expected some of 0 to {model.layers - 1}"
            return
        yield from self._problems_of_budgets(model)
        try:
            recipe = study.with_overrides(self.recipe)
        except ValidationError as error:
            yield from (f"recipe.{mistake}" for mistake in mistakes(error))
            return
        if self.rates != PlaceRates() and rate_of(recipe) is None:
            yield "rates: the recipe trains nothing, so it has no learning rate; leave the key out"

    def _problems_of_budgets(self, model: Model) -> Iterator[str]:
        cells = self.cells(model)
        if not cells:
            yield "budgets: none, so there is no place to try; give slot, role or layer some parameters"
        for unit, budgets in self.budgets.model_dump().items():
            for budget in budgets:
                of_budget = [cell for cell in cells if (cell.unit, cell.budget) == (unit, budget)]
                if not any(cell.rank for cell in of_budget):
                    possible = {cell.most for cell in of_budget}
                    least, most = min(possible) // model.width, max(possible)
                    yield (
                        f"budgets.{unit}: no place can have about {budget:,} parameters; of those asked for, "
                        f"{listed(self.roles)}, they have {least:,} to {most:,}"
                    )
