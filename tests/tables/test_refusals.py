"""Runs that must not be mixed, and files that must not be trusted, are refused in one line that names them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.errors import AtlasError
from atlas.study.settings import Role
from atlas.tables.runs import read
from atlas.ttt.run_files import FACTS, MATRIX
from tests.synthetic import Design, SyntheticArm, write_frame, write_run, write_study

ARMS = {"qv": SyntheticArm(), "ffn": SyntheticArm(("up", "down"))}
DESIGN = Design(seeds=(1, 2), checkpoints=(2,))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A folder of qv and ffn, seeds 1 and 2, a run a seed."""
    folder: Path = tmp_path_factory.mktemp("written")
    write_study(folder, ARMS, DESIGN, blocks=[[1], [2]])
    return folder


@pytest.fixture
def folders(written, tmp_path) -> list[Path]:
    """The test's own copies of these runs."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return [tmp_path / arm / seed for arm in ARMS for seed in "12"]


def change_record(folder: Path, **changes: Any) -> Path:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def change_facts(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    path = folder / "facts.parquet"
    write_frame(path, change(pq.read_table(path).to_pandas()), FACTS)
    return path


def read_all(folders: list[Path]) -> tuple[pd.DataFrame, ...]:
    runs = read(folders)
    return runs.facts, runs.matrix, runs.sessions


def refusal(folders: list[Path], *files: Path) -> str:
    """The message that reading everything ends with; one line that names all of ``files``."""
    with pytest.raises(AtlasError) as caught:
        read_all(folders)
    message = str(caught.value)
    assert "\n" not in message
    for file in files:
        assert str(file) in message
    return message


def test_sound_runs_are_read(folders):
    assert read(folders).arms == ["qv", "ffn"]
    assert all(len(frame) for frame in read_all(folders))


def test_different_bases(folders):
    odd = change_record(folders[3], base_fingerprint="0" * 64)
    assert "base_fingerprint" in refusal(folders, odd, folders[0] / "run.json")


@pytest.mark.parametrize(
    ("key", "value"), [("code_digest", "other"), ("ranks", [8, 8, 8, 8]), ("targets", ["k"]), ("reinit", ["up"])]
)
def test_one_arm_made_in_two_ways(folders, key, value):
    odd = change_record(folders[1], **{key: value})
    assert f"{key} is" in refusal(folders, odd, folders[0] / "run.json")


def test_two_recipes_under_one_arm(folders):
    recipe = json.loads((folders[1] / "run.json").read_text())["recipe"] | {"clip": 0.9}
    assert "recipe is" in refusal(folders, change_record(folders[1], recipe=recipe), folders[0] / "run.json")


@pytest.mark.parametrize("odd", [1, 3], ids=["in one arm", "between arms"])
def test_unlike_precision(folders, odd):
    record = change_record(folders[odd], precision="bfloat16")
    said = refusal(folders, record, folders[0] / "run.json")
    assert "made with precision bfloat16, but" in said
    assert "with float32; runs of unlike precision are in no table together, so make both with one study" in said


def test_runs_of_before_precision_was_noted_are_in_float32(folders):
    for folder in folders:
        noted = json.loads((folder / "run.json").read_text())
        assert noted.pop("precision") == "float32"
        (folder / "run.json").write_text(json.dumps(noted))
    assert {record.precision for record in read(folders).records} == {"float32"}
    change_record(folders[3], precision="float32")
    assert read(folders).arms == ["qv", "ffn"]


def test_arms_may_differ_in_code_and_recipe(folders):
    for folder in folders[2:]:
        change_record(folder, code_digest="other")
    assert read(folders).arms == ["qv", "ffn"]


def frozen(folder: Path, **changes: Any) -> dict[str, Any]:
    """A run's own account of its frozen weights, with some of it changed."""
    return {"frozen": json.loads((folder / "run.json").read_text())["frozen"] | changes}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"at_end": "0" * 64}, "frozen weights moved: fingerprint fff"),
        ({"at_start": "0" * 64, "at_end": "0" * 64}, "frozen.at_start is not base_fingerprint"),
        ({"changed": ["a.weight"]}, "a.weight differs from the certified base undeclared"),
        ({"declared": ["a.weight"]}, "a.weight is declared but unchanged"),
        ({"declared": ["a.weight"], "changed": ["a.weight"]}, "1 tensors, but reinit is []"),
    ],
)
def test_a_run_on_another_base_than_it_says(folders, changes, complaint):
    odd = change_record(folders[2], **frozen(folders[2], **changes))
    assert complaint in refusal(folders, odd)


