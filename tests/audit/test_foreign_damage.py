"""The suite on another project's architecture: each view sees what it can, and nothing of an honest model."""

import pytest

from atlas.audit.audit_columns import LEVELS
from atlas.draws import rng
from atlas.guard.faults.foreign import KINDS

pytestmark = pytest.mark.xdist_group("trained llama")  # one worker makes its models


def seen(bench, name, place="all"):
    (kind,) = (each for each in KINDS if each.name == name)
    row = bench.row(kind, place, rng(0, name))
    return row, [set(filter(None, row[f"failed_{level}"].split(", "))) for level in LEVELS]


def test_what_is_in_the_wrong_place_takes_a_text(bench):
    row, (file, by_text, model, manifest) = seen(bench, "gate and up exchanged")
    assert not file
    assert "siblings" in by_text
    assert model - by_text == {"loaded"}
    assert manifest - model == {"sha256"}
    assert row["loads"]
    assert row["rise"] > 0.01


def test_a_file_that_does_not_fit_its_config_needs_none(bench):
    _, views = seen(bench, "a layer fewer")
    assert "names" in views[0]
    assert "config" in views[3] - views[0]


def test_what_is_wrong_in_memory_alone_is_in_no_file(bench):
    row, (file, by_text, _, manifest) = seen(bench, "rotary table zero")
    assert not file | by_text
    assert "sha256" not in manifest
    assert row["rise"] > 0.02


def test_rows_are_drawn_and_all_layers_at_once_are_among_them(bench):
    kinds = [each for each in KINDS if each.name in ("norms less one", "a layer fewer")]
    places = [(row["kind"], row["module"]) for row in bench.rows(kinds)]
    assert places == [("norms less one", places[0][1]), ("norms less one", "all"), ("a layer fewer", "all")]
    assert places[0][1] in ("0", "1")
