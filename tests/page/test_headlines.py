"""The findings that page and README begin with: figures, intervals and verdicts by hand."""

from types import SimpleNamespace
from typing import Any

import pandas as pd

from atlas.page.headlines import findings

ARMS = pd.DataFrame({"arm": ["qv", "qv_recall", "ffn_recall"], "recipe": ["essay", "recall", "recall"]})
ALL = {"metric": "recall", "probe": "taught", "domain": "all", "sessions": 100, "n_facts": 300}
RETENTION = pd.DataFrame(
    [
        {**ALL, "arm": arm, "probe": probe, "value": value, "ci_low": value - 0.01, "ci_high": value + 0.01}
        for arm, probe, value in (
            ("qv", "taught", 0.02),
            ("qv_recall", "taught", 0.97),
            ("ffn_recall", "taught", 0.99),
            ("qv", "rephrase", 0.01),
            ("qv_recall", "rephrase", 0.02),
            ("ffn_recall", "rephrase", 0.03),
        )
    ]
)


def contrast(a: str, b: str, differs: str, values: tuple[float, float], **more: Any) -> dict[str, Any]:
    diff = values[0] - values[1]
    ends = {"diff": diff, "ci_low": diff - 0.01, "ci_high": diff + 0.01}
    named = {"arm_a": a, "arm_b": b, "differs": differs, "value_a": values[0], "value_b": values[1]}
    return {**ALL, "family": differs, **named, **ends, "verdict": "a > b" if diff > 0 else "b > a", **more}


CONTRASTS = pd.DataFrame(
    [
        contrast("qv", "qv_recall", "recipe and learning rate", (0.02, 0.97)),
        contrast("qv_recall", "ffn_recall", "place and learning rate", (0.97, 0.99), verdict="unresolved"),
        contrast("qv", "ffn", "place and size", (0.02, 0.9)),  # of unequal size: about neither
        contrast("qv", "ffn", "place", (0.02, 0.01)),  # another family, that keeps less
        contrast("qv_recall", "qv_bare", "recipe", (0.97, 0.0)),  # an ablation
    ]
)
BASE_LOSS = pd.DataFrame(
    [
        {"arm": arm, "sessions": 100, "rise": rise, "ci_low": rise - 0.02, "ci_high": rise + 0.02}
        for arm, rise in (("qv", 1.8), ("qv_recall", 0.29), ("ffn_recall", 0.17))
    ]
)
SLOT = {**ALL, "part": "slot", "first_layer": 0, "last_layer": 0, "role": "up", "half": None, "arm": "ffn_recall"}
LOCATE = pd.DataFrame(
    [
        {**SLOT, "change": "without", "measure": "lost", "value": 0.9, "ci_low": 0.85, "ci_high": 0.95},
        {**SLOT, "role": "down", "change": "without", "measure": "lost", "value": 0.2, "ci_low": 0.1, "ci_high": 0.3},
        {**SLOT, "change": "only", "measure": "left", "value": 0.0, "ci_low": 0.0, "ci_high": 0.01},
    ]
)


def study(**tables: pd.DataFrame) -> Any:
    return SimpleNamespace(arms=ARMS, retention=RETENTION, has=lambda name: name in tables, **tables)


def said(**tables: pd.DataFrame) -> dict[str, str]:
    return {found.topic: found.says for found in findings(study(**tables))}


def test_the_recipe_is_told_by_the_widest_gap_in_one_place():
    assert said(contrasts=CONTRASTS)["How facts are taught"] == (
        "The recipe alone moves recall of 300 facts after 100 sessions by 95.0 points (94.0 to 96.0; decided). In the "
        "same place, preset `recall` keeps 97.0% and preset `essay` 2.0% (`qv_recall`, `qv`)."
    )


def test_the_place_is_told_among_arms_of_equal_size_that_keep_most():
    assert said(contrasts=CONTRASTS)["Where the adapters sit"] == (
        "At equal size and with one recipe, the place moves recall of 300 facts after 100 sessions by at most 2.0 "
        "points: `ffn_recall` 99.0% and `qv_recall` 97.0%. "
        "`qv_recall` against `ffn_recall` -2.0 points (-3.0 to -1.0; not decided)."
    )


def test_where_facts_sit_names_the_slots_that_are_needed_least_and_most():
    assert said(locate=LOCATE)["Where facts sit"].startswith(
        "Without a single slot (a role in a layer) of its adapter, `ffn_recall` loses from 20.0 (layer 0 down, 10 to "
        "30) to 90.0 (layer 0 up, 85 to 95), and a slot by itself keeps at most 0%."
    )


def test_wording_is_told_of_the_arm_that_recalls_most():
    assert said()["In other words"] == (
        "`ffn_recall` recalls 99.0% (98 to 100) of its facts asked as they were taught, and 3.0% (2 to 4) asked in "
        "words that were never taught (decided)."
    )


def test_the_cost_is_told_among_arms_of_the_recipe_that_keeps_most():
    assert said(base_loss=BASE_LOSS)["What it costs"] == (
        "The base's loss on its own text rises by 0.17 (0.15 to 0.19) under `ffn_recall` and by 0.29 "
        "(0.27 to 0.31) under `qv_recall` (decided), nats per character after 100 sessions."
    )


def test_a_study_without_comparisons_begins_with_what_it_has():
    assert list(said()) == ["In other words"]
    without = RETENTION[RETENTION["probe"] == "taught"]
    only: Any = SimpleNamespace(arms=ARMS, retention=without, has=lambda _: False)
    assert findings(only) == []
