"""What is exported, loaded by transformers and PEFT: it says of every fact what the run said."""

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

import atlas
from atlas import cli
from atlas.base.text import SYMBOLS, encode
from atlas.errors import AtlasError
from atlas.pool.facts import read_pool, sentence
from atlas.study.arm import Arm
from atlas.ttt.export import export
from tests.ttt.tiny_run import make_inputs, spec, teach
from tests.ttt.tiny_ttt import make_model

RUNS: dict[str, dict[str, Any]] = {
    "adapters": {},
    "ranks_by_layer": {"targets": ["q", "v", "up", "down"], "ranks": [3, 5]},
    "one_layer": {"targets": ["k", "o"], "ranks": [0, 4]},
    "another_base": {"targets": ["up", "down"], "reinit": ["up", "down"]},
    "whole_matrices": {"targets": ["v", "down"], "ranks": [32, 32], "method": Arm(method="finetune").method},
}


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session", params=RUNS)
def run(request, inputs, tmp_path_factory):
    """A run of two seeds, and where it was exported to."""
    folder = tmp_path_factory.mktemp(request.param)
    teach(inputs, folder / "1-2", spec(**RUNS[request.param]))
    return folder / "1-2", folder / "exported", export(folder / "1-2", folder / "exported", inputs)


def loaded(out, seed):
    """The model of a seed, by transformers and PEFT alone."""
    folder = out / f"seed-{seed}"
    if not (folder / "adapter_config.json").is_file():
        return AutoModelForCausalLM.from_pretrained(folder).eval()
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(out / "base"), folder).eval()


def costs(model, tokenizer, text):
    """Nats per character of a sentence behind a newline."""
    tokens = torch.tensor([tokenizer("\n" + text)["input_ids"]])
    with torch.no_grad():
        logits = model(input_ids=tokens).logits[0, :-1]
    return F.cross_entropy(logits, tokens[0, 1:]).item()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks for it
def test_the_export_says_of_every_fact_what_the_run_said(run, inputs):
    folder, out, written = run
    facts = {fact.fact_id: fact for fact in read_pool(inputs / "pool.parquet")}
    rows = [row for row in pq.read_table(folder / "facts.parquet").to_pylist() if row["sessions"] == 4]
    home = out / ("base" if (out / "base").is_dir() else "seed-1")
    tokenizer = AutoTokenizer.from_pretrained(home)
    assert {path.name for path in written} == {path.name for path in out.iterdir()}
    for seed in (1, 2):
        model = loaded(out, seed)
        adapted = isinstance(model, PeftModel)
        assert atlas.verify(model, out / f"seed-{seed}", trained=adapted).passed
        asked = [row for row in rows if row["seed"] == seed and row["probe"] in ("taught", "placebo")]
        assert {row["probe"] for row in asked} == {"taught", "placebo"}
        found = [
            costs(model, tokenizer, sentence(facts[row["fact_id"]].prompt, facts[row["fact_id"]].answer))
            for row in asked
        ]
        np.testing.assert_allclose(found, [row["nll"] for row in asked], atol=2e-5)
    assert max(abs(row["nll"] - row["nll_base"]) for row in rows) > 0.01  # there was something to carry over


def test_the_base_is_exported_with_its_tokenizer(inputs, tmp_path):
    (folder,) = export(inputs, tmp_path / "base")
    tokens = torch.from_numpy(encode(SYMBOLS).astype(np.int64))[None, :60]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer(SYMBOLS)["input_ids"] == [*range(96)]
    assert tokenizer.decode([*range(96)]) == SYMBOLS
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    torch.testing.assert_close(model(input_ids=tokens).logits, make_model()(tokens), atol=1e-5, rtol=1e-5)


def test_the_command_says_what_it_wrote_and_how_to_load_it(inputs, tmp_path, monkeypatch, capsys):
    run = teach(inputs, tmp_path / "1-2", spec(checkpoints=[1]))
    line = ["atlas", "export", str(run), str(tmp_path / "out"), "--base", str(inputs)]
    monkeypatch.setattr("sys.argv", line)
    cli._main()
    said = capsys.readouterr().out
    for name in ("base", "seed-1", "seed-2"):
        assert str(tmp_path / "out" / name) in said
    assert "PeftModel.from_pretrained" in said


def test_another_base_is_not_exported_under_the_adapters(inputs, tmp_path):
    run = teach(inputs, tmp_path / "1-2", spec(checkpoints=[1]))
    record = json.loads((run / "run.json").read_text())
    record["frozen"]["at_start"] = "0" * 64
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(AtlasError, match="was taught on 0000"):
        export(run, tmp_path / "out", inputs)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over_and_nothing_else_is_exported(inputs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(AtlasError, match="there is something already"):
        export(inputs, tmp_path / "out")
    with pytest.raises(AtlasError, match=r"neither run\.json nor base\.safetensors is there"):
        export(tmp_path, tmp_path / "new")
