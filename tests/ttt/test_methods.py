"""Every method through the whole of a run: what it leaves behind, and that it goes on as if never killed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from atlas.errors import AtlasError
from atlas.study.arm import Arm
from atlas.study.recipes import Recipe
from atlas.ttt import edit, run
from atlas.ttt.editors import rome
from atlas.ttt.editors.value_search import find_values
from atlas.ttt.run_files import EDIT_FAILURES, FACTS, MATRIX, SESSIONS, LeftAlone, read_record
from atlas.workflow import files
from tests.ttt.test_resume import SAME, killed_after
from tests.ttt.tiny_run import arguments, make_inputs, make_moments, spec, teach
from tests.ttt.tiny_ttt import TINY

SEARCH = {"contexts": {"count": 1, "characters": 4}, "value": {"steps": 8}}
ARMS = {
    "finetune": Arm(method="finetune", targets=["up", "down"]),
    "rome": Arm(method="rome", editing={**SEARCH, "layer": 1}),
    "r_rome": Arm(method="r_rome", editing={**SEARCH, "layer": 0}),
    "memit": Arm(method="memit", editing={**SEARCH, "layers": [0, 1], "look_back": True}),
    "memit_at_once": Arm(method="memit", editing={**SEARCH, "layers": [0, 1], "at_once": True}),
    "alphaedit": Arm(method="alphaedit", editing={**SEARCH, "layers": [0, 1]}),
}


def spec_of(name, **changes):
    """A run of an arm, for three sessions of two facts, probed after the first and the last."""
    arm = ARMS[name]
    given = {
        "arm": name,
        "targets": arm.roles,
        "ranks": arm.ranks_in(TINY),
        "recipe": arm.recipe_over(Recipe.model_validate({})),
        "checkpoints": [1, 3],
        "method": arm.method,
        "editing": arm.settings,
    }
    return spec(**given | changes)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """What a run needs, of an editor, too."""
    return make_moments(make_inputs(tmp_path_factory.mktemp("inputs")))


@pytest.fixture(scope="session", params=ARMS)
def method(request):
    return request.param


@pytest.fixture(scope="session")
def out(method, inputs, tmp_path_factory):
    """The files of a run of the method."""
    return teach(inputs, tmp_path_factory.mktemp(method) / "1-2", spec_of(method))


def read(folder, name, schema):
    return files.read_parquet(folder / f"{name}.parquet", schema).to_pandas()


def test_a_method_makes_the_answers_of_its_last_session_likelier(out):
    facts = read(out, "facts", FACTS)
    assert set(facts["sessions"]) == {1, 3}
    new = facts[(facts["probe"] == "taught") & (facts["session_taught"] == facts["sessions"])]
    assert (new["answer_nll"] < new["answer_nll_base"] - 0.2).mean() > 0.7


def test_the_record_names_the_method(out, method):
    record = read_record(out / "run.json")
    assert (record.method, record.editing) == (ARMS[method].method, ARMS[method].settings)
    assert record.teaches
    text = None if method == "finetune" else LeftAlone(tokens=20 * 96, source="corpus")
    assert record.left_alone == text
    assert record.at_once == (method == "memit_at_once")
    matrices = {"finetune": 4, "rome": 1, "r_rome": 1}.get(method, 2)
    assert record.trainable_params == matrices * TINY.width * TINY.ffn
    assert record.frozen.changed == []


def test_the_change_of_every_matrix_is_saved_lane_by_lane(out, method):
    tensors = load_file(out / "adapters.safetensors")
    shapes = {tensor.shape for tensor in tensors.values()}
    assert all(name.endswith(".update") for name in tensors)
    down, up = (2, TINY.ffn, TINY.width), (2, TINY.width, TINY.ffn)
    assert shapes == ({down, up} if method == "finetune" else {down})
    norms = np.sqrt(sum((tensor.astype(float) ** 2).sum(axis=(1, 2)) for tensor in tensors.values()))
    last = read(out, "sessions", SESSIONS).query("session == 3").drop_duplicates("seed")
    np.testing.assert_allclose(last.sort_values("seed")["adapter_norm"], norms, rtol=1e-5)


def test_an_editor_says_how_its_search_went(out, method):
    sessions = read(out, "sessions", SESSIONS)
    if method == "finetune":
        assert set(sessions["phase"]) == {"fast", "slow"}
        assert sessions[[*EDIT_FAILURES]].isna().all(axis=None)
        return
    wrote = sessions[sessions["phase"] == "edit"]
    assert set(wrote["session"]) == ({1, 3} if method == "memit_at_once" else {1, 2, 3})
    assert wrote["steps"].between(1, 8).all()
    assert (wrote["loss_last"] < wrote["loss_first"]).all()
    assert (wrote["characters"] > 0).all()
    assert (wrote[[*EDIT_FAILURES]].sum(axis=1) < 2).all()


@pytest.mark.parametrize(
    ("factor", "failure", "said"),
    [
        (np.nan, "unwritten", "4 edits left out, since no finite numbers came of it"),
        (0, "without_effect", "4 edits without effect"),
        (-30, "worsened", "4 edits that made the answer less likely"),
    ],
)
def test_edits_that_fail_are_counted_and_said(factor, failure, said, inputs, tmp_path, monkeypatch, capsys):
    def spoilt(*arguments):
        found = find_values(*arguments)
        return replace(found, delta=factor * found.delta)

    monkeypatch.setattr(rome, "find_values", spoilt)
    folder = teach(inputs, tmp_path / "1-2", spec_of("rome", checkpoints=[1]))
    counts = read(folder, "sessions", SESSIONS)[[*EDIT_FAILURES]]
    assert counts.eq(pd.DataFrame({name: [2 * (name == failure)] * 2 for name in EDIT_FAILURES})).all(axis=None)
    assert f"rome seeds 1-2: {said}, see sessions.parquet" in capsys.readouterr().err
    assert np.isfinite(load_file(folder / "adapters.safetensors")["model.decoder.layers.1.fc2.update"]).all()


def test_what_is_written_at_once_is_measured_where_it_is_written(inputs, tmp_path):
    both = teach(inputs, tmp_path / "both", spec_of("memit_at_once"))
    matrix = read(both, "matrix", MATRIX)
    assert matrix.groupby(["seed", "session"]).size().to_dict() == {(s, t): 2 * t for s in (1, 2) for t in (1, 3)}
    assert set(read(both, "sessions", SESSIONS).query("session == 2")["phase"]) == {"none"}
    alone = teach(inputs, tmp_path / "alone", spec_of("memit_at_once", checkpoints=[3]))
    assert (alone / "adapters.safetensors").read_bytes() == (both / "adapters.safetensors").read_bytes()


def test_killed_it_goes_on_and_ends_with_the_same_bytes(method, out, inputs, tmp_path, monkeypatch):
    again = tmp_path / "1-2"
    killed_after(monkeypatch, inputs, again, 2, spec_of(method))
    teach(inputs, again, spec_of(method))
    assert read_record(again / "run.json").resumed_after == [2]
    for name in SAME:
        assert (again / name).read_bytes() == (out / name).read_bytes(), name


def test_an_editor_needs_the_moments_of_this_base(inputs, tmp_path):
    words = arguments(inputs, tmp_path / "out", spec_of("rome"))
    at = words.index("--moments")
    with pytest.raises(AtlasError, match="--moments: none given, but an editor needs them"):
        edit.main([*words[:at], *words[at + 2 :]])
    with pytest.raises(AtlasError, match="--spec: method 'lora' has no editing"):
        edit.main(arguments(inputs, tmp_path / "out", spec()))
    with pytest.raises(AtlasError, match="--spec: method 'rome' does not train"):
        run.main(arguments(inputs, tmp_path / "out", spec_of("rome")))


def test_a_record_from_before_there_were_methods_is_one_of_lora(inputs, tmp_path):
    record = teach(inputs, tmp_path / "1-2", spec(checkpoints=[1])) / "run.json"
    old = files.read_json(record)
    del old["method"], old["editing"]
    files.write_json(record, old)
    assert (read_record(record).method, read_record(record).editing) == ("lora", None)
    assert pq.read_table(record.with_name("facts.parquet")).num_rows
