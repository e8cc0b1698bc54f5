"""docs/conventions.md says all that a run needs: one that was written from it alone teaches the same."""

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from atlas.base.text import decode
from atlas.study.recipes import Recipe
from atlas.ttt import run
from atlas.ttt.engine.descent import descend
from atlas.ttt.run_files import FACTS
from atlas.workflow import files
from tests.ttt import by_the_page
from tests.ttt.tiny_run import spec, teach

SESSIONS, SEEDS = 3, (1, 2)
RECIPES: dict[str, dict[str, Any]] = {
    "essay": {"budget": 1, "phases": {"slow": {"rehearsal": {"facts": 2}}}},
    "essay_answers": {
        "budget": 1,
        "loss": "answer",
        "phases": {"fast": {"lr": 0.02}, "slow": {"lr": 0.01, "rehearsal": {"facts": 2}}},
    },
    "recall": {
        "preset": "recall",
        "phases": {
            "all": {
                "lr": 0.001,
                "steps": 14,
                "early": {"steps": 18, "shown": 70},
                "rehearsal": {"facts": 3},
                "text": {"characters": 24},
            }
        },
    },
}
"""The presets with fewer facts to rehearse, so that it counts which ones; ``essay_answers`` teaches enough for recall.

At higher rates, training is chaotic in rounding: within some sessions float32 and float64 part. A pull toward the base
rounds most: it is a difference of chances that are nearly equal.
"""
PLACES: dict[str, dict[str, Any]] = {
    "essay": {"targets": ["q", "v"], "alpha": 4},
    "essay_answers": {"targets": ["q", "v"], "alpha": 6},
    "recall": {"targets": ["up", "down"], "alpha": 32},
}


def test_it_is_written_from_the_page_alone():
    tree = ast.parse(Path(by_the_page.__file__).read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    others = {"numpy", "peft", "pyarrow", "safetensors", "torch", "transformers"}
    assert {name.partition(".")[0] for name in modules} <= others | sys.stdlib_module_names


@pytest.fixture(scope="module", params=RECIPES)
def both(request, inputs, tmp_path_factory):
    """A run of Atlas with its course and what each of its steps trained, and the same run by the page."""
    kept = Recipe.model_validate(RECIPES[request.param])
    given = spec(checkpoints=[SESSIONS], recipe=kept, **PLACES[request.param])
    steps, courses, save = [], [], run.save

    def noted(model, layout, lines, count, *how):
        said = [
            [decode(tokens[: predicted + 1].tolist()) for tokens, predicted in zip(*lane, strict=True)]
            for lane in zip(lines.tokens, lines.predicted, strict=True)
        ]
        steps.append([[lane[part] for lane in said] for part in (slice(count), slice(count, None))])
        return descend(model, layout, lines, count, *how)

    def saved(out, course, record):
        courses.append(course)
        save(out, course, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atlas.ttt.recipe.descend", noted)
        patch.setattr(run, "save", saved)
        out = teach(inputs, tmp_path_factory.mktemp(request.param) / "1-2", given)
    again = [by_the_page.Seed(given.model_dump(mode="json"), inputs, seed) for seed in SEEDS]
    for one in again:
        for session in range(1, SESSIONS + 1):
            one.teach(session)
    return request.param, out, courses[0], steps, again


def test_every_step_trains_the_same_facts_and_text(both):
    _, _, _, steps, again = both
    for lane, one in enumerate(again):
        assert [[text.removeprefix("\n") for text in facts[lane]] for facts, _ in steps] == [s.facts for s in one.steps]
        assert [text[lane] for _, text in steps] == [step.windows for step in one.steps]


def test_every_step_has_the_same_loss(both):
    _, _, course, _, again = both
    found = np.concatenate([trace.losses for taught in course.state.sessions for trace in taught.traces])
    expected = np.array([[step.loss for step in one.steps] for one in again]).T
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_adapters_are_the_same(both):
    _, out, _, _, again = both
    tensors = load_file(out / "adapters.safetensors")
    for lane, one in enumerate(again):
        expected = one.adapters()
        assert expected.keys() == tensors.keys()
        for name, tensor in tensors.items():
            away = np.linalg.norm(tensor[lane] - expected[name]) / np.linalg.norm(expected[name])
            assert away < 1e-3, name


def test_the_same_facts_are_recalled_and_cost_the_same(both):
    name, out, _, _, again = both
    facts = files.read_parquet(out / "facts.parquet", FACTS).to_pandas()
    asked = [(again[row.seed - 1], row.fact_id, row.form) for row in facts.itertuples()]
    assert facts["recalled"].tolist() == [one.recalled(fact, form) for one, fact, form in asked]
    assert name != "essay_answers" or 0 < facts.loc[facts["probe"] == "taught", "recalled"].mean() < 1
    costs = np.array([one.costs(fact, form) for one, fact, form in asked])
    np.testing.assert_allclose(facts[["nll", "answer_nll"]], costs, rtol=1e-4)
    assert {2, 3} <= {*facts.loc[facts["probe"] == "rephrase", "form"]}  # of three, the larger half is held out


def test_the_same_answers_come_before_their_alternatives(both):
    _, out, _, _, again = both
    facts = files.read_parquet(out / "facts.parquet", FACTS).to_pylist()
    found = [(row["alternatives"], row["associated"]) for row in facts]
    assert found == [again[row["seed"] - 1].associated(row["fact_id"], row["form"], row["sessions"]) for row in facts]
    assert {True, False} <= {ahead for _, ahead in found}