@pytest.fixture
def with_reinit(tmp_path) -> list[Path]:
    """qv, and two arms whose base has its feed-forward matrices at a fresh initialisation, on purpose."""
    up_down: tuple[Role, ...] = ("up", "down")
    arms = {"qv": ARMS["qv"], "a": SyntheticArm(reinit=up_down), "b": SyntheticArm(up_down, reinit=up_down[::-1])}
    return write_study(tmp_path, arms, DESIGN)


def test_a_declared_reinit_is_no_mistake(with_reinit):
    assert read(with_reinit).arms == ["qv", "a", "b"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"at_start": "f" * 64, "at_end": "f" * 64}, "frozen.at_start is base_fingerprint"),
        ({"declared": [], "changed": []}, "0 tensors, but reinit is ['down', 'up']"),
        ({"changed": []}, "is declared but unchanged"),
    ],
)
def test_a_reinit_that_was_not_done(with_reinit, changes, complaint):
    odd = change_record(with_reinit[2], **frozen(with_reinit[2], **changes))
    assert complaint in refusal(with_reinit, odd)


@pytest.fixture
def on_two_bases(tmp_path) -> list[Path]:
    """qv and two arms with a base at random, seeds 1-2 on the first base and 3 on the second."""
    up_down: tuple[Role, ...] = ("up", "down")
    arms = {"qv": ARMS["qv"], "a": SyntheticArm(reinit=up_down), "b": SyntheticArm(up_down, reinit=up_down)}
    return write_study(tmp_path, arms, replace(DESIGN, replicas=2), blocks=[[1, 2], [3]])


def test_blocks_may_rest_on_different_bases_and_draws(on_two_bases):
    runs = read(on_two_bases)
    assert runs.replica_of == {1: 1, 2: 1, 3: 2}
    assert (runs.bases([1, 2]), runs.bases([2, 3])) == (1, 2)
    assert (runs.draws("a", [1, 2]), runs.draws("b", [1, 2, 3]), runs.draws("qv", [1, 2])) == (1, 2, 1)
    assert set(runs.fingerprints) == {"1", "2"}
    assert runs.facts.groupby("base_replica")["seed"].unique().map(set).to_dict() == {1: {1, 2}, 2: {3}}


def test_a_seed_on_another_base_than_in_the_other_arms(on_two_bases):
    first = json.loads((on_two_bases[0] / "run.json").read_text())
    same = {key: first[key] for key in ("base_fingerprint", "frozen")}
    odd = change_record(on_two_bases[1], base_replica=1, **same)
    message = refusal(on_two_bases, on_two_bases[3] / "run.json", odd)
    assert "seed 3 is taught on replica 2 of the base, but on replica 1 in" in message


def test_two_bases_under_one_number(on_two_bases):
    odd = change_record(on_two_bases[3], base_replica=1)
    assert "runs on different bases, both as replica 1" in refusal(on_two_bases, odd, on_two_bases[0] / "run.json")


def test_one_base_under_two_numbers(on_two_bases):
    odd = change_record(on_two_bases[1], base_fingerprint="f" * 64)
    assert "one base counts once" in refusal(on_two_bases, odd, on_two_bases[0] / "run.json")


def test_a_table_of_another_base_than_its_record(on_two_bases):
    path = change_facts(on_two_bases[1], lambda facts: facts.assign(base_replica=1))
    assert "column 'base_replica' holds [1], but run.json says 2" in refusal(on_two_bases, path)


def test_draws_differ_between_blocks_but_not_within_one(on_two_bases):
    drawn = json.loads((on_two_bases[2] / "run.json").read_text())["frozen"]
    odd = change_record(on_two_bases[5], frozen=drawn)  # the weights of the other block
    assert "for the same seeds" in refusal(on_two_bases, odd, on_two_bases[3] / "run.json")


def test_two_arms_with_one_reinit_on_different_weights(with_reinit):
    odd = change_record(with_reinit[2], **frozen(with_reinit[2], at_start="d" * 64, at_end="d" * 64))
    assert "declares the same reinit ['down', 'up']" in refusal(with_reinit, odd, with_reinit[1] / "run.json")


def test_a_seed_that_was_run_twice(folders, tmp_path):
    again = write_run(tmp_path / "qv" / "again", "qv", ARMS["qv"], [2], DESIGN)
    message = refusal([*folders, again], again / "run.json", folders[1] / "run.json")
    assert "seed 2 of arm 'qv'" in message


@pytest.mark.parametrize("missing", [1, 3])
def test_arms_with_different_seeds(folders, missing):
    kept = [folder for index, folder in enumerate(folders) if index != missing]
    arm = "qv" if missing == 1 else "ffn"
    message = refusal(kept, folders[missing - 1] / "run.json")
    assert f"seed 2: missing for arm '{arm}'" in message


