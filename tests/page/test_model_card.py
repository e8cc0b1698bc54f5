"""The model card of an export: its header is what Hugging Face reads, and its figures are those of facts.parquet."""

import re

import pandas as pd
import pytest
import yaml

from atlas import cli
from atlas.base.checkpoint import read_manifest
from atlas.errors import AtlasError
from atlas.study.arm import Arm
from atlas.ttt.run_files import read_record
from tests.ttt.tiny_run import make_inputs, spec, teach


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


def exported(monkeypatch, inputs, run, out):
    monkeypatch.setattr("sys.argv", ["atlas", "export", str(run), str(out), "--base", str(inputs)])
    cli._main()
    return {folder.name: (folder / "README.md").read_text(encoding="utf-8") for folder in out.iterdir()}


def header(card):
    _, found, _ = card.split("---\n", 2)
    return yaml.safe_load(found)


def test_the_card_of_an_adapter_has_the_figures_of_its_run(inputs, tmp_path, monkeypatch):
    run = teach(inputs, tmp_path / "1-2", spec())
    facts = pd.read_parquet(run / "facts.parquet").query("sessions == 4")
    facts.loc[(facts["seed"] == 1) & (facts["probe"] == "taught"), "recalled"] = True  # so that there is a figure
    whole = pd.read_parquet(run / "facts.parquet")
    whole.update(facts[["recalled"]])
    _write_like(run / "facts.parquet", whole.astype({"recalled": bool}))
    cards = exported(monkeypatch, inputs, run, tmp_path / "out")
    assert {*cards} == {"base", "seed-1", "seed-2"}
    record, manifest = read_record(run / "run.json"), read_manifest(inputs / "base.json")
    by_fact = facts.groupby(["seed", "probe", "fact_id"])["recalled"].mean()
    for seed in (1, 2):
        card = cards[f"seed-{seed}"]
        said = header(card)
        assert (said["library_name"], said["base_model"]) == ("peft", str(tmp_path / "out" / "base"))
        assert "license" not in said
        (index,) = said["model-index"]
        found = {one["metrics"][0]["name"]: one["metrics"][0]["value"] for one in index["results"]}
        expected = by_fact[seed].groupby("probe").mean()
        assert found == {f"recall, {probe}": share for probe, share in expected.items()}
        both = by_fact.groupby(["probe", "seed"]).mean().groupby("probe").mean()
        (row,) = re.findall(r"\| as taught \| (\d+) \| ([\d.]+)% \| ([\d.]+)% \| ([\d.]+) to ([\d.]+)% \|", card)
        count, own, mean, low, high = map(float, row)
        assert count == 8 == facts.query(f"seed == {seed} and probe == 'taught'")["fact_id"].nunique()
        assert (own, mean) == (round(100 * expected["taught"], 1), round(100 * both["taught"], 1))
        assert low <= mean <= high
        loss = next(one for one in record.val_loss if (one.seed, one.sessions) == (seed, 4))
        assert f"a rise of {loss.adapted - loss.base:.4f}" in card
        for text in (record.code_digest, manifest.fingerprint, "mean over 2 seeds (1, 2)", "slow: 3 epochs", '"\\n" +'):
            assert text in card
    assert header(cards["seed-1"])["model-index"][0]["results"][0]["metrics"][0]["value"] == 1
    assert header(cards["base"])["library_name"] == "transformers"
    assert manifest.fingerprint in cards["base"]


def _write_like(path, frame):
    """Put other rows into a file, in its columns' types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), path)


def test_the_card_of_changed_matrices_is_that_of_a_whole_model(inputs, tmp_path, monkeypatch):
    changes = {"targets": ["v"], "ranks": [32, 32], "method": Arm(method="finetune").method, "checkpoints": [1]}
    cards = exported(monkeypatch, inputs, teach(inputs, tmp_path / "1-2", spec(**changes)), tmp_path / "out")
    assert {*cards} == {"seed-1", "seed-2"}
    said = header(cards["seed-2"])
    assert said["library_name"] == "transformers"
    assert "base_model" not in said
    assert "PeftModel" not in cards["seed-2"]


def test_a_run_whose_figures_cannot_be_read_leaves_nothing(inputs, tmp_path, monkeypatch):
    run = teach(inputs, tmp_path / "1-2", spec(checkpoints=[1]))
    (run / "facts.parquet").unlink()
    with pytest.raises(AtlasError, match=r"facts\.parquet"):
        exported(monkeypatch, inputs, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
