"""How many seeds are trained together where the study leaves that to its device: what `lanes: auto` means.

It follows from the study alone, since folders of results are named by blocks: whichever machine plans, and whichever
node then runs, they cut the same ones. So the memory of a card is what the study says that it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from atlas.study.base_settings import Model
from atlas.study.recipes import Recipe
from atlas.study.settings import Role

ON_A_PROCESSOR = 4  # more are no faster there
ON_A_GPU = 256  # more are no faster there, either
TOKENS = {False: 64, True: 24}  # of a fact, at most: characters, or pieces of a base from outside
KEPT = 16, 6  # numbers of the model's width, and of its ffn, that a layer keeps of a token until the backward pass
COPIES = 6  # of what a lane trains: itself, while it trains, its gradient, means, room to work
SHARE = 0.9  # of a card that is free for these


def tokens_of_a_step(recipe: Recipe, facts_per_session: int, outside: bool) -> int:
    """Tokens of a lane that the largest step of a recipe takes, as far as can be said without the facts."""
    most, new = 0, facts_per_session * (recipe.paraphrases + 1)
    for phase in recipe.active.values():
        facts = new * phase.new + (phase.rehearsal.facts if phase.rehearsal else 0)
        text = phase.text.windows * phase.text.characters if phase.text else 0
        most = max(most, min(facts, phase.batch or facts) * TOKENS[outside] + text)
    return most


def trained_numbers(roles: Iterable[Role], ranks: Iterable[int], shape: Model) -> int:
    """Numbers that a lane adds: of adapters, and at least as many as whole matrices have."""
    wide = {"up", "gate", "down"}
    return sum(ranks) * sum(shape.width + (shape.ffn if role in wide else shape.width) for role in roles)


def lanes_that_fit(gib: float, shape: Model, tokens: int, trained: int) -> int:
    """Lanes that a card of so many GiB holds: a power of two, at least 1 and at most ``ON_A_GPU``.

    Args:
        gib: memory of the card.
        shape: of the base, in float32.
        tokens: of a lane in its largest step.
        trained: numbers that a lane trains.
    """
    of_width, of_ffn = KEPT
    a_token = shape.layers * (of_width * shape.width + of_ffn * shape.ffn)
    base = shape.layers * shape.width * (4 * shape.width + 3 * shape.ffn)
    free = SHARE * gib * 2**30 / 4 - base  # numbers of four bytes
    fitting = int(free // (tokens * a_token + COPIES * trained)) if tokens or trained else ON_A_GPU
    return int(1 << (min(max(fitting, 1), ON_A_GPU).bit_length() - 1))
