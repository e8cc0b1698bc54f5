"""What a run was asked and what it said, word by word: the rows of ``atlas show answers``, from runs and the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import AtlasError
from atlas.page.terminal import Choice, chosen
from atlas.pool.facts import read_pool
from atlas.ttt.run_files import FACTS
from atlas.workflow import files

NAME = "answers"
READ = ("arm", "seed", "sessions", "probe", "fact_id", "form", "domain", "recalled", "decoded", "contradicts")
COLUMNS = ("arm", "seed", "sessions", "probe", "fact_id", "prompt", "answer", "aliases", "decoded", "right")


def rows(results: Path, choice: Choice, wrong: bool = False) -> pd.DataFrame:
    """Questions with the right answer, its aliases (``or`` between them) and what was decoded; ``wrong`` ones alone.

    Of the first seed, the last checkpoint and of facts as taught, where nothing else is chosen. Raises AtlasError where
    what is chosen is not there, with what there is.
    """
    given = _of_arms(results / "ttt", choice.arm)
    first = Choice(seed=[given["seed"].min()], sessions=[given["sessions"].max()], probe=["taught"], domain=["all"])
    wanted = {name: getattr(choice, name) or getattr(first, name) for name in ("seed", "sessions", "probe")}
    frame = chosen(given, NAME, replace(choice, **wanted))
    path = results / "pool" / "pool.parquet"
    facts = {fact.fact_id: fact for fact in read_pool(path)}
    contrary = given.loc[given["contradicts"], "fact_id"].unique()
    # where a study contradicts what its base knows, and not the user's file, what is taught is in a pool of its own
    if any(fact_id in facts and facts[fact_id].true_answer is None for fact_id in contrary):
        path = results / "ttt" / "pool.parquet"
        facts = {fact.fact_id: fact for fact in read_pool(path)}
    if strangers := set(frame["fact_id"]) - {*facts}:
        raise AtlasError(
            f"{path}: no fact {min(strangers)!r}, which runs were asked; make the runs again from this pool"
        )
    asked = [facts[fact_id].question(form) for fact_id, form in zip(frame["fact_id"], frame["form"], strict=True)]
    aliases = [" or ".join(answers[1:]) or None for _, answers in asked]
    frame = frame.assign(
        prompt=[prompt for prompt, _ in asked],
        answer=[answers[0] for _, answers in asked],
        aliases=pd.Series(aliases, index=frame.index, dtype=object),
        right=frame["recalled"],
    )
    return frame.loc[~frame["right"] if wrong else frame.index, list(COLUMNS)]


def _of_arms(folder: Path, arms: Sequence[str]) -> pd.DataFrame:
    """Rows of facts.parquet of some arms, or of the only one. AtlasError where there is none, with what there is."""
    paths = sorted(folder.glob("*/*/facts.parquet"))
    known = list(dict.fromkeys(path.parts[-3] for path in paths))
    if not known:
        raise AtlasError(f"{folder}: no runs; make them by running `snakemake ttt`, or give --results")
    if not arms and len(known) > 1:
        raise AtlasError(f"--arm: whose answers? {folder} has runs of {', '.join(known)}")
    for arm in arms:
        if arm not in known:
            raise AtlasError(f"--arm {arm}: {folder} has no run of it; it has runs of {', '.join(known)}")
    schema = pa.schema([FACTS.field(name) for name in READ])
    tables = []
    for path in paths:
        if path.parts[-3] in (arms or known):
            if path.is_file() and "decoded" not in pq.read_schema(path).names:
                raise AtlasError(
                    f"{path}: made before what was decoded was kept; run snakemake again, which remakes it"
                )
            tables.append(files.read_parquet(path, schema).select(schema.names))
    frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return frame
