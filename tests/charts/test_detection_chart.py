"""The guard's chart says what its tables say."""

import pyarrow as pa
import pytest

from atlas.audit.audit_columns import DETECTION, HONEST, HONEST_LEVELS
from atlas.charts import detection, frame
from atlas.charts.study_tables import Tables
from atlas.workflow import files

DAMAGE = [
    # family, kind, loads, rise, logit change, harmless, unknowable, failed at: file, text, model, manifest
    ("names", "key renamed", False, None, None, False, False, "names", "names", "names", "names"),
    ("misplaced", "q and k exchanged", True, 0.2, 3.0, False, False, "", "siblings", "siblings", "sha256, siblings"),
    ("noise", "50% on a matrix", True, 0.03, 1.0, False, False, "", "", "", "sha256"),
    ("buffers", "rotary table zero", True, 0.9, 1.0, False, False, "", "", "buffers", "buffers"),
    ("bits", "lowest bit", True, 0.0, 1e-5, False, True, "", "", "", "sha256"),
    ("harmless", "k's bias changed", True, 0.0, 0.0, True, False, "", "", "", "sha256"),
]
NAMES = ["family", "kind", "loads", "rise", "logit_change", "harmless", "unknowable"]
FAILED = ["failed_file", "failed_text", "failed_model", "failed_manifest"]


@pytest.fixture
def tables(tmp_path):
    damage = [{"subject": "base", "module": "w", **dict(zip([*NAMES, *FAILED], row, strict=True))} for row in DAMAGE]
    passed = {"shape": 0, "step": 1, "val_loss": 2.0, **{f"failed_{level}": "" for level in HONEST_LEVELS}}
    honest = [{**passed, "seed": seed} for seed in range(100)] + [{**passed, "seed": 100, "failed_text": "load"}]
    files.write_parquet(tmp_path / "detection.parquet", pa.Table.from_pylist(damage, DETECTION), {})
    files.write_parquet(tmp_path / "false_alarms.parquet", pa.Table.from_pylist(honest, HONEST), {})
    return Tables(tmp_path)


def test_the_title_counts_what_is_felt_and_what_changes_the_function(tables):
    title = frame.picture(detection.charts(tables)).title
    assert " ".join(title.text) == (
        "Refused by a text or in memory: 3 of 4 whose damage is felt; "
        "with a manifest: 5 of 5 that compute anything else"
    )
    subtitle = " ".join(title.subtitle)
    assert "6 damaged checkpoints of 6 kinds" in subtitle
    assert "1 of 101 without a manifest (95% interval up to 5.4%), 0 of 101 with one" in subtitle


def test_every_dot_has_its_place_and_its_colour(tables):
    (chart,) = detection.charts(tables)
    assert [family for family, _ in chart.blocks[0].panels] == [family for family, *_ in DAMAGE]
    found = {row["kind"]: (row["evidence"], row["place"]) for row in chart.rows.to_dict("records")}
    assert found["key renamed"] == ("the file alone", detection.UNREAD)
    assert found["q and k exchanged"] == ("a text, too", 0.2)
    assert found["rotary table zero"] == ("the model in memory against its file", 0.9)
    assert found["lowest bit"] == ("the manifest only", detection.LEAST)
