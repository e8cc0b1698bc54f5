"""Large studies: what a command line has no room for is given to steps as a file."""

import json
import subprocess
import sys

from tests.real.checkout import STUDY

SEEDS = 3000
RESULTS = "my 'odd' results"


def test_thousands_of_runs_are_handed_over_as_a_list(fresh):
    """Two arms of 3,000 blocks, in a folder with a space and quotes: their paths alone would take 190 kB."""
    contrasts = {f"comparison_{number}": [["qv", "ffn"]] for number in range(4000)}
    fresh.configure(STUDY | {"seeds": list(range(1, SEEDS + 1)), "results": RESULTS, "contrasts": contrasts})
    given = fresh.root / RESULTS / "tables" / "given"
    fresh.done(*(f"{RESULTS}/tables/given/{name}" for name in ("arms.txt", "contrasts.json")))
    runs = [f"{RESULTS}/ttt/{arm}/{seed}" for arm in sorted(STUDY["arms"]) for seed in range(1, SEEDS + 1)]
    assert (given / "arms.txt").read_text().splitlines() == runs
    assert len(json.loads((given / "contrasts.json").read_text())["contrasts"]) == len(contrasts)

    command = [sys.executable, "-m", "atlas.tables.contrasts", "--runs", given / "arms.txt"]
    command += ["--spec", given / "contrasts.json", "--out", "table.parquet"]
    read = subprocess.run(command, cwd=fresh.root, capture_output=True, text=True)
    assert read.stderr.startswith(f"atlas: error: {runs[0]}/run.json: no such file"), read.stderr


def test_no_command_of_a_table_names_a_run(finished):
    printed = finished.done("--dry-run", "--printshellcmds", "--forcerun", "tables_facts", "tables_comparisons")
    commands = [line for line in printed.splitlines() if "-m atlas.workflow.together" in line]
    tables = [line for line in commands if "atlas.tables." in line]
    assert len(tables) == 2
    for line in tables:
        assert "results/tables/given/arms" in line
        assert "results/ttt" not in line
