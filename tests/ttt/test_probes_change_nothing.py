"""Probes never change what is taught: whatever else is measured, the same recipe gives the same bytes."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from atlas.pool.facts import STREAM_SCHEMA, TAUGHT, read_pool
from atlas.study.arm import Arm
from atlas.study.jobs import RunSpec
from atlas.study.recipes import Recipe
from atlas.ttt import resume
from atlas.ttt.editors.writer import editing
from atlas.ttt.inputs import Inputs
from atlas.ttt.run import prepare, trainer
from atlas.workflow import files
from tests.ttt.test_resume import dying_after
from tests.ttt.tiny_run import FILES, make_inputs, make_measured, make_moments, spec
from tests.ttt.tiny_ttt import TINY

FEW = {"facts": 2, "unseen": 0.5}
RECIPES: dict[str, dict[str, Any]] = {
    "essay": {"budget": 2, "phases": {"fast": {"steps": 3}, "slow": {"epochs": 1, "rehearsal": FEW}}},
    "exact": {"budget": None, "paraphrases": 1, "phases": {"fast": None, "slow": {"epochs": 1, "rehearsal": FEW}}},
    "recall": {
        "preset": "recall",
        "phases": {
            "all": {
                "steps": 4,
                "early": {"steps": 6, "shown": 20},
                "rehearsal": {"facts": 2},
                "text": {"characters": 16},
            }
        },
    },
    "importance": {
        "preset": "own",
        "budget": 1,
        "phases": {"all": {"steps": 4, "rehearsal": FEW, "anchor": {"weight": 50, "by": "importance", "memory": 0.9}}},
    },
    "until": {
        "preset": "own",
        "budget": 1,
        "weakness": "worst",
        "phases": {"all": {"steps": 9, "lr": 0.01, "batch": 2, "rehearsal": FEW, "until": {"loss": 2.0}}},
    },
    "in turn": {"budget": 1, "phases": {"fast": None, "slow": {"epochs": 1, "rehearsal": {**FEW, "choice": "random"}}}},
    "random": {"phases": {"fast": None, "slow": {"epochs": 1, "rehearsal": {"facts": 2, "choice": "random"}}}},
}
EDITOR = Arm(
    method="memit",
    editing={"contexts": {"count": 1, "characters": 4}, "value": {"steps": 3}, "layers": [0, 1], "look_back": True},
)


METHODS = [*RECIPES, "memit"]
SESSIONS = 12  # of one fact each; the retention matrix leaves out 9 and 11, unless it has all sessions
STUDIES: dict[str, dict[str, Any]] = {
    "one checkpoint": {"checkpoints": [12], "probes": {"val_tokens": 97}, "placebo": 1},
    "a shorter study": {"checkpoints": [6, 9], "probes": {"matrix": "all", "val_tokens": 200}},
}


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Inputs:
    folder = make_moments(make_inputs(tmp_path_factory.mktemp("inputs")))
    taught = [fact.fact_id for fact in read_pool(folder / "pool.parquet") if fact.role == TAUGHT]
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(taught)[:SESSIONS].tolist()
        rows = [[seed] * SESSIONS, [*range(1, SESSIONS + 1)], [0] * SESSIONS, order]
        columns = dict(zip(STREAM_SCHEMA.names, rows, strict=True))
        files.write_parquet(folder / f"{seed}.parquet", pa.table(columns, schema=STREAM_SCHEMA), {})
    make_measured(folder, "other.parquet", val_tokens=97)
    named = {option: folder / name for option, name in FILES.items()}
    streams = [folder / f"{seed}.parquet" for seed in (1, 2)]
    return Inputs(streams=streams, threads=1, moments=folder / "covariance.safetensors", **named)


def spec_of(name: str, **asked: Any) -> RunSpec:
    changes = {"facts_per_session": 1, **asked}
    if name == "memit":
        changes |= {"method": EDITOR.method, "targets": EDITOR.roles, "ranks": EDITOR.ranks_in(TINY)}
        recipe = EDITOR.recipe_over(Recipe.model_validate({}))
        return spec(**changes, editing=EDITOR.settings, recipe=recipe)
    return spec(**changes, recipe=Recipe.model_validate(RECIPES[name]))


def taught(name: str, given: Inputs, folder, placebo: int = 4, **asked: Any) -> dict[int, str]:
    """What the lanes had added after the sessions of each checkpoint; so many facts that are never taught are asked."""
    run = spec_of(name, **asked)
    assert given.measured
    if run.probes.val_tokens != spec().probes.val_tokens:
        given = replace(given, measured=given.measured.with_name("other.parquet"))
    course = prepare(run, given, editing if name == "memit" else trainer).course
    course.placebo = course.placebo[:placebo]
    course.run(name, resume.Saved(folder, name))
    return {point.sessions: hashlib.sha256(point.theta.tobytes()).hexdigest() for point in course.state.checkpoints}


@pytest.fixture(scope="module", params=METHODS)
def method(request):
    return request.param


@pytest.fixture(scope="module")
def always(method, given, tmp_path_factory) -> dict[int, str]:
    """What a study finds that looks at all there is after every session."""
    found = taught(method, given, tmp_path_factory.mktemp("always"), checkpoints=[*range(1, SESSIONS + 1)])
    assert len({*found.values()}) == SESSIONS
    return found


@pytest.mark.parametrize("study", STUDIES)
def test_what_else_is_measured_changes_no_byte(method, always, given, tmp_path, study):
    found = taught(method, given, tmp_path, **STUDIES[study])
    assert found == {sessions: always[sessions] for sessions in STUDIES[study]["checkpoints"]}


def test_nor_does_being_killed(method, always, given, tmp_path, monkeypatch):
    with dying_after(monkeypatch, 10):
        taught(method, given, tmp_path, checkpoints=[SESSIONS])
    assert (tmp_path / resume.NAME).exists()
    assert taught(method, given, tmp_path, checkpoints=[SESSIONS]) == {SESSIONS: always[SESSIONS]}
