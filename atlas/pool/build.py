"""Build the pool: read the fact tables (or a user's own), check every rule, draw which facts are taught and which not.

The draw is stratified: domains by their shares, and within a domain every template by its number of facts, so taught
and placebo facts are alike in all but the teaching.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from atlas.draws import Key, rng
from atlas.errors import AtlasError
from atlas.pool import builtin, own, rules
from atlas.pool.facts import PLACEBO, TAUGHT, UNDRAWN, Fact, pool_table
from atlas.pool.shares import largest_remainder
from atlas.study.pool_settings import Pool
from atlas.workflow import files, progress
from atlas.workflow.steps import add_spec, parser, run_step

OWN_TAUGHT, OWN_WHOLE = 4, 5  # of an own pool without roles, four facts in five are taught


@dataclass(frozen=True)
class Wanted:
    """How many facts of one role are wanted, and the domain shares to draw them in."""

    role: str
    count: int
    shares: Mapping[str, int]


def build(spec: Pool) -> list[Fact]:
    """The facts of the pool with their roles, in the order of the tables.

    Raises AtlasError naming the fact that breaks a rule, or the domain that has too few facts.
    """
    facts = _read(spec)
    role_of: dict[str, str] = {}
    for wanted in _wanted(spec, facts):
        free = [fact for fact in facts if fact.role in (UNDRAWN, wanted.role) and fact.fact_id not in role_of]
        role_of |= dict.fromkeys(_draw(free, wanted, spec), wanted.role)
    return [replace(fact, role=role_of[fact.fact_id]) for fact in facts if fact.fact_id in role_of]


def _read(spec: Pool) -> list[Fact]:
    """The facts of the tables or of the source, which keep every rule."""
    facts = own.read_facts(spec.source) if spec.source else builtin.read_facts(spec.shares)
    demands = rules.PUBLISHED if own.is_published(spec.source) else rules.OURS
    if spec.unfit == "skip":
        facts = _without_unfit(facts, demands, spec.source)
    rules.check(facts, lambda fact: spec.source or str(builtin.DATA / f"{fact.domain}.tsv"), demands)
    return facts


def _without_unfit(facts: list[Fact], demands: rules.Demands, source: str | None) -> list[Fact]:
    """The facts that break no rule; says how many others there are, and what is wrong with the first."""
    found = list(rules.problems(facts, demands))
    unfit = {id(fact) for fact, _ in found}
    if not found:
        return facts
    if len(unfit) == len(facts):
        raise AtlasError(f"{source}: no fact keeps the rules; of fact {found[0][0].fact_id}: {found[0][1]}")
    progress.say(f"{source}: {len(unfit)} of {len(facts)} facts skipped (fact {found[0][0].fact_id}: {found[0][1]})")
    return [fact for fact in facts if id(fact) not in unfit]


def _wanted(spec: Pool, facts: list[Fact]) -> tuple[Wanted, Wanted]:
    """Taught first: with rows to spare, rounding never takes a fact from what is taught."""
    if not spec.source:
        taught, placebo = spec.most_taught or 0, spec.most_placebo or 0
        return Wanted(TAUGHT, taught, spec.shares), Wanted(PLACEBO, placebo, spec.shares)
    if facts[0].role == UNDRAWN:
        spare = len(facts) - (spec.placebo or 0)
        taught = spec.taught or (spare if spec.placebo else len(facts) * OWN_TAUGHT // OWN_WHOLE)
        shares = Counter(fact.domain for fact in facts)
        return Wanted(TAUGHT, taught, shares), Wanted(PLACEBO, spec.placebo or len(facts) - taught, shares)
    by_role = {role: Counter(fact.domain for fact in facts if fact.role == role) for role in (TAUGHT, PLACEBO)}
    return (
        Wanted(TAUGHT, spec.taught or by_role[TAUGHT].total(), by_role[TAUGHT]),
        Wanted(PLACEBO, spec.placebo or by_role[PLACEBO].total(), by_role[PLACEBO]),
    )


def _draw(free: list[Fact], wanted: Wanted, spec: Pool) -> list[str]:
    """Draw the fact_ids of one role from the facts that are free for it."""
    where = spec.source or str(builtin.DATA)
    if wanted.count < 1 or not wanted.shares:
        raise AtlasError(f"{where}: no fact is left to be {wanted.role}; a pool needs taught and placebo facts")
    room = dict.fromkeys(wanted.shares, 0) | Counter(fact.domain for fact in free)
    needed = largest_remainder(wanted.count, wanted.shares, room)
    for domain, count in needed.items():
        if count > room[domain]:
            raise AtlasError(
                f"{where}: domain {domain!r} has {room[domain]} facts that can be {wanted.role}, {count} needed; "
                f"add facts to it or lower pool.{wanted.role}"
            )
    drawn: list[str] = []
    for domain, count in needed.items():
        drawn += _draw_domain([fact for fact in free if fact.domain == domain], count, spec.seed, wanted.role)
    return drawn


def _draw_domain(free: Iterable[Fact], count: int, *key: Key) -> list[str]:
    """Draw ``count`` facts of one domain, every template in proportion to its facts."""
    templates: dict[str, list[str]] = {}
    for fact in free:
        templates.setdefault(fact.template, []).append(fact.fact_id)
    sizes = {template: len(ids) for template, ids in templates.items()}
    drawn: list[str] = []
    for template, part in largest_remainder(count, sizes, sizes).items():
        order = rng(*key, "pool", template).permutation(sizes[template])
        drawn += [templates[template][index] for index in order[:part]]
    return drawn


def main() -> None:
    """Command line: ``python -m atlas.pool.build --spec POOL --out pool.parquet``."""
    arguments = parser(__doc__)
    add_spec(arguments, Pool)
    arguments.add_argument("--out", type=Path, required=True, help="pool.parquet")
    options = arguments.parse_args()
    spec: Pool = options.spec
    facts = build(spec)
    files.write_parquet(options.out, pool_table(facts), _provenance(spec))
    roles = Counter(fact.role for fact in facts)
    progress.say(f"{options.out}: {roles[TAUGHT]} facts to teach, {roles[PLACEBO]} placebo")


def _provenance(spec: Pool) -> dict[str, object]:
    own_pool = {"source_sha256": files.sha256(spec.source)} if spec.source else {}
    return {"step": "atlas.pool.build", "spec": spec.model_dump(mode="json"), **own_pool}


if __name__ == "__main__":
    run_step(main)
