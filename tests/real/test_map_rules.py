"""A map laid on a finished study: its own arms run, and nothing else again."""

import pandas as pd

from tests.real.checkout import STUDY

# a matrix of 32 by 32 has at most 32 ranks of 64 parameters; one of 32 by 64 may have 27 of 96
PLACES = {"roles": ["q", "up"], "layers": [0], "budgets": {"slot": [2560]}}


def test_a_map_adds_its_arms_its_table_and_its_section(copy):
    copy.configure(STUDY | {"map": PLACES})
    assert copy.jobs() == {
        "teach map_up_0_2560 1-2",
        "teach map_up_0_2560 3",
        "given map.txt",
        "given map.json",
        "tables_map",
        "charts_map",
        "page",
    }
    copy.done()
    table = pd.read_parquet(copy.file("tables/map.parquet"))
    recall = table.query("metric == 'recall' and probe == 'taught' and sessions == 2").set_index("arm")
    assert recall["applicable"].to_dict() == {"map_q_0_2560": False, "map_up_0_2560": True}
    assert recall.loc["map_up_0_2560", "trainable_params"] == 27 * 96
    assert recall["value"].notna().tolist() == [False, True]
    page = copy.file("index.html").read_text()
    assert '<h2 id="map">Place by place</h2>' in page
    assert "map_up_0_2560" not in copy.file("tables/given/arms.txt").read_text()
    assert copy.jobs() == set()
