"""A whole tiny run: its files, its reproducibility, its refusals."""

import importlib.metadata
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from atlas.base.checkpoint import load_certified, save
from atlas.errors import AtlasError
from atlas.guard.tensors import fingerprint
from atlas.study.base_settings import Base
from atlas.study.recipes import Recipe
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.frozen import reinitialise
from atlas.ttt.run import main
from atlas.ttt.run_files import FACTS, MATRIX, SESSIONS, read_record
from atlas.workflow import files
from tests.ttt.tiny_run import FILES, arguments, certify, spec, teach
from tests.ttt.tiny_ttt import TINY, make_model


def test_the_files_follow_the_contract(run):
    facts, matrix, sessions = (
        files.read_parquet(run / f"{name}.parquet", schema)
        for name, schema in [("facts", FACTS), ("matrix", MATRIX), ("sessions", SESSIONS)]
    )
    assert facts.num_rows == 2 * ((4 + 8 + 4) + (8 + 16 + 4))  # seeds x (taught + rephrased + placebo) at 2 and 4
    assert matrix.num_rows == 2 * (2 + 4 + 6 + 8)
    assert sessions.num_rows == 2 * 4 * 2  # seeds x sessions x phases
    frame = facts.to_pandas()
    assert frame["session_taught"].isna().equals(frame["probe"] == "placebo")
    assert (frame["recognised"] == (frame["nll"] < frame["nll_base"])).all()
    placebo = frame["probe"] == "placebo"  # whose answers are those of facts that may be taught
    assert frame.loc[~placebo].groupby("sessions")["alternatives"].unique().to_dict() == {2: [3], 4: [7]}
    assert set(frame.loc[placebo & (frame["sessions"] == 2), "alternatives"]) == {3, 4}
    assert sorted(frame.loc[frame["probe"] == "rephrase", "form"].unique()) == [2, 3]  # the first may be taught
    assert frame["associated"].notna().all()
    assert frame["decoded"].str.len().between(1, 32).all()
    assert set(frame["base_replica"]) == {1}
    assert (
        files.provenance_of(run / "facts.parquet")["base_fingerprint"] == read_record(run / "run.json").base_fingerprint
    )


def test_matrix_and_checkpoint_agree(run):
    facts = pq.read_table(run / "facts.parquet").to_pandas()
    matrix = pq.read_table(run / "matrix.parquet").to_pandas()
    for sessions in (2, 4):
        taught = facts[(facts["probe"] == "taught") & (facts["sessions"] == sessions)]
        rows = matrix[matrix["session"] == sessions]
        both = taught.merge(rows, on=["seed", "fact_id"], suffixes=("", "_matrix"))
        assert len(both) == len(taught) == len(rows)
        np.testing.assert_allclose(both["nll"], both["nll_matrix"], atol=1e-5)
        np.testing.assert_allclose(both["nll_base"], both["nll_base_matrix"], atol=1e-5)
        assert (both["recalled"] == both["recalled_matrix"]).all()


def test_the_record_tells_what_was_run(run, inputs):
    record = read_record(run / "run.json")
    manifest = json.loads((inputs / "base.json").read_text())
    assert record.base_fingerprint == manifest["fingerprint"]
    assert record.trainable_params == 2 * 2 * 4 * (32 + 32)
    assert record.base_params == sum(parameter.numel() for parameter in make_model().parameters())
    assert {(entry.seed, entry.sessions) for entry in record.val_loss} == {(1, 2), (1, 4), (2, 2), (2, 4)}
    assert all(entry.adapted != entry.base for entry in record.val_loss)
    assert record.versions["torch"] == importlib.metadata.version("torch")


def test_adapters_are_saved_lane_by_lane(run):
    tensors = load_file(run / "adapters.safetensors")
    assert tensors["model.decoder.layers.0.self_attn.q_proj.lora_A"].shape == (2, 32, 4)
    assert len(tensors) == 2 * 2 * 2


def test_the_same_run_gives_the_same_bytes(run, inputs, tmp_path):
    again = teach(inputs, tmp_path / "1-2")
    for name in ("facts.parquet", "matrix.parquet", "adapters.safetensors"):
        assert (again / name).read_bytes() == (run / name).read_bytes(), name


def test_a_seed_gets_the_same_numbers_alone(run, inputs, tmp_path):
    alone = pq.read_table(teach(inputs, tmp_path / "2", seeds=(2,)) / "facts.parquet").to_pandas()
    block = pq.read_table(run / "facts.parquet").to_pandas()
    block = block[block["seed"] == 2].reset_index(drop=True)
    assert (alone["fact_id"] == block["fact_id"]).all()
    np.testing.assert_allclose(alone["nll"], block["nll"], atol=2e-3)
    assert (alone["recalled"] == block["recalled"]).mean() > 0.97


def test_without_rehearsal_only_new_facts_are_trained(inputs, tmp_path):
    quiet = spec(recipe=Recipe.model_validate({"phases": {"slow": {"rehearsal": None}}}))
    sessions = pq.read_table(teach(inputs, tmp_path / "1-2", quiet) / "sessions.parquet").to_pandas()
    assert set(sessions.loc[sessions["phase"] == "slow", "steps"]) == {3}


