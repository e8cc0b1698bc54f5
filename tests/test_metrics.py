"""The registry of metrics: complete, in step with its page, kept by whatever subtracts, and all that a metric takes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atlas import metrics
from atlas.errors import AtlasError
from atlas.tables import baselines, continual
from atlas.tables.intervals import Sample, estimate
from atlas.ttt import edit_outcomes
from tests.synthetic import Design, SyntheticArm, arms_like_the_study, write_study

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "metrics.md"
LEVELS = np.array([0.0, 1.0])
MEASURES = ("average", *continual.DIFFERENCES, "retention", "half_life")

ENTRY = """

def first_token_right(facts):
    return (facts["answer_nll"] < 2.2).astype(float)


_MEMORY = (
    *_MEMORY,
    Metric(
        "first_token",
        "the prompt of a fact",
        "1 where the answer costs less than 2.2 nats a character, else 0",
        "cost of the answer",
        "0 to 1",
        "higher is better",
        "a test",
        label="First token",
        meaning="the answer begins as it should",
        score=first_token_right,
    ),
)
"""
"""What somebody adds to atlas/metrics.py: one function and one entry."""

ADDED = """
import json, sys
from pathlib import Path
from atlas import cli
from atlas.metrics import CHOICES, REGISTRY
from atlas.study.config import Interval
from atlas.tables import contrasts, controls, found_recipes, knowledge, knowledge_contrasts, paraphrases, retention
from atlas.tables import variance
from atlas.tables.runs import read

runs = read([Path(folder) for folder in sys.argv[1:]])
plan = contrasts.Contrasts(contrasts={"all": [("qv", "ffn")]})
tables = {
    "retention": retention.table(runs),
    "contrasts": contrasts.table(runs, plan),
    "controls": controls.table(runs),
    "paraphrases": paraphrases.table(runs),
    "variance": variance.table(runs),
    "knowledge": knowledge.table(runs),
    "knowledge_contrasts": knowledge_contrasts.table(runs, plan),
}
print(json.dumps({name: table.to_pandas().query("metric == 'first_token'").shape[0] for name, table in tables.items()}))
print(tables["retention"].to_pandas().query("metric == 'first_token' and probe == 'taught'")["value"].max())
print(REGISTRY[CHOICES[CHOICES.index("first_token")]].title)
print(Interval(metric="first_token").metric)
for command in (["metrics"], ["show", "--help"]):
    sys.argv[1:] = command
    try:
        cli.main()
    except SystemExit:
        pass
"""


def test_the_page_is_in_step():
    assert PAGE.read_text(encoding="utf-8") == metrics.document(), "run: atlas metrics --out docs/metrics.md"


def test_every_metric_of_the_tables_is_declared():
    of_facts = {*metrics.OF_FACTS, *metrics.BY_KIND, *metrics.NET_OF.values()}
    assert {*metrics.REGISTRY} == {*of_facts, *metrics.OF_EDITING, *MEASURES}
    assert {*baselines.SHARES} < {*metrics.OF_EDITING}
    assert {*metrics.OF_MATRIX} < {*metrics.OF_FACTS}
    assert {*metrics.NET_OF} < {*metrics.OF_FACTS}
    assert all(callable(getattr(continual, name)) for name in MEASURES)


def test_a_metric_is_added_by_one_function_and_one_entry(tmp_path):
    """In a copy of the package whose registry has one entry more; nothing else differs.

    That the charts of retention and contrasts list it, too, is tested in tests/charts/test_gallery.py.
    """
    copy = tmp_path / "atlas"
    shutil.copytree(REPOSITORY / "atlas", copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / "metrics.py").read_text(encoding="utf-8")
    before, registry, after = text.partition("\nREGISTRY: ")
    (copy / "metrics.py").write_text(f"{before}{ENTRY}{registry}{after}", encoding="utf-8")
    every = arms_like_the_study()
    arms = {name: every[name] for name in ("qv", "ffn", "ffn_matched", "untrained")}
    own = {"preset": "own", "phases": {"all": {"steps": 2}}}
    arms |= {f"{name}_own": SyntheticArm(every[name].targets, every[name].ranks, recipe=own) for name in [*arms][:3]}
    arms["qv_more"] = SyntheticArm(recipe={"paraphrases": 1})
    folders = write_study(tmp_path / "ttt", arms, Design(seeds=(1, 2, 3), checkpoints=(2,)))
    done = subprocess.run(
        [sys.executable, "-c", ADDED, *map(str, folders)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows, recognised, title, wanted, *printed = done.stdout.splitlines()
    assert all(json.loads(rows).values()), rows
    assert float(recognised) > 0
    assert title == "First token: the answer begins as it should"
    assert wanted == "first_token"
    assert "## `first_token`" in printed
    assert "first_token" in " ".join(printed[printed.index("## `first_token`") + 1 :])


def test_only_what_is_measured_alike_shares_a_contract():
    named = (*metrics.CHOICES, "rise", *continual.DIFFERENCES)
    contracts = [metrics.contract(name) for name in named]
    assert len(contracts) == len(set(contracts))
    assert metrics.contract("average") == metrics.contract("retention")


def sample(metric: str) -> Sample:
    return Sample(np.array([[1, 2], [2, 1]]), LEVELS, metric=metric)


def test_figures_of_two_contracts_are_not_subtracted():
    assert estimate(sample("recognition"), minus=sample("recognition"))
    with pytest.raises(AtlasError, match=r"recall \(exact answer\) and association .* are not comparable"):
        estimate(sample("recall"), minus=sample("association"))


def test_an_undeclared_metric_is_named():
    with pytest.raises(AtlasError, match="'retention_rate' is not declared; there are recall, answered, association"):
        metrics.metric("retention_rate")


def test_edits_are_judged_by_the_tolerance_that_the_registry_tells():
    assert edit_outcomes.NOTICED == metrics.TOLERANCE
