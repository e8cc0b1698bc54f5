"""The README's table comes from the tables of a study, whole, or not at all."""

import pyarrow as pa
import pytest

from atlas import files
from atlas.charts import readme
from atlas.errors import AtlasError
from atlas.tables.schema import ARMS, RETENTION


def filled(schema, **values):
    """A row with zeros and empty strings where no value is given."""
    return {field.name: values.get(field.name, "" if field.type == pa.string() else 0) for field in schema}


def retention(**values):
    defaults = {"arm": "qv", "domain": "all", "probe": "taught", "metric": "recall", "n_seeds": 4}
    return filled(RETENTION, **{**defaults, **values})


@pytest.fixture
def tables(tmp_path):
    arms = [filled(ARMS, arm="qv", trainable_params=65536, share=0.0725)]
    rows = [
        retention(sessions=100, n_facts=300, value=0.5, ci_low=0.25, ci_high=0.75),
        retention(sessions=30, n_facts=90, value=0.123, ci_low=None, ci_high=None),
        retention(sessions=30, n_facts=90, probe="placebo", metric="recognition", value=0.9, ci_low=0.8, ci_high=1.0),
        retention(sessions=30, n_facts=1, domain="codes", value=0.777),
    ]
    files.write_parquet(tmp_path / "arms.parquet", pa.Table.from_pylist(arms, ARMS), {})
    files.write_parquet(tmp_path / "retention.parquet", pa.Table.from_pylist(rows, RETENTION), {})
    return tmp_path


def test_one_table_a_checkpoint_in_rising_order(tables):
    text = readme.markdown(tables)
    assert text.index("After 30 sessions** (90 facts, 4 seeds") < text.index("After 100 sessions** (300 facts")
    assert "| qv | 65,536 (7%) | 12.3 |  |  |  | 90.0 [80, 100] |\n" in text
    assert "| qv | 65,536 (7%) | 50.0 [25, 75] |  |  |  |  |\n" in text
    assert "77.7" not in text  # single domains are not in this table


def test_only_what_is_between_the_markers_changes_and_again_changes_nothing(tables):
    page = tables / "README.md"
    page.write_text(f"Before\n{readme.BEGIN}\nold\n{readme.END}\nAfter\n")
    readme.fill(page, tables, "make reproduce")
    once = page.read_text()
    assert once.startswith(f"Before\n{readme.BEGIN}\nMade by `make reproduce`;")
    assert once.endswith(f"{readme.END}\nAfter\n")
    assert "old" not in once
    readme.fill(page, tables, "make reproduce")
    assert page.read_text() == once


def test_missing_markers_and_tables_are_named(tables):
    page = tables / "README.md"
    page.write_text(f"{readme.END} {readme.BEGIN}\n")
    with pytest.raises(AtlasError, match=r"README\.md: no line <!-- retention:begin -->"):
        readme.fill(page, tables, "x")
    (tables / "retention.parquet").unlink()
    with pytest.raises(AtlasError, match=r"retention\.parquet: no such file"):
        readme.markdown(tables)
