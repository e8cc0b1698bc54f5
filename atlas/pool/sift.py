"""Sift a source: the facts that keep every rule, and why the others do not, all of it at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool import builtin, own, rules
from atlas.pool.facts import Fact, Unfit
from atlas.pool.rules import ANY, Demands
from atlas.study.pool_settings import Pool
from atlas.workflow import progress


@dataclass(frozen=True)
class Sifted:
    """What a source has.

    Attributes:
        facts: those that keep every rule, in its order.
        unfit: all that is wrong with the others.
        parts: all that is wrong with paraphrases, aliases and further questions, which facts can do without.
        rows: how many facts it has, those that cannot be read among them.
    """

    facts: list[Fact]
    unfit: list[Unfit]
    parts: list[Unfit]
    rows: int

    @property
    def broken(self) -> int:
        """How many facts break a rule."""
        return self.rows - len(self.facts)

    @property
    def table(self) -> str:
        """The reasons with the number of facts that each is true of and an example, a line each."""
        lines = [f"{len(rows):>7,}  {rows[0].reason} ({_example(rows[0])})" for rows in self._by_reason]
        return "\n".join([f"{'facts':>7}  reason (an example)", *lines])

    @property
    def said(self) -> str:
        """How many facts break a rule, and of what most of them do an example."""
        first, *others = self._by_reason
        more = f" and {plural(len(others), 'other reason')}, in the table above" if others else ""
        count = len({one.row for one in (*self.unfit, *self.parts)})
        facts = plural(self.rows, "fact")
        such = f"{plural(len(first), 'fact')}, such as {_example(first[0])}"
        return f"{count} of {facts} break a rule: {first[0].reason} ({such}){more}"

    @property
    def _by_reason(self) -> list[list[Unfit]]:
        """One of each row by reason, that of most rows first; what facts can do without comes last."""
        rows: dict[str, dict[str, Unfit]] = {}
        for one in (*self.unfit, *self.parts):
            rows.setdefault(one.reason, {}).setdefault(one.row, one)
        parts = {one.reason for one in self.parts}
        return sorted(
            ([*each.values()] for each in rows.values()), key=lambda each: (each[0].reason in parts, -len(each))
        )


def sift(spec: Pool, demands: Demands = ANY) -> Sifted:
    """Read the source of a pool, its own file or the tables of Atlas, and apply every rule.

    Raises AtlasError where the source is missing or damaged, or another file than it should be.
    """
    read = own.read_pool_file(spec.source) if spec.source else own.Read(builtin.read_facts(spec.shares), [], {})
    demands = replace(demands, different=not read.published)
    facts, parts = rules.trimmed(read.facts, demands)
    found = rules.problems(facts, demands)
    broken = {at for at, _ in found}
    return Sifted(
        [fact for at, fact in enumerate(facts) if at not in broken],
        [*read.unfit, *(one for _, one in found)],
        parts,
        len(facts) + len({one.row for one in read.unfit}),
    )


def settled(spec: Pool, sifted: Sifted) -> list[Fact]:
    """The facts that a pool goes on with; says the reasons where anything is left out.

    Raises AtlasError where anything breaks a rule and the study does not say ``unfit: skip``, or where more than
    ``most_unfit`` of the facts do.
    """
    where = spec.source or str(builtin.DATA)
    if sifted.unfit or sifted.parts:
        progress.say(f"{where}: what breaks a rule\n{sifted.table}")
        if spec.unfit == "refuse":
            raise AtlasError(
                f"{where}: {sifted.said}; mend the file, or leave them out with `unfit: skip` under `pool`"
            )
    if sifted.broken > spec.most_unfit * sifted.rows or not sifted.facts:
        raise AtlasError(
            f"{where}: {sifted.said}; that is more than pool.most_unfit allows ({spec.most_unfit:.0%}), so mend the "
            "file, or raise pool.most_unfit"
        )
    return sifted.facts


def _example(one: Unfit) -> str:
    return f"{one.row}: {one.example}" if one.example else one.row
