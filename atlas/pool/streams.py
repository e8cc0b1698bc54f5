"""Draw the stream of one seed: which fact is taught in which session, a stratified sample of the pool in random order.

A stream depends on the seed, the pool and its own length only. Every arm of a seed reads the same stream.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from atlas import files, progress
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.pool.facts import STREAM_SCHEMA, TAUGHT, Fact, Lesson, read_pool
from atlas.pool.shares import largest_remainder
from atlas.specs import StreamSpec
from atlas.steps import add_spec, parser, run_step


def draw(spec: StreamSpec, facts: list[Fact]) -> list[Lesson]:
    """Draw a stream of ``sessions * facts_per_session`` taught facts, each once, domains in the pool's shares.

    Raises AtlasError where the pool teaches fewer facts than that.
    """
    taught = [fact for fact in facts if fact.role == TAUGHT]
    needed = spec.sessions * spec.facts_per_session
    if needed > len(taught):
        raise AtlasError(
            f"{spec.sessions} sessions of {spec.facts_per_session} facts need {needed}, the pool has {len(taught)} "
            "to teach; lower checkpoints or facts_per_session, or raise pool.taught"
        )
    generator = rng(spec.seed, "stream")
    chosen: list[str] = []
    for domain, count in largest_remainder(needed, Counter(fact.domain for fact in taught)).items():
        ids = [fact.fact_id for fact in taught if fact.domain == domain]
        chosen += [ids[index] for index in generator.permutation(len(ids))[:count]]
    order = generator.permutation(needed)
    return [
        Lesson(place // spec.facts_per_session + 1, place % spec.facts_per_session, chosen[index])
        for place, index in enumerate(order)
    ]


def stream_table(seed: int, lessons: list[Lesson]) -> pa.Table:
    """A stream as a table with the columns of ``STREAM_SCHEMA``, one row a lesson."""
    sessions, slots, fact_ids = zip(*lessons, strict=True)
    columns = {"seed": [seed] * len(lessons), "session": sessions, "slot": slots, "fact_id": fact_ids}
    return pa.table(columns, schema=STREAM_SCHEMA)


def main() -> None:
    """Command line: ``python -m atlas.pool.streams --spec STREAM --pool pool.parquet --out 1.parquet``."""
    arguments = parser(__doc__)
    add_spec(arguments, StreamSpec)
    arguments.add_argument("--pool", type=Path, required=True, help="pool.parquet")
    arguments.add_argument("--out", type=Path, required=True, help="stream of the seed, Parquet")
    options = arguments.parse_args()
    spec: StreamSpec = options.spec
    lessons = draw(spec, read_pool(options.pool))
    provenance = {
        "step": "atlas.pool.streams",
        "spec": spec.model_dump(mode="json"),
        "pool_sha256": files.sha256(options.pool),
    }
    files.write_parquet(options.out, stream_table(spec.seed, lessons), provenance)
    progress.say(f"{options.out}: {spec.sessions} sessions of {spec.facts_per_session} facts")


if __name__ == "__main__":
    run_step(main)
