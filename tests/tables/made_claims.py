"""Studies whose every fact is set by the test: as many are retained as a figure says, the same under each metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from atlas.tables.runs import Runs
from tests.synthetic import Design, SyntheticArm, ablations_like_the_study, arms_like_the_study, baselines, record_of

SIZES = {"codes": 90, "personal": 70, "geography": 50, "history": 34, "science": 33, "biology": 15}
SIZES |= {"language": 6, "identity": 2}  # of 300 facts
ARMS = arms_like_the_study() | ablations_like_the_study()
ARMS |= {name: arm for name, arm in baselines().items() if name in ("rome", "memit")}
SEEDS = tuple(range(1, 9))
PLACEBO = 20

Share = Callable[[str, int, str, str], Fraction]
"""Arm, sessions, probe (taught, rephrase) and domain to the share of facts retained."""

AS_PUBLISHED: dict[tuple[str, int, str], Fraction] = {
    ("qv", 30, "taught"): Fraction(89, 90),
    ("qv_ffn", 30, "taught"): Fraction(88, 90),
    ("ffn", 30, "taught"): Fraction(87, 90),
    ("qv", 100, "taught"): Fraction(1),
    ("qv_ffn", 100, "taught"): Fraction(295, 300),
    ("ffn", 100, "taught"): Fraction(284, 300),
    ("qv", 30, "rephrase"): Fraction(10, 15),
    ("qv_ffn", 30, "rephrase"): Fraction(8, 15),
    ("ffn", 30, "rephrase"): Fraction(5, 15),
    ("qv", 100, "rephrase"): Fraction(8, 15),
    ("qv_ffn", 100, "rephrase"): Fraction(4, 15),
    ("ffn", 100, "rephrase"): Fraction(3, 15),
    ("ffn_random_base", 30, "taught"): Fraction(1),
    ("qv_random_base", 30, "taught"): Fraction(85, 90),
    ("qv_mid", 30, "taught"): Fraction(89, 90),
    ("qv_mid", 100, "taught"): Fraction(1),
    ("qv_edge", 30, "taught"): Fraction(80, 90),
    ("qv_edge", 100, "taught"): Fraction(280, 300),
}
OF_RECIPES = {"single_phase": Fraction(70, 90), "no_rehearsal": Fraction(50, 90), "random_rehearsal": Fraction(60, 90)}
AS_PUBLISHED |= {(editor, 1, "taught"): Fraction(1) for editor in ("rome", "memit")}
AS_PUBLISHED |= {(editor, 30, "taught"): Fraction(20, 90) for editor in ("rome", "memit")}
AS_PUBLISHED |= {(editor, 100, "taught"): Fraction(10, 300) for editor in ("rome", "memit")}
AS_PUBLISHED |= {(f"{place}_{name}", 30, "taught"): of for place in ("qv", "ffn") for name, of in OF_RECIPES.items()}
LOST_BY_FFN = {"geography": 1, "history": 4, "science": 3, "biology": 3, "language": 3, "identity": 2}  # 16 facts


def study(
    retained: Mapping[tuple[str, int, str], Fraction],
    lost: Mapping[tuple[str, int], Mapping[str, int]] | None = None,
    arms: Sequence[str] = tuple(ARMS),
    seeds: Sequence[int] = SEEDS,
    checkpoints: Sequence[int] = (1, 30, 100),
) -> Runs:
    """Runs of a study in which each seed retains exactly the shares given, of all facts, 0 where none is given.

    ``lost`` says for an arm and checkpoint how many taught facts of each domain are lost, in place of a share.
    """
    lost = lost or {}
    parts = [
        _probed(arm, sessions, probe, _kept(retained, lost, arm, sessions, probe))
        for arm in arms
        for sessions in checkpoints
        for probe in ("taught", "rephrase", "placebo")
    ]
    one = pd.concat(parts, ignore_index=True)
    facts = pd.concat([one.assign(seed=seed) for seed in seeds], ignore_index=True)
    facts["arm"] = pd.Categorical(facts["arm"], categories=list(arms))
    runs = Runs((), tuple(_record(arm, seeds, checkpoints) for arm in arms))
    runs.__dict__["facts"] = facts  # in place of files: what the cached property would hold
    return runs


def _record(arm: str, seeds: Sequence[int], checkpoints: Sequence[int]) -> Any:
    return record_of(arm, ARMS.get(arm, SyntheticArm()), seeds, Design(tuple(seeds), tuple(checkpoints)))


def domains(sessions: int) -> list[str]:
    """The domain of each fact that is taught in so many sessions, at most 100, in shares as even as can be."""
    names = np.repeat(list(SIZES), list(SIZES.values()))
    return [str(name) for name in names[np.linspace(0, 299, 3 * sessions).round().astype(int)]]


def _kept(
    retained: Mapping[tuple[str, int, str], Fraction],
    lost: Mapping[tuple[str, int], Mapping[str, int]],
    arm: str,
    sessions: int,
    probe: str,
) -> list[bool]:
    if probe == "placebo":
        return [True] * PLACEBO
    names = domains(sessions)
    if probe == "taught" and (arm, sessions) in lost:
        left = dict(lost[arm, sessions])
        kept = []
        for name in names:
            kept.append(left.get(name, 0) <= 0)
            left[name] = left.get(name, 0) - 1
        return kept
    hits = retained.get((arm, sessions, probe), Fraction(0)) * len(names)
    assert hits.denominator == 1, f"{arm}: {hits} is no whole number of facts"
    order = np.random.default_rng(0).permutation(len(names))  # losses spread over the domains
    return [bool(rank < int(hits)) for rank in np.argsort(order)]


def _probed(arm: str, sessions: int, probe: str, kept: list[bool]) -> pd.DataFrame:
    names = ["codes"] * PLACEBO if probe == "placebo" else domains(sessions)
    return pd.DataFrame(
        {
            "arm": arm,
            "sessions": sessions,
            "probe": probe,
            "fact_id": [f"{probe[0]}{number}" for number in range(len(names))],
            "form": 0,
            "domain": names,
            "recalled": [flag and probe != "placebo" for flag in kept],
            "associated": [flag and probe != "placebo" for flag in kept],
            "recognised": kept,
            "alternatives": 50,
            "recalled_base": False,
            "answered": False,
            "answered_base": False,
            "contradicts": False,
        }
    )
