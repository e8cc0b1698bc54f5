"""What the search for recipes found: a row for each candidate, arm and rung, with the fronts of recall and cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from atlas.metrics import REGISTRY
from atlas.search.halving import TRIALS, fronts
from atlas.tables import table_step
from atlas.tables.columns import RECIPES, SEARCHED
from atlas.workflow import files
from atlas.workflow.digest import code_digest
from atlas.workflow.progress import say
from atlas.workflow.steps import environment, parser, run_step

LESS_PLACEBO = {metric: of for metric in SEARCHED if (of := REGISTRY[metric].net_of)}
MEANS = [metric for metric in SEARCHED if metric not in LESS_PLACEBO]
MEANS += ["recall_rephrase", "rise", "core_seconds", "characters"]


def table(trials: pd.DataFrame) -> pa.Table:
    """One row per arm, rung and candidate, the best of a rung first."""
    rows: list[dict[str, Any]] = []
    last = trials["rung"].max()
    trials = trials.assign(rise=trials["val_loss"] - trials["val_loss_base"])
    for _, of_arm in trials.groupby("arm", sort=True):
        for rung, part in of_arm.groupby("rung", sort=True):
            following = {*of_arm.loc[of_arm["rung"] == int(str(rung)) + 1, "candidate"]}
            means = part.groupby("candidate")[MEANS].mean()
            means["front"] = fronts(means["recall"].to_numpy(), means["characters"].to_numpy()) == 0
            means["front_rise"] = fronts(means["recall"].to_numpy(), means["rise"].to_numpy()) == 0
            for name in means.sort_values(["recall", "characters"], ascending=[False, True], kind="stable").index:
                seeds, mean = part[part["candidate"] == name], means.loc[name]
                row = {
                    **seeds.iloc[0][["arm", "candidate", "sessions", "recipe"]],
                    **mean,
                    **{metric: (seeds[of] - seeds[f"{of}_placebo"]).mean() for metric, of in LESS_PLACEBO.items()},
                    "n_seeds": len(seeds),
                    "recall_low": seeds["recall"].min(),
                    "recall_high": seeds["recall"].max(),
                    "characters": round(mean["characters"]),
                    "survived": rung == last or name in following,
                    "front": bool(mean["front"]),
                    "front_rise": bool(mean["front_rise"]),
                }
                rows.append(row)
    return table_step.as_table(rows, RECIPES)


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """All trials of a search. Raises AtlasError where a file is missing or damaged."""
    found: pd.DataFrame = pa.concat_tables([files.read_parquet(path, TRIALS) for path in paths]).to_pandas()
    return found


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
    options.add_argument("--out", type=Path, required=True, help="recipes.parquet, to be written")
    args = options.parse_args()
    trials = files.listed(args.trials)
    found = table(read(trials))
    provenance = {
        "step": "atlas.tables.found_recipes",
        "commit": table_step.commit(),
        "code_digest": code_digest("atlas.tables.found_recipes"),
        "trials": files.provenance_of(trials[0]),
        "versions": environment("numpy", "pandas", "pyarrow")["versions"],
    }
    files.write_parquet(args.out, found, provenance)
    say(f"tables recipes: {found.num_rows} rows, see {args.out}")


if __name__ == "__main__":
    run_step(main)
