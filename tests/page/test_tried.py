"""What the documentation says of searches comes from their tables."""

import json
from typing import Any

import pyarrow as pa
import pytest

from atlas.audit.audit_columns import HONEST, VIEWS
from atlas.page import tried
from atlas.tables.columns import RECIPES
from atlas.workflow import files

RECIPE: dict[str, Any] = {
    "preset": "recall",
    "loss": "answer",
    "phases": {"all": {"steps": 24, "rehearsal": {"facts": 32}}},
}


def row(**values):
    defaults = {"arm": "qv", "candidate": "a_0.002", "lr": 0.002, "sessions": 100, "n_seeds": 3, "n_facts": 300}
    defaults |= {"ci_low": 0.5, "ci_high": 1.0, "rise": 0.25, "core_seconds": 1234.5, "recipe": json.dumps(RECIPE)}
    return dict.fromkeys(RECIPES.names) | defaults | values


@pytest.fixture
def results(tmp_path):
    def with_rows(*rows):
        files.write_parquet(tmp_path / "tables" / "recipes.parquet", pa.Table.from_pylist(rows, RECIPES), {})
        return tmp_path

    return with_rows


def lines_of(text):
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def test_a_line_for_what_was_chosen_of_each_arm(results):
    text = tried.found(
        results(
            row(recall=0.9, chosen=True, closed=True),
            row(candidate="a_0.003", lr=0.003, recall=0.8, chosen=False, closed=False),
            row(candidate="a_0.001", lr=0.001, sessions=30, recall=0.99, chosen=False, closed=False),
            row(arm="ffn", candidate="a_0.001", lr=0.001, recall=0.95, chosen=True, closed=False),
        )
    )
    assert lines_of(text) == [
        "| `ffn` | 0.001 | 0.001 | 95.0% (50 to 100) | +0.25 | 1,234 |",
        "| `qv` | 0.002 | 0.002, 0.003 | 90.0% (50 to 100) | +0.25 | 1,234 |",
    ]
    assert text.count("a better one may lie beyond: `ffn`.") == 1
    assert "300 facts after 100 sessions, means over 3 seeds" in text


def test_ideas_say_what_they_change_and_the_best_stands_first(results):
    other = {"phases": {"all": {"steps": 48, "rehearsal": {"facts": 16}}}}
    tried_out: dict[str, dict[str, Any]] = {"preset": {}, "many_small": other, "sentences": {"loss": "sentence"}}
    rows = [
        row(arm=arm, candidate=name, recall=recall, recipe=json.dumps(RECIPE | changes))
        for arm, recalls in {"qv": (0.9, 0.7, 0.95), "ffn": (0.8, 0.6, 0.7)}.items()
        for (name, changes), recall in zip(tried_out.items(), recalls, strict=True)
    ]
    first, second, third = lines_of(tried.ideas(results(*rows)))
    assert first.startswith("| preset |  | 90.0% (50 to 100) | +0.25 | 1,234 | 80.0%")
    assert second.startswith("| sentences | `loss: sentence` | 95.0%")
    assert third.startswith("| many small | `steps: 48`, `rehearsal.facts: 16` | 70.0%")


def test_a_key_that_is_left_out_is_named():
    one = row(recipe=json.dumps(RECIPE))
    without = row(recipe=json.dumps({"preset": "recall", "phases": {"all": {"steps": 24}}}))
    assert tried.changed(one, without) == ["`rehearsal: null`", "`loss: null`"]


def test_what_the_guard_sees_is_told_by_damage_and_by_model(tmp_path):
    rows = [
        {"subject": subject, "family": family, "damages": 4, "felt": felt, "changed": 4}
        | {f"seen_{level}": at for at, level in enumerate(("file", "text", "model", "manifest"), start=felt - 3)}
        | {"changed_seen_manifest": 4}
        for subject, family, felt in (("llama", "all", 4), ("all", "names", 4), ("all", "all", 4), ("all", "sound", 0))
    ]
    honest = [
        {"architecture": "llama", "dtype": "float32", "shape": None, "seed": 0, "step": 1, "val_loss": 2.0}
        | {"failed_file": "", "failed_text": failed, "failed_manifest": failed}
        for failed in ("", "load")
    ]
    files.write_parquet(tmp_path / "audit" / "views.parquet", pa.Table.from_pylist(rows, VIEWS), {})
    files.write_parquet(tmp_path / "audit" / "false_alarms.parquet", pa.Table.from_pylist(honest, HONEST), {})
    text = tried.seen(tmp_path)
    shares = "4 | 25% | 50% | 75% | 100% |"
    assert lines_of(text)[:2] == [f"| all | {shares}", f"| names | {shares}"]
    assert lines_of(text)[-1] == f"| llama | {shares}"
    assert "False alarms: 1 of 2 honest checkpoints, of 1 architectures" in text
