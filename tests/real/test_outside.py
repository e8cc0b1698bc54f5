"""A study on a language model from outside, under odd names, by the workflow: every kind of arm, and the tables."""

import json

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from tests.base.tiny_tokenizers import tokenizer
from tests.guard.foreign_models import as_if_trained
from tests.real.checkout import STUDY

ODD = "it's $HOME & (a; b)"
SEARCH = {"contexts": {"count": 1, "characters": 4}, "value": {"steps": 2}}
ARMS = {
    "qv": {"targets": ["q", "v"], "ranks": 4},
    "ffn": {"targets": ["gate", "up", "down"], "ranks": 4},
    "r_rome": {"method": "r_rome", "editing": {**SEARCH, "layer": 1, "site": "subject_last"}},
}


def save_model(folder):
    """A tiny Llama, and a tokenizer of Llama 2's kind."""
    made = tokenizer("llama 2")
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=made.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    model = AutoModelForCausalLM.from_config(config)
    as_if_trained(model)
    model.save_pretrained(folder)


@pytest.fixture
def outside(fresh):
    """A checkout with a study on a model in a folder of its own."""
    save_model(fresh.root / f"model {ODD}")
    (fresh.root / "corpus-of-the-test.txt").rename(fresh.root / f"corpus {ODD}")
    base = {"corpus": f"corpus {ODD}", "model": f"model {ODD}", "max_val_loss": 1000}
    study = STUDY | {"base": base, "arms": ARMS, "ablations": {}, "contrasts": {"places": [["qv", "ffn"]]}}
    study |= {"results": f"results/{ODD}", "seeds": ["1-2"]}
    fresh.configure(study | {"counterfactual": 0, "trace": {"cases": 2, "samples": 2}, "keys": {"characters": 2048}})
    return fresh


def test_a_study_runs_on_a_model_from_outside_and_again_where_that_changes(outside):
    outside.done("tables", *(f"results/{ODD}/{name}" for name in ("ttt/trace.parquet", "charts/retention.svg")))
    manifest = json.loads(outside.file(f"{ODD}/base/1/base.json").read_text())
    certificate = json.loads(outside.file(f"{ODD}/base/1/certificate.json").read_text())
    assert certificate["passed"]
    assert certificate["fingerprint"] == manifest["fingerprint"]
    names = {check["name"] for check in certificate["checks"]}
    assert {"names", "spectrum", "aligned", "sha256", "val_loss_reproduced"} <= names
    facts = pq.read_table(outside.file(f"{ODD}/tables/retention.parquet")).to_pandas()
    assert {*facts["arm"]} == {*ARMS}
    arms = pq.read_table(outside.file(f"{ODD}/tables/arms.parquet")).to_pandas()
    params = dict(zip(arms["arm"], arms["trainable_params"], strict=True))
    assert params["qv"] == 2 * (4 * (32 + 32) + 4 * (32 + 16))  # one group of values for two heads
    asked = pq.read_table(outside.file(f"{ODD}/ttt/pool.parquet")).to_pandas()
    assert (asked["true_answer"].notna() == (asked["known"] & (asked["role"] == "taught"))).all()
    kinds = pq.read_table(outside.file(f"{ODD}/tables/knowledge.parquet")).to_pandas()
    assert {*kinds["arm"]} == {*ARMS}
    assert "unknown" in {*kinds["kind"]}
    compared = pq.read_table(outside.file(f"{ODD}/tables/knowledge_contrasts.parquet")).to_pandas()
    assert {*compared["kind"]} == {*kinds["kind"]}
    assert {*compared["arm_a"], *compared["arm_b"]} == {"qv", "ffn"}
    for arm in ARMS:
        rows = pq.read_table(outside.file(f"{ODD}/ttt/{arm}/1-2/facts.parquet")).to_pandas().query("probe == 'taught'")
        assert (rows["answer_nll"] != rows["answer_nll_base"]).all()
    assert outside.jobs("tables") == set()
    config = outside.root / f"model {ODD}" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rope_theta": 5000.0}))
    assert "pretrain 1" in outside.jobs("tables")


def test_what_a_model_from_outside_cannot_have_is_said_at_once(outside):
    for arm, words in (
        (
            {"targets": ["q"], "base": {"reinit": ["up"]}},
            r"arms.a.base.reinit: the confound is shown on a base that is pretrained here",
        ),
        ({"targets": ["q"], "ranks": [4, 4, 4]}, r"arms.a.ranks: 3 ranks for 2 layers"),
    ):
        study = STUDY | {"base": {"model": f"model {ODD}"}, "arms": {"a": arm}, "ablations": {}, "contrasts": {}}
        outside.configure(study)
        result = outside.snakemake("--dry-run")
        assert result.returncode
        assert words in result.stdout
        assert "Traceback" not in result.stdout
