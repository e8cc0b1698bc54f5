"""The table of the baselines: a case worked out by hand, and what it leaves out."""

import numpy as np
import pandas as pd
import pytest

from atlas.metrics import TOLERANCE
from atlas.tables import arms, baselines, continual, controls
from atlas.tables.runs import read
from atlas.ttt.run_files import FACTS, MATRIX, SESSIONS
from atlas.workflow import files
from tests.synthetic import Design, SyntheticArm, record_of, sessions_of, write_frame, write_study
from tests.synthetic import baselines as baseline_arms

DESIGN = Design(seeds=(1, 2), checkpoints=(1, 2), facts_per_session=2)
ROME = SyntheticArm(("down",), method="rome")


def fact(seed, sessions, probe, name, recalled, cost=0.0, form=0):
    """A row of facts.parquet; ``cost`` is how much less likely than under the base the answer is."""
    taught = None if probe == "placebo" else 1 + int(name) // 2
    return {
        "arm": "rome",
        "seed": seed,
        "base_replica": 1,
        "sessions": sessions,
        "probe": probe,
        "fact_id": f"{probe[0] if probe == 'placebo' else 'f'}{name}",
        "form": form,
        "domain": "towns",
        "session_taught": taught,
        "nll_base": 2.0,
        "nll": 1.0,
        "answer_nll_base": 2.0,
        "answer_nll": 2.0 + cost,
        "recognised": True,
        "associated": recalled,
        "recalled": recalled,
        "alternatives": 5,
        "decoded": str(name),
        "recalled_base": False,
        "answered": recalled,
        "answered_base": False,
        "contradicts": False,
    }


RECALLED = {(1, 1): "11", (1, 2): "0111", (2, 1): "10", (2, 2): "0000"}
"""Seed and sessions to which facts are recalled as taught, in the order of teaching."""
REPHRASED = {(1, 1): "1000", (1, 2): "10100000", (2, 1): "0000", (2, 2): "00000000"}
"""The same of two paraphrases a fact."""
COSTS = {(1, 1): [0.0, -1.0], (1, 2): [0.0, 0.2], (2, 1): [0.09, 0.11], (2, 2): [3.0, 3.0]}
"""And by how much the answers of two facts never taught have become less likely."""


