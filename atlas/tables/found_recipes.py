"""What the search for recipes found: a row for each arm, candidate and number of sessions, and which was chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.metrics import REGISTRY
from atlas.phrases import plural
from atlas.search.halving import ranked, read
from atlas.tables import table_step
from atlas.tables.columns import RECIPES, SEARCHED
from atlas.tables.intervals import Sample, estimate
from atlas.workflow import files
from atlas.workflow.digest import code_digest
from atlas.workflow.progress import say
from atlas.workflow.steps import environment, parser, run_step

LESS_PLACEBO = {metric: of for metric in SEARCHED if (of := REGISTRY[metric].net_of)}
MEANS = [metric for metric in SEARCHED if metric not in LESS_PLACEBO]
MEANS += ["recall_rephrase", "rise", "core_seconds", "characters"]


def table(trials: pd.DataFrame, study: str = "") -> pa.Table:
    """One row per arm, sessions and candidate, the best first; ``study`` is the file that says the search."""
    rows: list[dict[str, Any]] = []
    trials = trials.assign(rise=trials["val_loss"] - trials["val_loss_base"])
    for _, of_arm in trials.groupby("arm", sort=True):
        for sessions, part in of_arm.groupby("sessions", sort=True):
            found = ranked(part)
            for name, one in found.iterrows():
                seeds = part[part["candidate"] == name]
                rates = sorted({*found.loc[found["settings"] == one["settings"], "lr"].dropna()})
                chosen = sessions == of_arm["sessions"].max() and name == found.index[0]
                row = {
                    **seeds.iloc[0][["arm", "candidate", "settings", "lr", "sessions", "round", "n_facts", "recipe"]],
                    **seeds[MEANS].mean(),
                    **{metric: (seeds[of] - seeds[f"{of}_placebo"]).mean() for metric, of in LESS_PLACEBO.items()},
                    **recall(seeds),
                    "n_seeds": len(seeds),
                    "characters": round(seeds["characters"].mean()),
                    "chosen": chosen,
                    "closed": None if pd.isna(one["lr_below"]) else {one["lr_below"], one["lr_above"]} <= {*rates},
                    "tuned": tuned(study, [*map(int, seeds["seed"])], rates) if chosen else "",
                }
                rows.append(row)
    return table_step.as_table(rows, RECIPES)


def recall(seeds: pd.DataFrame) -> dict[str, float]:
    """Recall of a candidate, mean over its seeds, with its interval."""
    recalled = (seeds["recall"] * seeds["n_facts"]).round()
    tallies = np.column_stack([seeds["n_facts"] - recalled, recalled]).astype(np.int64)  # (seeds, missed and recalled)
    found = estimate(Sample(tallies, np.array([0.0, 1.0]), metric="recall"))
    assert found is not None  # facts were taught
    return {"recall": found.value, "ci_low": found.ci_low, "ci_high": found.ci_high}


def tuned(study: str, seeds: Sequence[int], rates: Sequence[float]) -> str:
    """The key ``tuned`` of an arm, as YAML: the tuning seeds, and the rates that were tried to the end."""
    named = f"study: {json.dumps(study)}, " if study else ""
    return f"{{{named}seeds: {seeds}" + (f", rates: {rates}}}" if rates else "}")


def in_words(row: Mapping[str, Any]) -> str:
    """What was chosen for an arm."""
    edge = "; its rate is at the edge of what was tried as long: raise search.rounds" if row["closed"] is False else ""
    return (
        f"{row['arm']}: {row['candidate']}, recall {row['recall']:.1%} ({row['ci_low']:.1%} to {row['ci_high']:.1%}) "
        f"after {plural(row['sessions'], 'session')}{edge}; tuned: {row['tuned']}"
    )


def main() -> None:
    """Write recipes.parquet for the trials given."""
    options = parser(__doc__)
    options.add_argument(
        "--trials",
        type=Path,
        nargs="+",
        required=True,
        help="trials of all arms and rungs, or a text file that lists them",
    )
    options.add_argument("--study", default="", help="file of the study that says the search, for the column tuned")
    options.add_argument("--out", type=Path, required=True, help="recipes.parquet, to be written")
    args = options.parse_args()
    trials = files.listed(args.trials)
    found = table(read(trials), args.study)
    provenance = {
        "step": "atlas.tables.found_recipes",
        "commit": table_step.commit(),
        "code_digest": code_digest("atlas.tables.found_recipes"),
        "trials": files.provenance_of(trials[0]),
        "versions": environment("numpy", "pandas", "pyarrow")["versions"],
    }
    files.write_parquet(args.out, found, provenance)
    for row in found.filter(found["chosen"]).to_pylist():
        say(in_words(row))
    say(f"tables recipes: {found.num_rows} rows, see {args.out}")


if __name__ == "__main__":
    run_step(main)
