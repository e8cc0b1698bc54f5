"""Looking after a memory: what it holds, what it is to forget, what it learnt for PEFT, and what is damaged."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from atlas.memory import store
from tests.memory.conftest import FACTS, facts

CPU = torch.device("cpu")
QUIET = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks for it


def test_facts_are_listed_with_what_became_of_them(atlas, memory):
    atlas("teach", "--fact", "My dog is called", "Bo", "--memory", memory)
    atlas("memory", "forget", "own/00001", "--memory", memory)
    *lines, total = atlas("memory", "list", "--memory", memory).splitlines()
    assert [line.split("  ")[1:3] for line in lines] == [
        *(["session 1", f"{prompt!r} {answer!r}"] for prompt, answer in FACTS.items()),
        ["session 2", "'My dog is called' 'Bo'"],
    ]
    assert "forgotten 20" in next(line for line in lines if "Lima" in line)
    assert "replaced 20" in next(line for line in lines if "'Rex'" in line)
    assert total == "2 facts are kept, after 2 sessions; `atlas ask --all` tests them now"
    listed = json.loads(atlas("memory", "list", "--json", "--memory", memory))
    assert {one["fact"]["answer"]: one["gone"] and one["gone"]["why"] for one in listed} == {
        "Lima": "forgotten",
        "Danube": None,
        "Rex": "replaced",
        "Bo": None,
    }


def test_a_memory_says_what_it_is(atlas, taught, base):
    said = atlas("memory", "show", "--memory", taught)
    fingerprint = json.loads((base / "base.json").read_text())["fingerprint"]
    for part in (
        f"{taught}: 3 facts kept, 0 gone, 1 session\n",
        f"base: {fingerprint} in {base}\n",
        f"text: {base / 'corpus.txt'}\n",
        "recipe: recall, learning rate 0.01, seed 1\n",
        "adapters: q, v, up, ranks 4, 4, alpha 32\n",
        "session 1: 3 facts in ",
        "; then 3 of 3 recalled; code ",
    ):
        assert part in said
    shown = json.loads(atlas("memory", "show", "--json", "--memory", taught))
    assert shown["sessions"][0]["fact_ids"] == ["own/00001", "own/00002", "own/00003"]


def test_a_fact_is_shown_by_its_name_or_its_prompt(atlas, memory, tmp_path):
    row = {"prompt": "The mayor of Ulm is", "answer": "Ann", "rephrases": ["Ulm is led by"], "aliases": ["Anna"]}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row | {"fact_id": "mayor"}))
    atlas("teach", tmp_path / "mine.jsonl", "--memory", memory)
    said = atlas("memory", "show", "mayor", "--memory", memory)
    assert said.splitlines() == [
        "mayor: 'The mayor of Ulm is' 'Ann'",
        "also: 'Anna'",
        "in other words: 'Ulm is led by'",
        "taught by session 2; recalled from session 2 on",
    ]
    assert atlas("memory", "show", "The mayor of Ulm is", "--memory", memory) == said
    assert json.loads(atlas("memory", "show", "mayor", "--json", "--memory", memory))["fact"]["answer"] == "Ann"
    unknown = atlas("memory", "show", "Mayor", "--memory", memory, fails=True)
    assert "no fact 'Mayor' is kept; name facts by fact_id or prompt, as `atlas memory list` does" in unknown


def test_what_is_forgotten_counts_no_more_and_may_still_be_answered(atlas, memory):
    said = atlas("memory", "forget", "My dog is called", "own/00001", "--memory", memory)
    dog, peru = said.splitlines()
    assert dog == (
        "'My dog is called': no longer rehearsed, tested or counted; the adapter still answers it, and may until later "
        "sessions overwrite it"
    )
    assert peru.startswith("'The capital of Peru is': no longer rehearsed")
    record, state = store.read_state(memory, CPU)
    assert [one.fact.answer for one in record.kept] == ["Danube"]
    assert state.estimates.losses.shape == (1, 1)
    assert atlas("ask", "--all", "--memory", memory).endswith("1 of 1 fact recalled after 1 session\n")
    again = atlas("memory", "forget", "My dog is called", "nothing", "--memory", memory, fails=True)
    assert "no fact 'My dog is called' and 'nothing' is kept" in again


def test_an_adapter_that_lost_a_forgotten_fact_is_said_to_have(atlas, memory):
    record, state = store.read_state(memory, CPU)
    state.learner.theta.zero_()
    store.write(memory, record, state)
    said = atlas("memory", "forget", "My dog is called", "--memory", memory)
    assert "; the adapter does not answer it (it says '" in said


@QUIET
def test_peft_answers_as_the_memory_does(atlas, taught, tmp_path):
    printed = atlas("memory", "export", tmp_path / "out", "--memory", taught).splitlines()
    assert len(printed) == 2
    assert "PeftModel.from_pretrained(base, " in printed[1]
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "base")
    model = PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "base")
    for prompt, answer in FACTS.items():
        asked = tokenizer(f"\n{prompt} ", return_tensors="pt").input_ids
        said = model.generate(input_ids=asked, max_new_tokens=10, do_sample=False)[0, asked.shape[1] :]
        assert tokenizer.decode(said).startswith(f"{answer}\n")
    assert "there is something already" in atlas("memory", "export", tmp_path / "out", "--memory", taught, fails=True)


@pytest.mark.parametrize("command", [("ask", "--all"), ("memory", "show"), ("memory", "forget", "x")])
def test_a_folder_without_a_memory_is_said_to_be_one(atlas, tmp_path, command):
    said = atlas(*command, "--memory", tmp_path / "none", fails=True)
    assert "none: no memory is there (memory.json); name the folder that `atlas teach` wrote" in said
    assert not (tmp_path / "none").exists()


def test_damage_is_named_and_nothing_is_taught_over_it(atlas, memory):
    state = next(memory.glob("state-*"))
    state.write_bytes(state.read_bytes()[:-1] + b"x")
    for command in (("ask", "My dog is called"), ("teach", *facts({"The chief is": "Bo"}))):
        said = atlas(*command, "--memory", memory, fails=True)
        assert f"{state}: damaged, its checksum is not that of" in said
    state.unlink()
    assert f"{state}: no such file, but" in atlas("ask", "--all", "--memory", memory, fails=True)
    (memory / "memory.json").write_text('{"facts": 3}')
    assert "memory.json: " in atlas("memory", "list", "--memory", memory, fails=True)
