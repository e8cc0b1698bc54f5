"""What teaching takes, by hand, and as the recipes at work take it."""

import numpy as np
import pytest
import torch

from atlas.draws import rng
from atlas.study.recipes import Phase
from atlas.study.tuning import Tuned
from atlas.tables import arms
from atlas.tables.effort import facts_trained
from atlas.tables.runs import read
from atlas.ttt.engine.lines import ItemTable, line
from atlas.ttt.recipe import Items
from atlas.ttt.run_files import SESSIONS
from atlas.ttt.session import Estimates, Session
from atlas.workflow import files
from tests.synthetic import Design, SyntheticArm, write_frame, write_study

CPU = torch.device("cpu")
NEW = 3
REHEARSES = {"rehearsal": {"facts": 9}}


@pytest.mark.parametrize("stored", [0, 2, 9, 40])
@pytest.mark.parametrize(
    "phase",
    [
        {"steps": 20},
        {"epochs": 3, "batch": 3, **REHEARSES},
        {"epochs": 2, "batch": 5, **REHEARSES},
        {"steps": 7, "batch": 5, **REHEARSES},
        {"steps": 24, "rehearsal": {"facts": 32, "every": 1}},
        {"steps": 10, "batch": 5, "rehearsal": {"facts": 9, "every": 4}},
        {"steps": 4, "new": False, **REHEARSES},
    ],
)
def test_facts_are_counted_as_a_phase_takes_them(phase, stored):
    rules = Phase.model_validate(phase)
    table = ItemTable.of([[line("A", "b", "t")] * (stored + NEW)], CPU)
    session = Session(table, stored, NEW, Estimates.none(table), lambda lane, purpose: rng("effort", lane, purpose))
    steps = [chosen.shape[1] for chosen in Items(rules, "phase", session).steps()]
    assert facts_trained(rules, NEW, stored, len(steps)) == sum(steps)
    assert facts_trained(rules, NEW, stored, 0) == 0


RECALL = {"preset": "recall", "phases": {"all": {"steps": 2}}}
STUDY = {
    "qv": SyntheticArm(),
    "qv_recall": SyntheticArm(recipe=RECALL),
    "twice": SyntheticArm(recipe=RECALL | {"paraphrases": 1}),
    "untrained": SyntheticArm(recipe={"phases": {"fast": None, "slow": None}}),
    "memit": SyntheticArm(("down",), method="memit"),
    "memit_at_once": SyntheticArm(("down",), method="memit", editing={"at_once": True}),
}


def test_beside_every_arm_stands_what_a_session_of_a_seed_takes(tmp_path):
    design = Design(seeds=(1, 2, 3), checkpoints=(2, 4))
    folders = write_study(tmp_path, STUDY, design, blocks=[(1, 2), (3,)])
    for folder in folders:
        frame = files.read_parquet(folder / "sessions.parquet", SESSIONS).to_pandas()
        frame = frame.assign(
            seconds_train=4.0, seconds_score=0.5, characters=np.where(frame["phase"] == "slow", 60, 90)
        )
        if folder.parent.name == "memit_at_once":  # nothing is written between checkpoints
            frame.loc[~frame["session"].isin(design.checkpoints), "phase"] = "none"
        write_frame(folder / "sessions.parquet", frame, SESSIONS)
    tuning = arms.Tuning(tuned={"qv_recall": Tuned(seeds=[901], rates=[0.002, 0.003])})
    found = arms.table(read(folders), tuning).to_pandas().set_index("arm")
    essay = [20 * 3 + 12 * 3, 20 * 3 + 12 * 3, 20 * 3 + 12 * 3, 20 * 3 + 12 * 3]  # 12 steps of 3, whatever is stored
    recall = [2 * (3 + min(32, stored)) for stored in (0, 3, 6, 9)]
    twice = [2 * (6 + min(32, stored)) for stored in (0, 6, 12, 18)]
    assert found["session_facts"].to_dict() == {
        "qv": np.mean(essay),
        "qv_recall": np.mean(recall),
        "twice": np.mean(twice),
        "untrained": 0,
        "memit": 3,
        "memit_at_once": (2 * 3 + 4 * 3) / 4,
    }
    assert found["session_tokens"].drop("memit_at_once").to_dict() == {
        "qv": 150,
        "qv_recall": 90,
        "twice": 90,
        "untrained": 90,
        "memit": 90,
    }
    assert set(found["session_seconds"]) == {2 * 4.0 / 3}  # a run of two seeds and one of one trained for 4 each
    assert found["tuning"].to_dict() == {
        "qv": "0.003, that of preset essay, not tuned",
        "qv_recall": "0.002, the lowest of 2 rates tried (0.002 to 0.003), by hand on seed 901",
        "twice": "0.002, that of preset recall, not tuned",
        "untrained": "trains nothing",
        "memit": "settings, not tuned",
        "memit_at_once": "settings, not tuned",
    }