@pytest.mark.parametrize("column", ["nll", "answer_nll_base"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_a_metric(folders, column, value):
    def spoil(facts: pd.DataFrame) -> pd.DataFrame:
        facts.loc[3, column] = value
        return facts

    assert repr(column) in refusal(folders, change_facts(folders[2], spoil))


def test_nan_in_a_record(folders):
    losses = [{"seed": 1, "sessions": 2, "base": 1.5, "adapted": float("nan")}]
    assert "val_loss" in refusal(folders, change_record(folders[0], val_loss=losses))


def test_a_missing_column(folders):
    path = folders[0] / "facts.parquet"
    pq.write_table(pq.read_table(path).drop(["recalled"]), path)
    assert "'recalled'" in refusal(folders, path)


def test_a_column_of_another_type(folders):
    path = folders[0] / "facts.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("recalled")
    pq.write_table(table.set_column(at, "recalled", table["recalled"].cast(pa.int32())), path)
    assert "'recalled' is int32, expected bool" in refusal(folders, path)


@pytest.mark.parametrize("name", ["facts.parquet", "matrix.parquet", "sessions.parquet", "run.json"])
def test_a_truncated_file(folders, name):
    path = folders[1] / name
    path.write_bytes(path.read_bytes()[:-40])
    refusal(folders, path)


@pytest.mark.parametrize("name", ["facts.parquet", "matrix.parquet", "sessions.parquet", "run.json"])
def test_a_missing_file(folders, name):
    path = folders[1] / name
    path.unlink()
    assert "no such file" in refusal(folders, path)


def test_a_null_where_there_must_be_a_value(folders):
    path = folders[0] / "matrix.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("recalled")
    pq.write_table(table.set_column(at, MATRIX.field("recalled"), pa.nulls(len(table), pa.bool_())), path)
    assert "'recalled' has" in refusal(folders, path)


def test_a_file_of_another_arm(folders):
    path = folders[0] / "facts.parquet"
    path.write_bytes((folders[2] / "facts.parquet").read_bytes())
    assert "['ffn']" in refusal(folders, path)


def test_a_file_of_another_seed(folders):
    path = folders[0] / "matrix.parquet"
    path.write_bytes((folders[1] / "matrix.parquet").read_bytes())
    assert "holds seeds [2]" in refusal(folders, path)


def test_a_row_that_stands_there_twice(folders):
    path = change_facts(folders[0], lambda facts: pd.concat([facts, facts.head(1)]))
    assert "several rows for one" in refusal(folders, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.iloc[1:],
        lambda facts: facts.assign(session_taught=facts["session_taught"].replace(1, 2)),
    ],
    ids=["a fact less", "another order"],
)
def test_arms_that_were_taught_differently(folders, change):
    message = refusal(folders, change_facts(folders[3], change), folders[1] / "facts.parquet")
    assert "seed 2 has other facts" in message


def test_seeds_of_an_arm_with_different_checkpoints(folders):
    odd = change_facts(folders[3], lambda facts: facts.assign(sessions=facts["sessions"] + 1))
    assert "after [3] sessions, expected [2] as its other seeds" in refusal(folders, odd)


def test_an_arm_with_a_checkpoint_that_no_other_has(folders):
    paths = [change_facts(folder, lambda facts: facts.assign(sessions=facts["sessions"] + 1)) for folder in folders[2:]]
    assert "'ffn' was probed after [3] sessions, expected some of [2]" in refusal(folders, paths[0])


def test_an_arm_may_have_fewer_checkpoints_and_is_compared_where_it_has(tmp_path):
    short = SyntheticArm(recall=0.1)
    design = Design(seeds=(1, 2), checkpoints=(2, 4))
    folders = write_study(tmp_path, {**ARMS, "short": short}, design, blocks=[[1], [2]])
    for folder in folders[4:]:
        change_facts(folder, lambda facts: facts.query("sessions == 2"))
    assert set(read(folders).facts.query("arm == 'short'")["sessions"]) == {2}
    odd = change_facts(folders[5], lambda facts: facts.assign(fact_id=facts["fact_id"].replace(r"1$", "x", regex=True)))
    assert "after 2 sessions seed 2 has other facts" in refusal(folders, odd, folders[1] / "facts.parquet")


def test_rows_in_another_order_are_the_same_run(folders):
    change_facts(folders[3], lambda facts: facts.sample(frac=1, random_state=0))
    assert len(read(folders).facts)
