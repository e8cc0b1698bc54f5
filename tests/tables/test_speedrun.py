"""The speedrun, by hand."""

import pytest

from atlas.tables import speedrun
from atlas.tables.runs import read
from atlas.ttt.run_files import SESSIONS
from atlas.workflow import files
from tests.synthetic import Design, SyntheticArm, write_frame, write_study

DESIGN = Design(seeds=(1, 2, 3), checkpoints=(2, 4))
ARMS = {
    "dear": SyntheticArm(recall=1.0, forgetting=0),
    "cheap": SyntheticArm(recall=1.0, forgetting=0),
    "poor": SyntheticArm(recall=0.5),
    "untrained": SyntheticArm(recall=0, recipe={"phases": {"fast": None, "slow": None}}),
}


def spent(folder, train, score, characters):
    """Let every session of a run take so many seconds, and each of its two phases so many characters."""
    frame = files.read_parquet(folder / "sessions.parquet", SESSIONS).to_pandas()
    frame = frame.assign(seconds_train=train, seconds_score=score, characters=characters)
    write_frame(folder / "sessions.parquet", frame, SESSIONS)


@pytest.fixture
def folders(tmp_path):
    return write_study(tmp_path, ARMS, DESIGN, blocks=[(1, 2), (3,)])


def test_the_cheapest_that_recalls_all_is_first(folders):
    for folder in folders:
        dear = folder.parent.name == "dear"
        spent(folder, train=9.0 if dear else 1.0, score=0.5, characters=700)
    found = speedrun.table(read(folders)).to_pandas()
    assert found["arm"].tolist() == ["cheap", "dear", "poor"] * 2
    assert found["sessions"].tolist() == [4, 4, 4, 2, 2, 2]
    assert found["qualifies"].tolist() == [True, True, False] * 2
    # 4 sessions of 1 s of training in the run of two seeds and in that of one: 8 s for three seeds; probes do not count
    assert found["core_seconds"].iloc[0] == pytest.approx(8 / 3)
    assert found["core_seconds"].iloc[1] == pytest.approx(2 * 4 * 9 / 3)
    assert found["characters"].iloc[0] == 4 * 2 * 700
    assert found["characters"].iloc[3] == 2 * 2 * 700
