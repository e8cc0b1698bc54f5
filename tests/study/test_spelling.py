"""One study in several spellings gives the same jobs, so that none of them reruns anything."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.study import config
from tests.study.made_study import jobs_of

BASE = {
    "seeds": [3, "5-6", "9-11"],
    "base": {"replicas": 1},  # blocks are dealt over more in the order that they are written in
    "arms": {
        "qv": {"targets": ["q", "v"]},
        "all_random": {"targets": ["q", "k", "v", "o", "up", "down"], "base": {"reinit": ["q", "up", "down"]}},
        "full": {"method": "finetune", "targets": ["up", "down"]},
    },
    "pool": {"shares": {"codes": 5, "history": 3, "science": 3}},
    "guard": {"snapshots": [150, 200, 300]},
    "search": {
        "arms": {"ffn": {"targets": ["up", "down"]}},
        "seeds": [901, 902, 903],
        "sweeps": {
            "a": {"methods": ["lora", "finetune"], "vary": {"clip": [1, 2], "phases.slow.lr": [0.001, 0.01]}},
            "b": {"recipe": {"preset": "recall"}, "rates": [0.001, 0.002, 0.004]},
        },
    },
}


def shuffled(values):
    return st.permutations(values).map(list)


def reordered(values):
    return st.permutations(list(values.items())).map(dict)


@st.composite
def spellings(draw):
    """The study with everything shuffled whose order decides nothing."""
    other = json.loads(json.dumps(BASE))
    for arm in other["arms"].values():
        arm["targets"] = draw(shuffled(arm["targets"]))
    random = other["arms"]["all_random"]["base"]
    random["reinit"] = draw(shuffled(random["reinit"]))
    other["seeds"] = draw(shuffled(other["seeds"]))
    other["pool"]["shares"] = draw(reordered(other["pool"]["shares"]))
    other["guard"]["snapshots"] = draw(shuffled([*other["guard"]["snapshots"], 200]))
    search = other["search"]
    search["seeds"] = draw(shuffled(search["seeds"]))
    search["arms"]["ffn"]["targets"] = draw(shuffled(["up", "down"]))
    sweep = search["sweeps"]["a"]
    sweep["methods"] = draw(shuffled(sweep["methods"]))
    return other


@given(spellings())
def test_the_order_of_what_has_none_changes_no_job(other):
    assert jobs_of(config.study(other)) == jobs_of(config.study(BASE))


ARMS = "arms: {qv: {targets: [q, v]}}\n"
SEARCH = "search: {rungs: [100], arms: {a: {targets: [q]}}, sweeps: {s: {vary:"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("recipe: {phases: {slow: {lr: 0.001}}}", "recipe: {phases: {slow: {lr: 1e-3}}}"),
        ("alpha: 32", "alpha: 32.0"),
        ("lanes: 8", "lanes: '8'"),
        ("seeds: ['1-4']", "seeds: [01-04]"),
        ("seeds: ['5-5']", "seeds: [5]"),
        ("pool: {}", "pool: {taught: 1520, placebo: 380, seed: 0, unfit: refuse}"),
        ("pool: {source: own.csv}", "pool: {source: .//own.csv}"),
        ("base: {corpus: texts/mine}", "base: {corpus: ./texts/./mine/}"),
        ("results: there/results", "results: ./there//results/"),
        ("checkpoints: [30, 100]", "probes: {val_tokens: 16384}\ncheckpoints: [30.0, 100]"),
        ("arms: {qv: {targets: [q], ranks: [32, 32, 32, 32]}}", "arms: {qv: {targets: [q], ranks: 32, recipe: {}}}"),
        ("arms: {qv: {targets: [q], start: a}}", "arms: {qv: {targets: [q], start: a/}}"),
        ("arms: {m: {method: memit}}", "arms: {m: {method: memit, editing: {layers: [0, 1, 2], value: {decay: 2}}}}"),
        (
            f"{SEARCH} {{phases.slow.lr: [0.001, 0.01], clip: [1], loss: [answer, sentence]}}, most: 3}}}}}}",
            f"{SEARCH} {{phases.slow.lr: [1e-3, '1e-2'], clip: [1.0], loss: [answer, sentence]}}, most: 3}}}}}}",
        ),
        (
            "search: {keep: 1, arms: {a: {targets: [q]}}, sweeps: {s: {rates: [0.001, 0.01, 0.1]}}}",
            "search: {keep: 1, arms: {a: {targets: [q]}}, sweeps: {s: {rates: [1e-3, '1e-2', 10e-2]}}}",
        ),
    ],
)
def test_another_spelling_of_a_value_changes_no_job(tmp_path, one, other):
    found = []
    for name, text in (("one.yaml", one), ("other.yaml", other)):
        (tmp_path / name).write_text(text + "\n" + ("" if text.startswith("arms") else ARMS))
        found.append(jobs_of(config.load(tmp_path / name)))
    assert found[0] == found[1]


def test_a_home_folder_is_written_in_full(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    arms = {"qv": {"targets": ["q"]}}
    assert config.study({"arms": arms, "pool": {"source": "~/own.csv"}}).pool.source == "/home/me/own.csv"


def test_a_corpus_that_is_called_like_the_one_that_is_fetched_is_a_file():
    arms = {"qv": {"targets": ["q"]}}
    assert config.study({"arms": arms, "base": {"corpus": "./shakespeare"}}).base.corpus == "./shakespeare"
    assert config.study({"arms": arms, "base": {"corpus": "shakespeare"}}).base.corpus == "shakespeare"


def test_the_old_name_of_the_length_of_the_validation_text_says_what_it_is_now():
    with pytest.raises(AtlasError, match=r"probes\.val_chars: the text is counted in tokens now, .* val_tokens"):
        config.study({"arms": {"qv": {"targets": ["q", "v"]}}, "probes": {"val_chars": 65536}})
