"""Build the pool: read the fact tables (or a user's own), check every rule, draw which facts are taught and which not.

The draw is stratified: domains by their shares, and within a domain every template by its number of facts, so taught
and placebo facts are alike in all but the teaching. Facts of one subject and template fall on one side, all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.pool import builtin, own, rules
from atlas.pool.facts import PLACEBO, TAUGHT, UNDRAWN, Fact, pool_table
from atlas.pool.shares import largest_remainder
from atlas.study.pool_settings import Pool
from atlas.workflow import files, progress
from atlas.workflow.steps import add_spec, parser, run_step

OWN_TAUGHT, OWN_WHOLE = 4, 5  # of an own pool without roles, four facts in five are taught


@dataclass(frozen=True)
class Quota:
    """How many facts of one role are wanted, exactly or about so many, and the domain shares to draw them in."""

    role: str
    count: int
    shares: Mapping[str, int]
    exact: bool = True


def build(spec: Pool) -> list[Fact]:
    """The facts of the pool with their roles, in the order of the tables.

    Raises AtlasError naming the fact that breaks a rule, or the domain that has too few facts.
    """
    facts = own.read_facts(spec.source) if spec.source else builtin.read_facts(spec.shares)
    different = not own.is_published(spec.source)
    if spec.unfit != "skip":
        rules.check(facts, lambda fact: spec.source or str(builtin.DATA / f"{fact.domain}.tsv"), different)
    elif found := list(rules.problems(facts, different)):
        unfit, (first, problem) = {id(fact) for fact, _ in found}, found[0]
        if len(unfit) == len(facts):
            raise AtlasError(f"{spec.source}: no fact keeps the rules; of fact {first.fact_id}: {problem}")
        progress.say(f"{spec.source}: {len(unfit)} of {len(facts)} facts skipped (fact {first.fact_id}: {problem})")
        facts = [fact for fact in facts if id(fact) not in unfit]
    role_of: dict[str, str] = {}
    for role in (TAUGHT, PLACEBO):  # taught first: with rows to spare, rounding never takes a fact from what is taught
        taken = {fact.group for fact in facts if fact.fact_id in role_of}
        free = [fact for fact in facts if fact.role in (UNDRAWN, role) and fact.group not in taken]
        role_of |= dict.fromkeys(_draw(free, _quota(role, free, spec), spec), role)
    return [replace(fact, role=role_of[fact.fact_id]) for fact in facts if fact.fact_id in role_of]


def _quota(role: str, free: list[Fact], spec: Pool) -> Quota:
    """What to draw from the facts that are free for a role: all of an own pool's where the study names no number."""
    if not spec.source:
        return Quota(role, (spec.most_taught if role == TAUGHT else spec.most_placebo) or 0, spec.shares)
    shares = Counter(fact.domain for fact in free)
    if role == TAUGHT and not spec.taught and free and free[0].role == UNDRAWN:
        most = len(free) - spec.placebo if spec.placebo else len(free) * OWN_TAUGHT // OWN_WHOLE
        return Quota(role, most, shares, exact=False)
    return Quota(role, (spec.taught if role == TAUGHT else spec.placebo) or len(free), shares)


def _draw(free: list[Fact], quota: Quota, spec: Pool) -> list[str]:
    """Draw the fact_ids of one role from the facts that are free for it, every template in proportion to its facts."""
    where = spec.source or str(builtin.DATA)
    none_left = (
        f"{where}: no fact is left to be {quota.role}; a pool needs taught and placebo facts, and facts of one subject "
        "and template are all taught or all placebo"
    )
    if quota.count < 1 or not quota.shares:
        raise AtlasError(none_left)
    room = dict.fromkeys(quota.shares, 0) | Counter(fact.domain for fact in free)
    drawn: list[str] = []
    for domain, count in largest_remainder(quota.count, quota.shares, room).items():
        if count > room[domain]:
            raise AtlasError(
                f"{where}: domain {domain!r} has {room[domain]} facts that can be {quota.role}, {count} needed; "
                f"add facts to it or lower pool.{quota.role}"
            )
        templates: dict[str, dict[tuple[str, ...], list[str]]] = {}
        for fact in free:
            if fact.domain == domain:
                templates.setdefault(fact.template, {}).setdefault(fact.group, []).append(fact.fact_id)
        sizes = {template: sum(map(len, groups.values())) for template, groups in templates.items()}
        for template, part in largest_remainder(count, sizes, sizes).items():
            groups = [*templates[template].values()]
            order = rng(spec.seed, quota.role, "pool", template).permutation(len(groups))
            drawn += _take([groups[index] for index in order], part, quota.exact)
    if not drawn:
        raise AtlasError(none_left)
    return drawn


def _take(groups: Sequence[list[str]], count: int, exact: bool) -> list[str]:
    """Facts of whole groups, the first ones that do, as many as there can be up to ``count``.

    Where that is fewer and ``exact``, part of a group makes up the number; what is left of it has no role.
    """
    sums = [1]  # bit n of entry i: whether the last i groups can make up n facts
    for group in reversed(groups):
        sums.append(sums[-1] | sums[-1] << len(group))
    left = next(total for total in range(count, -1, -1) if sums[-1] >> total & 1)
    taken: list[str] = []
    for group, behind in zip(groups, sums[-2::-1], strict=True):
        if len(group) <= left and behind >> (left - len(group)) & 1:
            taken += group
            left -= len(group)
    if exact and len(taken) < count:
        whole = set(taken)
        taken += [one for group in groups for one in group if one not in whole][: count - len(taken)]
    return taken


def main() -> None:
    """Command line: ``python -m atlas.pool.build --spec POOL --out pool.parquet``."""
    arguments = parser(__doc__)
    add_spec(arguments, Pool)
    arguments.add_argument("--out", type=Path, required=True, help="pool.parquet")
    options = arguments.parse_args()
    spec: Pool = options.spec
    facts = build(spec)
    provenance = {"step": "atlas.pool.build", "spec": spec.model_dump(mode="json")}
    if spec.source:
        provenance["source_sha256"] = files.sha256(spec.source)
    files.write_parquet(options.out, pool_table(facts), provenance)
    roles = Counter(fact.role for fact in facts)
    progress.say(f"{options.out}: {roles[TAUGHT]} facts to teach, {roles[PLACEBO]} placebo")


if __name__ == "__main__":
    run_step(main)