def test_an_arm_that_teaches_nothing_is_the_base_and_runs_as_no_other(run, inputs, tmp_path, monkeypatch):
    bind, bound = LaneModel.bind, []

    def noted(self, theta):
        bound.append(theta)
        bind(self, theta)

    monkeypatch.setattr(LaneModel, "bind", noted)
    still = spec(recipe=Recipe.model_validate({"phases": {"fast": None, "slow": None}}))
    out = teach(inputs, tmp_path / "1-2", still)
    assert bound
    assert all(theta is None for theta in bound)
    facts, matrix = (pq.read_table(out / f"{name}.parquet").to_pandas() for name in ("facts", "matrix"))
    for name, rows in (("facts", facts), ("matrix", matrix)):
        keys = [key for key in ("seed", "sessions", "session", "probe", "fact_id", "form") if key in rows]
        assert (pq.read_table(run / f"{name}.parquet").to_pandas()[keys] == rows[keys]).all(axis=None)
    assert not facts["recognised"].any()
    for column in ("nll", "answer_nll", "recalled", "answered"):
        assert (facts[column] == facts[f"{column}_base"]).all()
    assert (matrix["nll"] == matrix["nll_base"]).all()
    assert (matrix["nll_before"] == matrix["nll_base"]).all()
    assert all(entry.adapted == entry.base for entry in read_record(out / "run.json").val_loss)
    tensors = load_file(out / "adapters.safetensors")
    assert {name.rpartition(".")[2]: bool(tensor.any()) for name, tensor in tensors.items()} == {
        "lora_A": True,
        "lora_B": False,
    }


def test_reinitialised_roles_and_no_others_differ():
    model, fresh = make_model(), make_model()
    names = reinitialise(model, ["up", "down"], base_seed=0, seeds=[1, 2])
    paths = [f"model.decoder.layers.{layer}.{name}" for layer in (0, 1) for name in ("fc1", "fc2")]
    assert names == sorted(f"{path}.{part}" for path in paths for part in ("weight", "bias"))
    before, after = fresh.state_dict(), model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(names)
    assert reinitialise(fresh, ["up", "down"], base_seed=0, seeds=[1, 2]) == names
    assert all(torch.equal(fresh.state_dict()[name], after[name]) for name in after)


def test_every_block_of_seeds_has_a_draw_of_its_own_that_arms_share():
    drawn = {}
    for seeds in ([1, 2], [3, 4], [1]):
        model = make_model()
        reinitialise(model, ["up"], base_seed=0, seeds=seeds)
        drawn[tuple(seeds)] = fingerprint(model.state_dict())
    assert drawn[1, 2] != drawn[3, 4]
    assert drawn[1, 2] == drawn[1,]  # the first seed names it


def test_a_base_in_the_place_of_another_replica_is_refused(inputs, tmp_path):
    with pytest.raises(
        AtlasError, match=r"base.json: replica 1 of the base, but seeds \[1, 2\] are taught on replica 2"
    ):
        teach(inputs, tmp_path / "1-2", spec(base_replica=2))


def test_no_certificate_no_run(spoilt, tmp_path):
    certify(spoilt, passed=False, fingerprint="x")
    with pytest.raises(AtlasError, match=r"certificate.json: the base failed verification"):
        teach(spoilt, tmp_path / "out")
    (spoilt / "certificate.json").unlink()
    with pytest.raises(AtlasError, match=r"certificate.json: no such file"):
        teach(spoilt, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_weights_than_certified_are_refused(spoilt, tmp_path):
    other = make_model(seed=5)
    save(
        spoilt / "base.safetensors",
        spoilt / "other.json",
        other,
        config=Base(model=TINY),
        val_loss=1.0,
        tokens=1,
        seconds=1,
        corpus_sha256="",
    )
    with pytest.raises(AtlasError, match=r"base.safetensors: fingerprint"):
        teach(spoilt, tmp_path / "out")


def test_streams_of_other_seeds_or_shapes_are_refused(inputs, tmp_path):
    swapped = arguments(inputs, tmp_path / "out", spec(seeds=[2, 1]))
    with pytest.raises(AtlasError, match=r"1.parquet: stream of seed 1, expected seed 2"):
        main([*swapped, "--streams", str(inputs / "1.parquet"), str(inputs / "2.parquet")])
    with pytest.raises(AtlasError, match=r"1.parquet: 4 sessions, 8 facts; expected 5 sessions of 2"):
        teach(inputs, tmp_path / "out", spec(checkpoints=[5]))
    with pytest.raises(AtlasError, match="2 files for 1 seed; give one a seed"):
        main(
            [*arguments(inputs, tmp_path / "out", spec(seeds=[1])), "--streams", *map(str, [inputs / "1.parquet"] * 2)]
        )


@pytest.mark.parametrize("name", sorted({*FILES.values(), "2.parquet"} - {"corpus.txt"}))  # a text is whole anywhere
def test_a_truncated_input_is_named(spoilt, tmp_path, name):
    path = spoilt / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AtlasError) as refused:
        teach(spoilt, tmp_path / "out")
    assert name in str(refused.value)


def test_a_gpu_that_is_not_there_is_said(inputs, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(AtlasError, match="device: cuda, but torch sees no GPU"):
        teach(inputs, tmp_path / "out", spec(device="cuda"))


def test_the_certified_base_is_what_is_loaded(inputs):
    model = load_certified(*(inputs / name for name in ("base.safetensors", "base.json", "certificate.json")))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), make_model().parameters(), strict=True))
