"""Build the pool: sift the fact tables (or a user's own), draw which facts are taught and which not.

The draw is stratified: domains by their shares, and within a domain every template by its number of facts, so taught
and placebo facts are alike in all but the teaching. Facts of a group, see ``atlas.pool.groups``, fall on one side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool import builtin
from atlas.pool.facts import PLACEBO, SKIPPED, SKIPPED_NAME, TAUGHT, UNDRAWN, Fact, pool_table
from atlas.pool.groups import groups
from atlas.pool.rules import ANY, Demands
from atlas.pool.shares import largest_remainder
from atlas.pool.sift import settled, sift
from atlas.study.jobs import PoolSpec
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


def build(spec: Pool, demands: Demands = ANY) -> list[Fact]:
    """The facts of the pool with their roles, in the order of the source.

    Raises AtlasError where facts break a rule, or a domain has too few.
    """
    return draw(spec, settled(spec, sift(spec, demands)))


def draw(spec: Pool, facts: Sequence[Fact]) -> list[Fact]:
    """Draw the roles of facts, also where their source has taught facts alone: it names no placebo then.

    Raises AtlasError where a role gets none, or naming the domain that has too few.
    """
    where = spec.source or str(builtin.DATA)
    if {fact.role for fact in facts} == {TAUGHT}:
        progress.say(f"{where}: every fact is taught, so that some are drawn to be placebo; a pool needs both")
        facts = [replace(fact, role=UNDRAWN) for fact in facts]
    firsts = dict(zip([fact.fact_id for fact in facts], [facts[at] for at in groups(facts)], strict=True))
    role_of: dict[str, str] = {}
    for role in (TAUGHT, PLACEBO):  # taught first: with rows to spare, rounding never takes a fact from what is taught
        taken = {firsts[fact_id].fact_id for fact_id in role_of}
        free = {
            fact.fact_id: firsts[fact.fact_id]
            for fact in facts
            if fact.role in (UNDRAWN, role) and firsts[fact.fact_id].fact_id not in taken
        }
        if not (drawn := _draw(free, _quota(role, free, spec), spec)):
            raise AtlasError(
                f"{where}: of {plural(len(facts), 'fact')} none is left to be {role}, and a pool needs taught and "
                "placebo facts; those that say the same, or are of one subject and template, are all one or all the "
                "other, so add facts about other things"
            )
        role_of |= dict.fromkeys(drawn, role)
    return [replace(fact, role=role_of[fact.fact_id]) for fact in facts if fact.fact_id in role_of]


def _quota(role: str, free: Mapping[str, Fact], spec: Pool) -> Quota:
    """What to draw from the facts that are free for a role: all of an own pool's where the study names no number."""
    if not spec.source:
        return Quota(role, (spec.most_taught if role == TAUGHT else spec.most_placebo) or 0, spec.shares)
    shares = Counter(first.domain for first in free.values())
    if role == TAUGHT and not spec.taught and any(first.role == UNDRAWN for first in free.values()):
        most = len(free) - spec.placebo if spec.placebo else len(free) * OWN_TAUGHT // OWN_WHOLE
        return Quota(role, most, shares, exact=False)
    return Quota(role, (spec.taught if role == TAUGHT else spec.placebo) or len(free), shares)


def _draw(free: Mapping[str, Fact], quota: Quota, spec: Pool) -> list[str]:
    """Draw the fact_ids of one role from the facts that are free for it, every template in proportion to its facts.

    ``free`` has the first fact of the group of each: a group counts in the domain and template of that.
    """
    where = spec.source or str(builtin.DATA)
    if quota.count < 1 or not quota.shares:
        return []
    room = dict.fromkeys(quota.shares, 0) | Counter(first.domain for first in free.values())
    drawn: list[str] = []
    for domain, count in largest_remainder(quota.count, quota.shares, room).items():
        if count > room[domain]:
            raise AtlasError(
                f"{where}: domain {domain!r} has {room[domain]} facts that can be {quota.role}, {count} needed; "
                f"add facts to it or lower pool.{quota.role}"
            )
        templates: dict[str, dict[str, list[str]]] = {}
        for fact_id, first in free.items():
            if first.domain == domain:
                templates.setdefault(first.template, {}).setdefault(first.fact_id, []).append(fact_id)
        sizes = {template: sum(map(len, members.values())) for template, members in templates.items()}
        for template, part in largest_remainder(count, sizes, sizes).items():
            members = [*templates[template].values()]
            order = rng(spec.seed, quota.role, "pool", template).permutation(len(members))
            drawn += _take([members[index] for index in order], part, quota.exact)
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
    add_spec(arguments, PoolSpec)
    arguments.add_argument(
        "--model", type=Path, help="model from outside that reads the facts: its folder or GGUF file"
    )
    arguments.add_argument("--out", type=Path, required=True, help="pool.parquet; skipped.parquet is written beside it")
    options = arguments.parse_args()
    spec: PoolSpec = options.spec
    sifted = sift(spec, Demands.by(options.model, spec.context, spec.needs))
    facts = draw(spec, settled(spec, sifted))
    provenance = {"step": "atlas.pool.build", "spec": spec.model_dump(mode="json")}
    if spec.source:
        provenance["source_sha256"] = files.sha256(spec.source)
    skipped = pa.Table.from_pylist([asdict(one) for one in [*sifted.unfit, *sifted.parts]], schema=SKIPPED)
    with files.together(options.out) as stage:
        files.write_parquet(stage / options.out.name, pool_table(facts), provenance)
        files.write_parquet(stage / SKIPPED_NAME, skipped, provenance)
    roles = Counter(fact.role for fact in facts)
    left = f"; {sifted.broken} left out, see {options.out.with_name(SKIPPED_NAME)}" if sifted.broken else ""
    progress.say(f"{options.out}: {roles[TAUGHT]} facts to teach, {roles[PLACEBO]} placebo{left}")


if __name__ == "__main__":
    run_step(main)
