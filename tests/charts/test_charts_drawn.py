"""Every chart: drawn, complete, readable without a network, the same each time."""

import importlib
import json
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.charts import ablations, confound, contrasts, curve, frame, matrix, picture, retention
from atlas.charts.retention import ESSAY
from atlas.charts.study_tables import Tables
from atlas.charts.theme import PALETTE, colours
from atlas.errors import AtlasError
from atlas.page import parts
from atlas.tables.columns import CONTRASTS
from atlas.tables.ledger import retention_figures
from tests.charts.made_studies import ARMS

CHARTS = ("retention", "contrasts", "curve", "domains", "matrix", "base_loss", "ablations", "confound")
ENDINGS = ("json", "html", "svg", "png")
NETWORK = re.compile(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|\bimport\s*\(?\s*["']https?:|fetch\(["']https?:""")


@pytest.fixture(scope="module", params=CHARTS)
def drawn(request, tables_folder, tmp_path_factory) -> Path:
    """A chart as its step writes it; the path without ending."""
    out: Path = tmp_path_factory.mktemp("charts") / request.param
    run_step(request.param, tables_folder, out)
    return out


def run_step(name: str, tables: Path, out: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, "--tables", str(tables), "--out", str(out)])
        module = importlib.import_module(f"atlas.charts.{name}")
        picture.draw(module.__doc__, module.charts)


def ending(out: Path, suffix: str) -> Path:
    return out.with_name(f"{out.name}.{suffix}")


def size_of_svg(path: Path) -> tuple[float, float]:
    found = re.search(r'<svg [^>]*width="([\d.]+)" height="([\d.]+)"', path.read_text())
    assert found
    return float(found[1]), float(found[2])


def decoded_png(path: Path) -> tuple[int, int, bytes]:
    """Width, height and decompressed pixels."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    return width, height, zlib.decompress(packed)


def texts(value: Any) -> Iterator[str]:
    """All strings in a chart's JSON."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(part)


def title_of(out: Path) -> str:
    title = json.loads(ending(out, "json").read_text())["title"]["text"]
    return title if isinstance(title, str) else " ".join(title)


def test_a_chart_is_saved_in_four_formats(drawn):
    assert {path.name for path in drawn.parent.glob(f"{drawn.name}.*")} == {
        f"{drawn.name}.{suffix}" for suffix in ENDINGS
    }


def test_the_specification_is_vega_lite(drawn):
    spec = json.loads(ending(drawn, "json").read_text())
    assert spec["$schema"].startswith("https://vega.github.io/schema/vega-lite/v6")
    assert spec["datasets"]


def test_every_arm_is_in_the_chart(drawn, tables_folder):
    said = set(texts(json.loads(ending(drawn, "json").read_text())))
    some = {"ablations": {"qv", "ffn"}, "confound": {"ffn"}}
    expected = some.get(drawn.name, set(Tables(tables_folder).names))
    assert expected <= said
    svg = ending(drawn, "svg").read_text()
    for arm in expected:
        assert re.search(rf">{arm}\b", svg), f"{arm} is not written in the picture"


def test_the_title_says_a_figure_and_the_subtitle_the_seeds(drawn):
    title = json.loads(ending(drawn, "json").read_text())["title"]
    assert re.search(r"\d", title_of(drawn))
    said = " ".join(title["subtitle"])
    assert "2 seeds" in said or "all seeds" in said


def test_the_page_of_a_chart_needs_no_network(drawn):
    page = ending(drawn, "html").read_text()
    assert "vegaEmbed" in page
    assert not NETWORK.search(page)


def test_the_png_is_the_svg_at_twice_the_size_and_not_blank(drawn):
    width, height, pixels = decoded_png(ending(drawn, "png"))
    assert (width, height) == pytest.approx([2 * side for side in size_of_svg(ending(drawn, "svg"))], abs=2)
    assert 1000 < width < 1800  # about 700 on a screen: a column of print, and legible on a phone
    assert len(set(pixels)) > 50


def test_the_same_tables_give_the_same_bytes(drawn, tables_folder, tmp_path):
    run_step(drawn.name, tables_folder, tmp_path / drawn.name)
    for suffix in ENDINGS:
        assert ending(tmp_path / drawn.name, suffix).read_bytes() == ending(drawn, suffix).read_bytes()


@pytest.mark.parametrize("name", [name for name in CHARTS if name not in ("ablations", "contrasts", "confound")])
def test_one_arm_one_seed_and_one_checkpoint_are_enough(name, smallest_folder, tmp_path):
    run_step(name, smallest_folder, tmp_path / name)
    title = json.loads((tmp_path / f"{name}.json").read_text())["title"]
    assert "nan" not in " ".join([title_of(tmp_path / name), *title["subtitle"]])


def test_questions_beside_facts_are_drawn_where_a_study_has_them(tables_folder, smallest_folder):
    beside = {"a neighbour", "what follows", "asked for the subject"}
    for folder, expected in ((smallest_folder, beside), (tables_folder, set())):
        tables = Tables(folder)
        (chart,) = retention.charts(tables)
        drawn = frame.picture([chart]).to_dict()
        assert beside & {*texts(drawn)} == expected
        assert beside & {*chart.rows["series"]} == expected
        figures = parts.retention_tables(tables)
        for heading in ("Recall, neighbours", "Recall, what follows", "Recall, reversed"):
            assert (heading in figures) == bool(expected)
        row = tables.retention.query("probe == 'hop' and metric == 'recall' and domain == 'all'")
        assert all(f"{value:.1%}" in figures for value in row["value"])


def test_the_title_follows_the_table(tables_folder, tmp_path):
    for path in tables_folder.glob("*.parquet"):
        table = pq.read_table(path)
        if path.stem == "retention":
            rows = table.to_pandas()
            certain = (rows["metric"] == "recall") & (rows["probe"] == "taught")
            rows.loc[certain, "value"] = 0.31
            table = pa.Table.from_pandas(rows, schema=table.schema.remove_metadata(), preserve_index=False)
        pq.write_table(table, tmp_path / path.name)
    assert frame.picture(retention.charts(Tables(tmp_path))).title.text[0].endswith("31% in every arm")


def test_the_essays_figures_stand_only_where_the_study_has_the_same_cells(tables_folder, smallest_folder):
    for folder in (tables_folder, smallest_folder):  # checkpoints 4 and 10, or another arm: nothing to compare with
        assert ESSAY not in set(retention.page_rows(Tables(folder))["series"])


def test_the_essays_figures_are_shares_and_stand_there_once():
    figures = retention_figures()
    assert figures["value"].between(0, 1).all()
    assert not figures.duplicated(["arm", "sessions", "probe", "domain"]).any()
    assert len(figures) >= 12


def test_many_rows_do_not_stop_a_chart(tmp_path):
    rows = pd.DataFrame({"x": range(6000)})
    picture.save(alt.Chart(rows).mark_point().encode(x="x:Q"), tmp_path / "many")
    assert decoded_png(tmp_path / "many.png")[0]


def test_the_matrix_is_joined_into_few_cells(tables_folder):
    rows = Tables(tables_folder).matrix.query("metric == 'recall'").rename(columns={"session": "sessions"})
    joined = matrix.banded(rows)
    assert len(joined) < len(rows)
    shown = rows[rows["sessions"].isin(joined["sessions"])]
    assert joined["n"].sum() == shown["n"].sum()
    assert (joined["value"] * joined["n"]).sum() == pytest.approx((shown["value"] * shown["n"]).sum())
    assert joined["sessions"].max() == rows["sessions"].max()


def test_ages_of_an_octave_are_joined_by_fact_and_new_facts_stay_apart():
    rows = pd.DataFrame(
        {
            "arm": "qv",
            "sessions": [1, 2, 2, 5, 5, 5, 5, 5, 4],
            "session_taught": [1, 2, 1, 5, 4, 3, 2, 1, 4],
            "n": [1, 1, 3, 2, 1, 3, 1, 3, 9],
            "value": [1.0, 0.0, 1 / 3, 0.5, 1.0, 0.0, 1.0, 0.0, 1.0],
        }
    )
    joined = matrix.banded(rows).set_index(["sessions", "age"])
    assert list(joined.loc[(5, "3-4"), ["n", "value"]]) == [4, pytest.approx(1 / 4)]  # ages 3 and 4
    assert list(joined.loc[(5, "new"), ["n", "value"]]) == [2, 0.5]
    assert set(joined.index.get_level_values("sessions")) == {1, 2, 5}  # after 4, only the new facts were measured
    assert [matrix.name_of(band) for band in range(6)] == ["new", "1", "2", "3-4", "5-8", "9-16"]


def test_long_lines_are_thinned_but_for_their_ends_and_the_checkpoints():
    kept = curve.thinned(range(1, 101), always={30, 100})
    assert len(kept) < 2 * curve.MOST
    assert {1, 30, 100} <= set(kept)
    assert kept == sorted(kept)
    assert curve.thinned([1, 2, 5], always=[]) == [1, 2, 5]


def test_recipes_have_the_colour_of_the_arm_that_they_vary(tables_folder):
    rows = retention.dressed(Tables(tables_folder).ablations)
    look = ablations.look(rows, "arm", list(ARMS))
    assert look.hue == "reference"
    assert set(rows["reference"]) <= set(look.palette)
    assert look.palette == colours(ARMS)
    assert look.order[0] in look.palette


def test_a_new_arm_at_the_end_keeps_the_colours_of_the_others():
    few, more = colours(["a", "b"]), colours(["a", "b", "c"])
    assert few == {name: more[name] for name in few}
    assert len(set(colours([f"arm{i}" for i in range(len(PALETTE))]).values())) == len(PALETTE)


def test_the_ablations_have_the_arms_colours_without_the_arms_runs(tables_folder, tmp_path):
    (tmp_path / "ablations.parquet").write_bytes((tables_folder / "ablations.parquet").read_bytes())
    with_arms, without = Tables(tables_folder), Tables(tmp_path, order=ARMS)
    drawn = [frame.picture(ablations.charts(tables)).to_dict() for tables in (with_arms, without)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_a_table_that_cannot_be_drawn_is_named(tables_folder, tmp_path, damage):
    path = tmp_path / "base_loss.parquet"
    whole = (tables_folder / "base_loss.parquet").read_bytes()
    if damage == "truncated":
        path.write_bytes(whole[:-20])
    elif damage == "empty":
        pq.write_table(pq.read_table(tables_folder / "base_loss.parquet").slice(0, 0), path)
    with pytest.raises(AtlasError, match=r"base_loss\.parquet") as caught:
        _ = Tables(tmp_path).base_loss
    assert "\n" not in str(caught.value)


def contrast(verdict: str, **values: Any) -> dict[str, Any]:
    zero = {field.name: "" if field.type == pa.string() else 0 for field in CONTRASTS}
    cell = {"family": "one", "arm_a": "qv", "sessions": 4, "probe": "taught", "metric": "recall", "domain": "all"}
    return zero | cell | {"n_seeds": 8, "verdict": verdict} | values


def test_the_title_of_the_contrasts_counts_verdicts_and_names_the_higher_arm():
    rows = [contrast("a > b", arm_b="k"), contrast("b > a", arm_b="o"), contrast("unresolved", arm_b="ffn")]
    said = contrasts.finding(contrasts.dressed(pd.DataFrame(rows)))
    assert said == ["Recall after 4 sessions: 2 of 3 comparisons decided", "qv over k and o over qv"]
    open_ones = contrasts.finding(contrasts.dressed(pd.DataFrame(rows[2:])))
    assert open_ones == ["Recall after 4 sessions: 0 of 1 comparison decided"]
    hopeless = contrasts.finding(contrasts.dressed(pd.DataFrame(rows[2:]).assign(n_seeds=4, p_attainable=0.125)))
    assert hopeless[1] == "4 seeds cannot decide any, however large the difference"


def test_what_could_not_be_seen_at_all_is_grey_from_end_to_end():
    row = contrast("unresolved", arm_b="ffn", diff=0.1, ci_low=-0.1, ci_high=0.3, mde=float("nan"))
    rows = contrasts.dressed(pd.DataFrame([row, row | {"arm_b": "k", "mde": 0.05}]))
    ((_, shown),) = contrasts.block(rows, ["recall"]).panels
    drawn = contrasts.differences(frame.Panel(alt.Chart(shown), shown, []))
    low, high = drawn.to_dict()["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert shown["missed_high"].tolist() == [high, 0.05]
    assert shown["missed_low"].tolist() == [low, -0.05]


def test_the_confounds_title_says_whether_the_base_was_refused(tables_folder):
    rows = Tables(tables_folder).confound
    assert confound.verdict(rows) == "Verification refuses the mis-loaded base, even without a manifest"
    assert "not without the manifest" in confound.verdict(rows.assign(refused_by=""))
    assert confound.verdict(rows.assign(refused_by="", refused_by_manifest="")).endswith("accepts the mis-loaded base")
    first, *_, seeds = confound.rests_on(rows, ["ffn"])
    assert first.endswith("As drawn for seeds 1 and 2, refused without a manifest by spectrum; with it by spectrum.")
    assert seeds.startswith("2 seeds on 1 base, 1 draw of the re-initialisation; ")
    many = confound.rests_on(rows.assign(bases=2, draws=3), ["ffn"])
    assert many[-1].startswith("2 seeds on 2 bases, 3 draws of the re-initialisation; ")
    assert "ffn_random_base minus ffn" in confound.rests_on(rows, ["ffn"])[1]


def test_the_confound_shows_every_seed_once_under_every_reading(tables_folder):
    rows = confound.dressed(Tables(tables_folder).confound)
    rows = rows[rows["reading"] != ""]
    assert set(rows["reading"]) == set(confound.readings().values())
    sizes = rows.groupby(["arm", "sessions", "reading"])["seed"].agg(["size", "nunique"])
    assert set(map(tuple, sizes.to_numpy())) == {(3, 2)}  # two seeds, and the mean over them


@pytest.mark.parametrize("name", ["retention", "confound"])
def test_a_study_in_which_no_fact_taught_has_an_alternative_is_drawn_all_the_same(tables_folder, tmp_path, name):
    for path in tables_folder.glob("*.parquet"):
        table = pq.read_table(path)
        if path.stem == name:
            rows = table.to_pandas()
            lacking = (rows["metric"] == "association") & (rows["probe"] != "placebo")
            table = table.filter(pa.array(~lacking))
        pq.write_table(table, tmp_path / path.name)
    module = importlib.import_module(f"atlas.charts.{name}")
    (chart,) = module.charts(Tables(tmp_path))
    assert {metric for metric, _ in chart.said} == {"recall", "recognition", "recognition_net"}
    frame.picture([chart]).to_dict()
