"""Draw the stream of one seed: which fact is taught in which session, a stratified sample of the pool in random order.

Where a study contradicts what its base knows, the facts that do so are a stratum of their own. A stream depends on the
seed, the pool and its own length only, so every arm of a seed reads the same stream.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.phrases import plural
from atlas.pool.facts import STREAM_SCHEMA, TAUGHT, Fact, StreamRow, read_pool
from atlas.pool.shares import largest_remainder
from atlas.study.jobs import StreamSpec
from atlas.workflow import files, progress
from atlas.workflow.steps import add_spec, parser, run_step


def draw(spec: StreamSpec, facts: list[Fact]) -> list[StreamRow]:
    """Draw a stream of ``sessions * facts_per_session`` taught facts, each once, domains in the pool's shares.

    Raises AtlasError where the pool teaches fewer facts than that, in all or of those that contradict the base.
    """
    taught = [fact for fact in facts if fact.role == TAUGHT]
    needed = spec.sessions * spec.facts_per_session
    if needed > len(taught):
        raise AtlasError(
            f"{plural(spec.sessions, 'session')} of {spec.facts_per_session} facts need {needed}, the pool has "
            f"{len(taught)} to teach; lower checkpoints or facts_per_session, or give the pool more: raise "
            "pool.taught, add facts to a file of your own"
        )
    generator = rng(spec.seed, "stream")
    chosen: list[str] = []
    strata = [(taught, needed, "")]
    if spec.counterfactual is not None:
        contrary = [fact for fact in taught if fact.true_answer is not None]
        others = [fact for fact in taught if fact.true_answer is None]
        wanted = round(spec.counterfactual * needed)
        strata = [(contrary, wanted, "knows"), (others, needed - wanted, "does not know")]
    for stratum, wanted, what in strata:
        if wanted > len(stratum):
            raise AtlasError(
                f"counterfactual: {spec.counterfactual:g} of {needed} facts asks for {wanted} that the base {what}, "
                f"the pool has {len(stratum)} to teach; change counterfactual, lower checkpoints or "
                "facts_per_session, or raise pool.taught"
            )
        if not wanted:
            continue
        for domain, count in largest_remainder(wanted, Counter(fact.domain for fact in stratum)).items():
            ids = [fact.fact_id for fact in stratum if fact.domain == domain]
            chosen += [ids[index] for index in generator.permutation(len(ids))[:count]]
    order = generator.permutation(needed)
    return [
        StreamRow(place // spec.facts_per_session + 1, place % spec.facts_per_session, chosen[index])
        for place, index in enumerate(order)
    ]


def stream_table(seed: int, rows: list[StreamRow]) -> pa.Table:
    """A stream as a table with the columns of ``STREAM_SCHEMA``."""
    return pa.Table.from_pylist([{"seed": seed, **row._asdict()} for row in rows], schema=STREAM_SCHEMA)


def main() -> None:
    """Command line: ``python -m atlas.pool.streams --spec STREAM --pool pool.parquet --out 1.parquet``."""
    arguments = parser(__doc__)
    add_spec(arguments, StreamSpec)
    arguments.add_argument("--pool", type=Path, required=True, help="pool.parquet")
    arguments.add_argument("--out", type=Path, required=True, help="stream of the seed, Parquet")
    options = arguments.parse_args()
    spec: StreamSpec = options.spec
    rows = draw(spec, read_pool(options.pool))
    provenance = {
        "step": "atlas.pool.streams",
        "spec": spec.model_dump(mode="json"),
        "pool_sha256": files.sha256(options.pool),
    }
    files.write_parquet(options.out, stream_table(spec.seed, rows), provenance)
    progress.say(f"{options.out}: {spec.sessions} sessions of {spec.facts_per_session} facts")


if __name__ == "__main__":
    run_step(main)