@pytest.fixture
def runs(tmp_path):
    """One arm, two seeds of two sessions of two facts."""
    folder, rows = tmp_path / "rome" / "1-2", []
    for (seed, sessions), flags in RECALLED.items():
        rows += [fact(seed, sessions, "taught", i, flag == "1") for i, flag in enumerate(flags)]
        for i, flag in enumerate(REPHRASED[seed, sessions]):
            rows.append(fact(seed, sessions, "rephrase", i // 2, flag == "1", form=1 + i % 2))
        rows += [fact(seed, sessions, "placebo", i, False, cost) for i, cost in enumerate(COSTS[seed, sessions])]
    write_frame(folder / "facts.parquet", pd.DataFrame(rows).astype({"session_taught": "Int32"}), FACTS)
    matrix = [
        {
            "arm": "rome",
            "seed": seed,
            "base_replica": 1,
            "session": sessions,
            "fact_id": f"f{i}",
            "session_taught": 1 + i // 2,
            "nll_base": 2.0,
            "nll": 1.0,
            "recalled": flag == "1",
            "nll_before": 2.0,
            "recalled_before": False,
        }
        for (seed, sessions), flags in RECALLED.items()
        for i, flag in enumerate(flags)
    ]
    write_frame(folder / "matrix.parquet", pd.DataFrame(matrix), MATRIX)
    clock = pd.concat([sessions_of("rome", ROME, seed, DESIGN) for seed in (1, 2)])
    clock["seconds_train"] = clock["session"] * 4.0  # of both seeds together: 4 s, then 8 s
    clock["without_effect"], clock["unwritten"] = [1, 0, 0, 2], [0, 1, 0, 0]  # seed by seed, of two facts a session
    write_frame(folder / "sessions.parquet", clock, SESSIONS)
    # core-seconds as they are, however many threads shared them
    record = record_of("rome", ROME, (1, 2), DESIGN).model_copy(update={"threads": 2})
    files.write_json(folder / "run.json", record.model_dump(mode="json"))
    return read([folder])


def values(table):
    frame = table.to_pandas()
    return frame.set_index(["metric", "sessions"])["value"].to_dict(), frame


def test_every_figure_is_the_one_by_hand(runs):
    found, frame = values(baselines.table(runs))
    expected = {
        ("efficacy", 1): (1.0 + 0.5) / 2,
        ("efficacy", 2): (0.75 + 0.0) / 2,
        ("paraphrase", 1): (0.25 + 0.0) / 2,
        ("paraphrase", 2): (0.25 + 0.0) / 2,
        ("specificity", 1): (1.0 + 0.5) / 2,  # 0.09 is within the tolerance, 0.11 is not
        ("specificity", 2): (0.5 + 0.0) / 2,
        ("edit_score", 1): (3 / (1 / 1.0 + 1 / 0.25 + 1 / 1.0) + 0.0) / 2,
        ("edit_score", 2): (3 / (1 / 0.75 + 1 / 0.25 + 1 / 0.5) + 0.0) / 2,
        ("rise", 1): 0.2 + 0.01 * 1.5,
        ("rise", 2): 0.2 + 0.01 * 1.5,
        ("update_size", 1): 0.01,
        ("update_size", 2): 0.02,
        ("norm_growth", 1): 0.001,
        ("norm_growth", 2): 0.002,
        ("without_effect", 1): (0.5 + 0.0) / 2,
        ("without_effect", 2): (0.25 + 0.5) / 2,
        ("worsened", 1): 0.0,
        ("worsened", 2): 0.0,
        ("unwritten", 1): 0.0,
        ("unwritten", 2): (0.25 + 0.0) / 2,
        ("edit_seconds", 1): 4 / (2 * 2),
        ("edit_seconds", 2): 12 / (2 * 4),
    }
    assert TOLERANCE == 0.1
    assert found == {key: pytest.approx(value) for key, value in expected.items()}
    assert set(frame["edits"] / frame["sessions"]) == {2}
    assert set(frame["method"]) == {"rome"}
    shares = frame[frame["contract"].isin(["exact answer", "placebo answer against base", "harmonic mean"])]
    assert (shares["ci_low"] >= 0).all()
    assert (shares["ci_high"] <= 1).all()
    assert (shares["ci_low"] < shares["value"]).all() or (shares["value"] == 0).any()
    assert frame.loc[frame["metric"] == "edit_seconds", "ci_low"].isna().all()


@pytest.mark.parametrize(("without", "seeds"), [({"paraphrases": 0}, None), ({"bare": (1,)}, 3)])
def test_facts_without_paraphrases_are_in_no_score(tmp_path, without, seeds):
    design = Design(seeds=(1, 2, 3, 4), checkpoints=(4,), **without)
    frame = baselines.table(read(write_study(tmp_path, {"rome": ROME}, design))).to_pandas().set_index("metric")
    assert frame.loc["specificity", "n_seeds"] == 4
    for metric in ("paraphrase", "edit_score"):
        assert frame["n_seeds"].get(metric) == seeds


def test_what_is_written_at_once_has_figures_at_its_checkpoints_and_that_edit_s_clock(tmp_path):
    runs = read(write_study(tmp_path, baseline_arms(), Design(seeds=(1, 2), checkpoints=(4, 10))))
    frame = baselines.table(runs).to_pandas()
    assert {*frame.loc[frame["metric"] == "worsened", "arm"]} == {"rome", "memit", "memit_at_once"}  # not what trains
    efficacy = frame[frame["metric"] == "efficacy"].groupby("arm")["sessions"].apply(list)
    assert efficacy["memit_at_once"] == [4, 10]
    assert efficacy["rome"] == list(range(1, 11))
    seconds = frame[frame["metric"] == "edit_seconds"].set_index(["arm", "sessions"])["value"]
    assert seconds["memit", 10] == pytest.approx(10 / (2 * 30))  # a second a session, of both seeds together
    assert seconds["memit_at_once", 10] == pytest.approx(1 / (2 * 30))
    assert list(dict.fromkeys(frame["arm"])) == list(baseline_arms())


def test_measures_of_continual_learning_leave_out_what_was_not_measured(tmp_path):
    runs = read(write_study(tmp_path, baseline_arms(), Design(seeds=(1, 2), checkpoints=(4, 10))))
    frame = continual.table(runs).to_pandas()
    rows = frame[(frame["arm"] == "memit_at_once") & (frame["metric"] == "recall")].set_index("measure")
    assert np.isfinite(rows["value"].drop("half_life")).all()
    assert {"average", "backward_transfer", "forgetting"} <= set(rows.index)


def test_a_record_without_growth_has_the_other_figures(tmp_path):
    (folder,) = write_study(tmp_path, {"rome": baseline_arms()["rome"]}, Design(seeds=(1,), checkpoints=(2,)))
    record = files.read_json(folder / "run.json")
    del record["growth"]
    files.write_json(folder / "run.json", record)
    found, frame = values(baselines.table(read([folder])))
    assert ("update_size", 2) not in found
    assert ("rise", 2) in found
    assert frame.loc[frame["metric"] == "rise", "ci_low"].isna().all()  # one seed


def test_matrices_that_change_are_a_share_of_the_base_and_adapters_of_both(tmp_path):
    runs = read(write_study(tmp_path, baseline_arms(), Design(seeds=(1, 2), checkpoints=(1, 2))))
    frame = arms.table(runs).to_pandas().set_index("arm")
    for arm, row in frame.iterrows():
        added = row["trainable_params"] if row["method"] == "lora" else 0
        assert row["share"] == pytest.approx(row["trainable_params"] / (row["base_params"] + added)), arm
    assert frame["method"].to_dict() == {name: arm.method for name, arm in baseline_arms().items()}


def test_what_an_editor_writes_is_no_control(tmp_path):
    runs = read(write_study(tmp_path, baseline_arms(), Design(seeds=(1, 2), checkpoints=(1, 2))))
    assert all(runs.first(arm).teaches for arm in runs.arms)
    assert controls.table(runs).num_rows == 0
