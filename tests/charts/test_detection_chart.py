"""The guard's chart says what its tables say."""

import pyarrow as pa
import pytest

from atlas.audit.audit_columns import DETECTION, HONEST
from atlas.charts import detection
from atlas.charts.tables import Tables
from atlas.workflow import files

DAMAGE = [
    # family, kind, loads, rise, logit change, harmless, unknowable, failed at: file, text, manifest
    ("names", "key renamed", False, None, None, False, False, "names", "names", "names"),
    ("misplaced", "q and k exchanged", True, 0.2, 3.0, False, False, "", "siblings", "sha256, siblings"),
    ("noise", "50% on a matrix", True, 0.03, 1.0, False, False, "", "", "sha256"),
    ("bits", "lowest bit", True, 0.0, 1e-5, False, True, "", "", "sha256"),
    ("harmless", "k's bias changed", True, 0.0, 0.0, True, False, "", "", "sha256"),
]
NAMES = ["family", "kind", "loads", "rise", "logit_change", "harmless", "unknowable"]
FAILED = ["failed_file", "failed_text", "failed_manifest"]


@pytest.fixture
def tables(tmp_path):
    damage = [{"subject": "base", "module": "w", **dict(zip([*NAMES, *FAILED], row, strict=True))} for row in DAMAGE]
    passed = {"shape": 0, "step": 1, "val_loss": 2.0, **dict.fromkeys(FAILED, "")}
    honest = [{**passed, "seed": seed} for seed in range(100)] + [{**passed, "seed": 100, "failed_text": "load"}]
    files.write_parquet(tmp_path / "detection.parquet", pa.Table.from_pylist(damage, DETECTION), {})
    files.write_parquet(tmp_path / "false_alarms.parquet", pa.Table.from_pylist(honest, HONEST), {})
    return Tables(tmp_path)


def test_the_title_counts_what_is_felt_and_what_changes_the_function(tables):
    title = detection.draw(tables).title
    assert " ".join(title.text) == (
        "Refused without a manifest: 2 of 3 whose damage is felt; with one: 4 of 4 that compute anything else"
    )
    subtitle = " ".join(title.subtitle)
    assert "5 damaged checkpoints of 5 kinds" in subtitle
    assert "1 of 101 without a manifest (95% interval up to 5.4%), 0 of 101 with one" in subtitle


def test_every_dot_has_its_place_and_its_colour(tables):
    (rows,) = detection.draw(tables).to_dict()["datasets"].values()
    found = {row["kind"]: (row["evidence"], row["place"]) for row in rows}
    assert found["key renamed"] == ("the file alone", detection.UNREAD)
    assert found["q and k exchanged"] == ("a text, too", 0.2)
    assert found["lowest bit"] == ("the manifest only", detection.LEAST)
