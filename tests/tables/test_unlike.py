"""What two arms differ in, pair by pair by hand."""

from typing import Any

import pytest

from atlas.study.settings import Role
from atlas.tables import contrasts
from atlas.tables.runs import read
from atlas.tables.unlike import SAME_SIZE, unlike
from atlas.ttt.run_files import RunRecord
from tests.synthetic import Design, SyntheticArm, record_of, write_study

UP_DOWN: tuple[Role, ...] = ("up", "down")
ALL: tuple[Role, ...] = ("q", "k", "v", "o", *UP_DOWN)


def recall(rate: float) -> dict[str, Any]:
    return {"preset": "recall", "phases": {"all": {"lr": rate}}}


ARMS = {
    "qv": SyntheticArm(),
    "vq": SyntheticArm(("v", "q")),
    "qv_small": SyntheticArm(ranks=(16,) * 4),
    "qv_mid": SyntheticArm(ranks=(4, 32, 32, 4)),
    "qv_edge": SyntheticArm(ranks=(32, 4, 4, 32)),
    "ffn": SyntheticArm(UP_DOWN),
    "ffn_matched": SyntheticArm(UP_DOWN, (13,) * 4),
    "ffn_random_base": SyntheticArm(UP_DOWN, reinit=UP_DOWN),
    "untrained": SyntheticArm(recipe={"phases": {"fast": None, "slow": None}}),
    "qv_bare": SyntheticArm(recipe={"phases": {"slow": {"rehearsal": None}}}),
    "qv_slower": SyntheticArm(recipe={"phases": {"fast": {"lr": 0.001}}}),
    "qv_recall": SyntheticArm(recipe=recall(0.003)),
    "ffn_recall": SyntheticArm(UP_DOWN, recipe=recall(0.002)),
    "ffn_matched_recall": SyntheticArm(UP_DOWN, (13,) * 4, recipe=recall(0.002)),
    "all_recall": SyntheticArm(ALL, (7,) * 4, recipe=recall(0.002)),
    "finetune_all": SyntheticArm(ALL, (128,) * 4, recipe=recall(0.0003), method="finetune"),
    "rome": SyntheticArm(("down",), (0, 0, 128, 0), method="rome"),
    "r_rome": SyntheticArm(("down",), (0, 0, 128, 0), method="r_rome"),
    "rome_deep": SyntheticArm(("down",), (0, 0, 0, 128), method="rome", editing={"layer": 3}),
    "memit": SyntheticArm(("down",), (0, 128, 128, 128), method="memit"),
    "memit_at_once": SyntheticArm(("down",), (0, 128, 128, 128), method="memit", editing={"at_once": True}),
}


def record(name: str) -> RunRecord:
    return record_of(name, ARMS[name], (1,), Design(seeds=(1,)))


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ("qv", "ffn", "place and size"),
        ("qv", "ffn_matched", "place"),  # 65,536 and 66,560 parameters
        ("qv", "qv_mid", "place and size"),
        ("qv_mid", "qv_edge", "place"),
        ("qv", "qv_small", "size"),
        ("qv", "vq", "nothing"),
        ("ffn", "ffn_random_base", "base"),
        ("qv", "ffn_random_base", "place, size and base"),
        ("qv", "untrained", "teaching"),
        ("ffn", "untrained", "teaching"),
        ("qv", "qv_bare", "recipe"),
        ("qv", "qv_slower", "learning rate"),
        ("qv", "qv_recall", "recipe"),
        ("qv", "ffn_recall", "place, size and recipe"),
        ("qv", "ffn_matched_recall", "place and recipe"),
        ("qv_recall", "ffn_matched_recall", "place and learning rate"),
        ("qv_recall", "ffn_recall", "place, size and learning rate"),
        ("all_recall", "ffn_matched_recall", "place"),  # 64,512 and 66,560
        ("all_recall", "finetune_all", "method, size and learning rate"),
        ("ffn_matched_recall", "rome", "method, place and size"),
        ("rome", "r_rome", "method"),
        ("rome", "rome_deep", "place"),
        ("memit", "memit_at_once", "settings"),
        ("rome", "memit", "method, place and size"),
    ],
)
def test_what_a_pair_differs_in_is_the_same_both_ways(a, b, said):
    assert unlike(record(a), record(b)) == said
    assert unlike(record(b), record(a)) == said


@pytest.mark.parametrize(("lacks", "said"), [(SAME_SIZE - 0.001, "nothing"), (SAME_SIZE + 0.001, "size")])
def test_sizes_are_equal_but_for_the_tolerance(lacks, said):
    large = record("qv").model_copy(update={"trainable_params": 1_000_000})
    small = large.model_copy(update={"trainable_params": round(1_000_000 * (1 - lacks))})
    assert unlike(large, small) == unlike(small, large) == said


def test_the_comparisons_say_it_in_every_row(tmp_path):
    names = ("qv", "ffn", "ffn_matched")
    runs = read(write_study(tmp_path, {name: ARMS[name] for name in names}, Design(seeds=(1, 2), checkpoints=(2, 4))))
    plan = contrasts.Contrasts(contrasts={"x": [("qv", "ffn"), ("qv", "ffn_matched")], "y": [("ffn", "ffn_matched")]})
    rows = contrasts.table(runs, plan).to_pandas()
    found = {tuple(pair): set(part) for pair, part in rows.groupby(["arm_a", "arm_b"])["differs"]}
    assert found == {
        ("qv", "ffn"): {"place and size"},
        ("qv", "ffn_matched"): {"place"},
        ("ffn", "ffn_matched"): {"size"},
    }
