"""Tables of small studies that the tests of charts and of the page share."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.charts.made_tables import make_tables
from tests.synthetic import Design, ablations_like_the_study, arms_like_the_study

RECALL = {"preset": "recall", "phases": {"all": {"steps": 2}}}
ARMS = ("qv", "ffn", "qv_ffn", "ffn_random_base")


@pytest.fixture(scope="session")
def tables_folder(made_once) -> Path:
    """Tables of four arms and the ablations: two seeds, checkpoints after 4 and 10 sessions."""
    arms = {name: arm for name, arm in arms_like_the_study().items() if name in ARMS}
    design = Design(seeds=(1, 2), checkpoints=(4, 10))
    return Path(made_once("study", lambda to: make_tables(to, arms, design, ablations_like_the_study())), "tables")


@pytest.fixture(scope="session")
def presets_folder(made_once) -> Path:
    """Tables of two placements of one size, with both presets: three seeds, checkpoints after 4 and 10 sessions."""
    made = arms_like_the_study()
    arms = {"qv": made["qv"], "ffn_matched": made["ffn_matched"]}
    arms |= {
        f"{name}_recall": replace(arm, recall=recall, rise=rise, recipe=RECALL)
        for (name, arm), recall, rise in zip(arms.items(), (0.7, 1.0), (0.2, 0.1), strict=True)
    }
    arms["ffn_matched_forms"] = replace(arms["ffn_matched_recall"], recipe=RECALL | {"paraphrases": 1})
    design = Design(seeds=(1, 2, 3), checkpoints=(4, 10))
    return Path(made_once("presets", lambda to: make_tables(to, arms, design)), "tables")


@pytest.fixture(scope="session")
def smallest_folder(made_once) -> Path:
    """Tables of one arm that the essay does not have, one seed and one checkpoint, of facts without
    paraphrases but with further questions."""
    arms = {"mine": arms_like_the_study()["qv"]}
    design = Design(seeds=(7,), checkpoints=(2,), paraphrases=0, further=("neighbour", "hop", "reversed"))
    return Path(made_once("smallest", lambda to: make_tables(to, arms, design)), "tables")
