"""What other tools say of damaged checkpoints: it is theirs, in their own words, and nothing is said of sound ones."""

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from atlas.audit import tools
from atlas.audit.audit_columns import DETECTION, LEVELS, TOOLS
from atlas.audit.other_tools import TOOLS_OF_MODELS, hear, installed
from atlas.guard.faults.adapter_kinds import ADAPTER_FAULTS
from atlas.guard.faults.foreign import KINDS
from atlas.guard.formats import WHOLE
from tests.guard.foreign_models import saved

pytestmark = [  # one worker makes its models
    pytest.mark.xdist_group("trained llama"),
    pytest.mark.filterwarnings("ignore"),  # of the other tools; what they say is what is tested
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("llama"), "llama", trained=True)


def verdicts(folder):
    return {tool: hear(load, folder).verdict for tool, load in TOOLS_OF_MODELS.items()}


def test_all_tools_are_there_and_none_says_anything_of_a_sound_model(model):
    assert installed().keys() == {*TOOLS_OF_MODELS, "peft"}
    assert verdicts(model) == dict.fromkeys(TOOLS_OF_MODELS, "nothing")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda name, values: (name.replace("mlp", "ffn"), values), ("warning", "error", "warning", "warning")),
        (lambda name, values: (name, values[:-1] if "up_proj" in name else values), ("error",) * 4),
        (lambda name, values: (name, values * 0 if "up_proj" in name else values), ("nothing",) * 4),
    ],
    ids=["names", "shapes", "zeros"],
)
def test_what_is_said_of_damage(model, tmp_path, damage, expected):
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = dict(damage(name, values.contiguous()) for name, values in load_file(model / WHOLE).items())
    save_file(tensors, tmp_path / WHOLE, metadata={"format": "pt"})
    assert verdicts(tmp_path) == dict(zip(TOOLS_OF_MODELS, expected, strict=True))


def seen_by_the_guard(bench):
    """A table of detection as the guard's step would write it, which saw what it takes a text for."""
    rows = []
    for each in KINDS:
        for place, _ in bench.cases(each):
            row = {"subject": bench.name, "family": each.family, "kind": each.name, "module": place, "loads": False}
            row |= {f"failed_{level}": "" if level == "file" else "wiring" for level in LEVELS}
            rows.append(dict.fromkeys(DETECTION.names) | row | {"harmless": False, "unknowable": False})
    return pd.DataFrame(rows)


def test_every_tool_is_asked_about_the_same_damage(bench, monkeypatch):
    monkeypatch.setattr(tools, "KINDS", KINDS[::5])
    rows = pd.DataFrame(tools.of_models(bench, seen_by_the_guard(bench)))[TOOLS.names]
    asked = rows[rows["family"] != tools.SOUND].groupby("tool").apply(lambda some: sorted(some["kind"]))
    assert {*asked.index} == {*TOOLS_OF_MODELS, tools.FILE_ALONE, tools.WITH_TEXT}
    assert all(kinds == asked.iloc[0] for kinds in asked)
    assert len(asked.iloc[0]) > 5
    by_guard = rows.set_index("tool")["verdict"]
    assert {*by_guard[tools.WITH_TEXT]} == {"error"}
    assert {*by_guard[tools.FILE_ALONE]} == {"nothing"}
    assert "nothing" in {*by_guard["safetensors"]}


def test_damaged_adapters_are_refused_by_the_guard(bench, tmp_path):
    rows = pd.DataFrame(tools.of_adapters(bench.honest, tmp_path / "adapter"))
    of_guard = rows[rows["tool"] == tools.FILE_ALONE].set_index("kind")["verdict"]
    assert of_guard.to_dict() == dict.fromkeys(ADAPTER_FAULTS, "error")
    assert {*rows.loc[rows["tool"] == "peft", "kind"]} == {*ADAPTER_FAULTS}
