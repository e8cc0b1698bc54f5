"""Small made-up facts that keep every rule, for tests to break one at a time."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from atlas.pool.facts import PLACEBO, TAUGHT, UNDRAWN, Fact


def make_fact(town: str = "Aldermoor", **changes: Any) -> Fact:
    """A good fact about a town; facts about different towns share nothing but their template."""
    fact = Fact(
        fact_id=f"towns/mayor/{town.lower()}",
        role=UNDRAWN,
        domain="towns",
        template="towns/mayor",
        prompt=f"The mayor of {town} is",
        answer="Ms Quill",
        rephrases=(
            f"{town} elected as its head",
            f"In the town hall, {town} is governed by",
            f"Whoever writes letters to {town} addresses",
        ),
    )
    return replace(fact, **changes)


def make_pool(**sizes: int) -> list[Fact]:
    """Good facts, so many a domain, over two templates a domain."""
    return [
        make_fact(
            f"{domain.title()}ville{index}",
            fact_id=f"{domain}/{index}",
            domain=domain,
            template=f"{domain}/{'old' if index % 2 else 'new'}",
            answer=f"Mr Reed the {index}th",
        )
        for domain, size in sizes.items()
        for index in range(size)
    ]


def with_roles(facts: list[Fact], placebo_every: int = 5) -> list[Fact]:
    """The same facts with roles: every fifth is placebo."""
    return [replace(fact, role=PLACEBO if index % placebo_every == 0 else TAUGHT) for index, fact in enumerate(facts)]


def as_row(fact: Fact) -> dict[str, Any]:
    """A fact as a user would write it in JSON: lists for tuples, null for a role not drawn."""
    row = asdict(fact)
    del row["true_answer"], row["further"]
    return row | {"role": fact.role or None, "rephrases": list(fact.rephrases), "aliases": list(fact.aliases)}
