"""Charts of knock-outs, their section of the page, and what is said of them."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from atlas.charts import adapter_parts, frame, locate, locate_by_age, locate_shares, placing
from atlas.charts.study_tables import Tables
from atlas.page import page, parts, prose, sections, terminal
from atlas.tables import arms, retention, table_step
from atlas.tables import locate as locate_table
from atlas.tables import locate_by_age as by_age_table
from atlas.tables import locate_shares as shares_table
from atlas.tables.runs import read
from atlas.workflow import files
from tests.charts.test_charts_drawn import NETWORK, ending, run_step
from tests.made_located import EVERYWHERE, Home, planted, write_located
from tests.page.made_page import save_picture
from tests.synthetic import Design, SyntheticArm, write_study

pytestmark = pytest.mark.xdist_group("charts of knock-outs")  # one worker makes its models

CHARTS = {"locate": locate, "locate_shares": locate_shares, "locate_by_age": locate_by_age}
HOME, OLD = (0, 0, "up"), (2, 2, "v")
HOMES: Mapping[str, Home] = {"all_places": planted(HOME, OLD, until=4), "qv": planted(None)}
ARMS = {"all_places": replace(EVERYWHERE), "qv": SyntheticArm(recall=0.9)}


def tables_of(
    folder: Path,
    arms_of: Mapping[str, SyntheticArm],
    design: Design,
    homes: Mapping[str, Home],
    groups: int | None = None,
) -> Tables:
    runs = read(
        [write_located(run, homes[run.parent.name], groups) for run in write_study(folder / "ttt", arms_of, design)]
    )
    for step in (arms, retention, locate_table, by_age_table, shares_table):
        made_by, name = table_step.provenance(step.__name__, runs), step.__name__.rpartition(".")[2]
        files.write_parquet(folder / "tables" / f"{name}.parquet", step.table(runs), made_by)
    return Tables(folder / "tables")


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Tables:
    design = Design(tuple(range(1, 9)), (4, 12))
    return tables_of(tmp_path_factory.mktemp("located"), ARMS, design, HOMES)


def test_a_chart_is_saved_and_needs_no_network(tables, tmp_path):
    run_step("locate", tables.folder, tmp_path / "locate")
    svg = ending(tmp_path / "locate", "svg").read_text()
    for words in ("all_places: 9", "qv: 9", "% intact", "layer 3", "all layers", ">up<", "8 seeds of 36 facts"):
        assert words in svg
    assert not NETWORK.search(ending(tmp_path / "locate", "html").read_text())


@pytest.mark.parametrize("name", CHARTS)
def test_every_arm_and_slot_is_drawn_in_the_picture_and_on_the_page(tables, tmp_path, name):
    save_picture(frame.picture(CHARTS[name].charts(tables)), tmp_path / name)
    svg = (tmp_path / f"{name}.svg").read_text()
    assert all(re.search(rf">{arm}\b", svg) for arm in ARMS)
    assert "nan" not in svg.lower().replace("finance", "")
    for chart in CHARTS[name].charts(tables):
        described = chart.described()
        assert set(described["checkpoints"]) == {12}
        assert described["repeat"]
        json.dumps(frame.packed(chart.rows))


def test_a_cell_says_its_percent_and_the_greater_the_deeper(tables):
    (without, only) = locate.charts(tables)
    recall = without.rows[(without.rows["arm"] == "all_places") & (without.rows["metric"] == "recall")]
    cells = recall.set_index(["layers", "column"])["value"]
    assert cells["layer 0", "up"] == cells["all layers", "up"] == cells["layer 0", "all"] > 0.5
    assert cells["layer 1", "q"] == 0
    assert len(cells) == 16 + 4 + 4
    assert cells["layer 0", "up"] + cells["layer 2", "v"] == pytest.approx(recall["whole"].iloc[0])
    assert {"recall", "association"} == set(only.rows["metric"])
    layers, columns = adapter_parts.order_of(recall)
    assert layers == [*(f"layer {at}" for at in range(4)), " ", "all layers"]
    assert columns == ["q", "v", "up", "down", " ", "all"]


def test_titles_say_what_was_planted(tables):
    without, alone = locate.charts(tables)
    (lost,), (left,) = without.title, alone.title
    assert re.fullmatch(
        r"Recall lost without one slot: all_places 0 to \d\d% \(most: layer 0 up\) and qv 9\d% \(most: .*\)", lost
    )
    assert re.fullmatch(r"Most recall that a part has by itself: all_places \d\d% \(.*\) and qv 0%", left)
    (ages,) = locate_by_age.charts(tables)
    assert ages.title[0] == "all_places: older facts need layer 2 v more, newer facts need layer 0 up more"
    assert ages.title[1] == "qv: in none of 8 slots is a difference between older and newer facts decided"
    (shares,) = locate_shares.charts(tables)
    assert shares.title[0].startswith("Rank correlation over slots of lost recall with the update: all_places +0.")


def test_many_slots_are_counted_and_few_are_named():
    shifts = pd.DataFrame({"place": list("abcde"), "verdict": ["older facts"] * 3 + ["newer facts", "unresolved"]})
    shifts["n_seeds"] = 8
    assert placing.shifted(shifts) == "older facts need 3 of 5 slots more, newer facts need d more"
    few = placing.shifted(shifts.assign(verdict="unresolved", n_seeds=4))
    assert few == "too few seeds, sessions or slots to hold older facts against newer ones"


def test_groups_of_layers_are_named_by_their_depth_in_tenths(tmp_path):
    deep = {"deep": replace(EVERYWHERE, ranks=(7,) * 30)}
    tables = tables_of(tmp_path, deep, Design((1, 2), (3,)), {"deep": planted((0, 4, "up"))}, groups=6)
    without, _ = locate.charts(tables)
    layers, _ = adapter_parts.order_of(without.rows)
    assert layers == ["0 to 1.7", "1.7 to 3.3", "3.3 to 5", "5 to 6.7", "6.7 to 8.3", "8.3 to 10", " ", "all layers"]
    assert "most: depth 0 to 1.7 up" in without.title[0]
    assert "groups of layers by their depth, in tenths" in without.subtitle[0]
    for chart in CHARTS.values():
        frame.picture(chart.charts(tables)).to_dict()


def test_one_seed_one_session_and_one_slot_are_enough(tmp_path):
    single = {"one": SyntheticArm(("q",), ranks=(7, 0, 0, 0))}
    run = write_study(tmp_path / "first", single, Design((3,), (1,)))[0]
    knocked = pd.read_parquet(write_located(run, planted((0, 0, "q"))) / "knockouts.parquet")
    assert len(knocked)
    tables = tables_of(tmp_path, single, Design((3,), (1,)), {"one": planted((0, 0, "q"))}, groups=1)
    for name, chart in CHARTS.items():
        drawn = frame.picture(chart.charts(tables))
        said = " ".join([*drawn.title.text, *drawn.title.subtitle])
        assert "nan" not in said, name
    assert "one seed" in said or "1 seed" in said
    prose.located(tables)


def test_an_arm_that_loses_nothing_is_drawn_all_the_same(tmp_path):
    tables = tables_of(tmp_path, {"untrained": EVERYWHERE}, Design((1, 2), (4,)), {"untrained": planted((9, 9, "q"))})
    for chart in CHARTS.values():
        frame.picture(chart.charts(tables)).to_dict()
    (shares,) = locate_shares.charts(tables)
    assert shares.title == ["No arm loses recall without some slots more than without others"]


def test_sentences_say_where_facts_sit(tables):
    said = prose.located(tables)
    assert [*said] == [*ARMS]
    mine = " ".join(said["all_places"])
    assert re.search(r"Intact, it recalls [89]\d\.\d% \(\d\d to \d\d\) after 12 sessions, 8 seeds of 36 facts\.", mine)
    assert re.search(r"It loses \d\d\.\d points \(\d\d to \d\d\) without its attention half and \d\d\.\d points", mine)
    assert re.search(
        r"Without a single slot .* it loses from 0\.0 points .* to \d\d\.\d points \(.*; layer 0 up\)\.", mine
    )
    assert "Of facts never taught, no knock-out moves recall by more than 0%." in mine
    assert "Old and new: older facts need layer 2 v more, newer facts need layer 0 up more." in mine
    assert "half" not in " ".join(said["qv"]).replace("halved", "")  # it has one alone
    html = parts.located(tables)
    assert html.count("<h3>") == 2


def test_the_page_has_the_sections(tables):
    shown = sections.present(tables, dict.fromkeys(CHARTS, "<svg></svg>"), {})
    text = "".join(page.section(part, tables, "tables") for part in shown if part.section.name in CHARTS)
    for heading in ("Where facts sit", "Where the adapter changed most", "Where old and new facts sit"):
        assert f">{heading}</h2>" in text
    for figure in ("locate_without", "locate_only", "locate_shares", "locate_by_age"):
        assert f'data-figure="{figure}"' in text
    assert text.count('style="--least: 19.0rem"') == 4
    assert "It loses" in text


def test_the_terminal_says_rises_in_nats_and_shares_in_percent(tables):
    rows = terminal.rows(tables.folder, "locate", terminal.Choice(arm=["qv"], metric=["rise"]))
    assert terminal._figure("value", rows.iloc[0].to_dict()) == "0.24"
    recall = terminal.rows(tables.folder, "locate", terminal.Choice(arm=["qv"], metric=["recall"]))
    assert terminal._figure("value", recall.iloc[0].to_dict()).endswith("%")
    assert terminal._figure("ci_low", rows.iloc[0].to_dict()) == "0.24"
