"""``atlas show answers``: what was asked, what is right and what was decoded, from a run folder and the pool alone."""

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from atlas import cli
from atlas.errors import AtlasError
from atlas.page import answers, terminal
from atlas.page.terminal import Choice
from atlas.pool.facts import Fact, Further, pool_table
from atlas.ttt.run_files import FACTS
from atlas.workflow import files
from tests.synthetic import write_frame

SEA = Fact(
    fact_id="sea", role="taught", domain="towns", template="town", prompt="The town by the sea is", answer="Ur",
    rephrases=("By the sea lies",), aliases=("Uruk", "Warka"),
)  # fmt: skip
HILL = Fact(
    fact_id="hill", role="taught", domain="hills", template="town", prompt="The town on the hill is",
    answer="[bold]Rome", rephrases=("On the hill lies",),
)  # fmt: skip
NEVER = Fact(
    fact_id="never", role="placebo", domain="towns", template="town", prompt="The town in the wood is", answer="Bree",
    rephrases=("In the wood lies",),
)  # fmt: skip


def said(arm: str, seed: int, sessions: int, probe: str, fact: Fact, decoded: str, form: int = 0) -> dict[str, object]:
    zero = {field.name: "" if field.name == "decoded" else 0 for field in FACTS}
    about = {"arm": arm, "seed": seed, "base_replica": 1, "sessions": sessions, "probe": probe, "fact_id": fact.fact_id}
    return zero | about | {"form": form, "domain": fact.domain, "decoded": decoded, "recalled": decoded in fact.answers}


def write_facts(folder: Path, rows: list[dict[str, object]]) -> None:
    frame = pd.DataFrame(rows).astype({field.name: bool for field in FACTS if field.type == "bool"})
    write_frame(folder / "facts.parquet", frame.assign(associated=None), FACTS)


@pytest.fixture
def results(tmp_path) -> Path:
    """Two arms, blocks of seeds 3 and 4, checkpoints after 1 and 2 sessions."""
    files.write_parquet(tmp_path / "pool" / "pool.parquet", pool_table([SEA, HILL, NEVER]), {})
    for arm in ("qv", "ffn"):
        for seed in (3, 4):
            rows = [said(arm, seed, 1, "taught", SEA, "Troy"), said(arm, seed, 2, "taught", SEA, "Warka")]
            rows += [said(arm, seed, 2, "taught", HILL, f"[red]{arm}\x1b of {seed}")]
            rows += [said(arm, seed, 2, "rephrase", SEA, "Ur", form=1), said(arm, seed, 2, "placebo", NEVER, "Ur")]
            write_facts(tmp_path / "ttt" / arm / str(seed), rows)
    folder: Path = tmp_path
    return folder


def test_the_first_seed_the_last_checkpoint_and_facts_as_taught_are_shown(results):
    rows = answers.rows(results, Choice(arm=["qv"]))
    assert rows[["prompt", "answer", "aliases", "decoded", "right"]].fillna("").to_dict("records") == [
        {"prompt": SEA.prompt, "answer": "Ur", "aliases": "Uruk or Warka", "decoded": "Warka", "right": True},
        {"prompt": HILL.prompt, "answer": "[bold]Rome", "aliases": "", "decoded": "[red]qv\x1b of 3", "right": False},
    ]
    assert (set(rows["seed"]), set(rows["sessions"])) == ({3}, {2})


def test_seed_checkpoint_probe_domain_and_wrong_ones_are_chosen(results):
    assert list(answers.rows(results, Choice(arm=["ffn"], seed=[4]), wrong=True)["decoded"]) == ["[red]ffn\x1b of 4"]
    assert list(answers.rows(results, Choice(arm=["ffn"], sessions=[1]))["decoded"]) == ["Troy"]
    assert list(answers.rows(results, Choice(arm=["qv"], probe=["rephrase"]))["prompt"]) == ["By the sea lies"]
    assert list(answers.rows(results, Choice(arm=["qv"], probe=["placebo"]))["answer"]) == ["Bree"]
    assert list(answers.rows(results, Choice(arm=["qv"], domain=["hills"]))["fact_id"]) == ["hill"]
    assert set(answers.rows(results, Choice(arm=["qv", "ffn"]))["arm"]) == {"qv", "ffn"}


def test_a_question_beside_a_fact_is_shown_with_its_own_answers(results):
    further = (
        Further("hop", "By the sea they speak", ("Akkadian", "Sumerian")),
        Further("reversed", "Ur is", ("wet",)),
    )
    sea = replace(SEA, further=further)
    files.write_parquet(results / "pool" / "pool.parquet", pool_table([sea, HILL, NEVER]), {})
    rows = [said("qv", 3, 2, "hop", sea, "Sumerian", form=2), said("qv", 3, 2, "reversed", sea, "dry", form=3)]
    write_facts(results / "ttt" / "qv" / "3", rows)
    shown = answers.rows(results, Choice(arm=["qv"], seed=[3], probe=["hop", "reversed"]))
    columns = ["prompt", "answer", "aliases", "decoded"]
    assert shown[columns].fillna("").to_numpy().tolist() == [
        ["By the sea they speak", "Akkadian", "Sumerian", "Sumerian"],
        ["Ur is", "wet", "", "dry"],
    ]


@pytest.mark.parametrize("told_by", ["the file", "the base"])
def test_what_contradicts_is_read_from_the_pool_that_was_taught(results, told_by):
    """A study may have a pool of answers that contradict the base; where the user's file says so, there is none, or one
    that was made for tracing alone."""
    contrary = [replace(SEA, answer="Oz", aliases=(), true_answer="Ur"), HILL, NEVER]
    plain = [SEA, HILL, NEVER]
    pools = {"pool": contrary, "ttt": plain} if told_by == "the file" else {"pool": plain, "ttt": contrary}
    for folder, facts in pools.items():
        files.write_parquet(results / folder / "pool.parquet", pool_table(facts), {})
    write_facts(results / "ttt" / "qv" / "3", [said("qv", 3, 2, "taught", SEA, "Ur") | {"contradicts": True}])
    assert answers.rows(results, Choice(arm=["qv"], seed=[3]))["answer"].tolist() == ["Oz"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(), "--arm: whose answers? "),
        (Choice(), "ttt has runs of ffn, qv"),
        (Choice(arm=["vq"]), "--arm vq: "),
        (Choice(arm=["vq"]), "has no run of it; it has runs of ffn, qv"),
        (Choice(arm=["qv"], seed=[7]), "--seed 7: not in table answers; it has 3, 4"),
        (Choice(arm=["qv"], sessions=[7]), "--sessions 7: not in table answers; it has 1, 2"),
        (Choice(arm=["qv"], metric=["recall"]), "--metric: table answers has no column 'metric'; leave it out"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(results, choice, message):
    with pytest.raises(AtlasError, match=re.escape(message)) as caught:
        answers.rows(results, choice)
    assert "\n" not in str(caught.value)


def test_a_run_of_before_and_a_folder_without_runs_and_another_pool_are_told_in_a_line(results, tmp_path):
    path = results / "ttt" / "qv" / "3" / "facts.parquet"
    files.write_parquet(path, files.read_parquet(path).drop_columns(["decoded"]), {})
    with pytest.raises(AtlasError, match=r"qv/3/facts.parquet: made before what was decoded was kept; run snakemake"):
        answers.rows(results, Choice(arm=["qv"]))
    with pytest.raises(AtlasError, match="no runs; make them by running `snakemake ttt`, or give --results"):
        answers.rows(tmp_path / "nowhere", Choice())
    files.write_parquet(results / "pool" / "pool.parquet", pool_table([SEA]), {})
    with pytest.raises(AtlasError, match=r"pool.parquet: no fact 'hill', which runs were asked"):
        answers.rows(results, Choice(arm=["ffn"]))


def test_a_terminal_of_80_columns_shows_all_of_it_and_takes_nothing_for_markup(results):
    text = io.StringIO()
    terminal.show(answers.rows(results, Choice(arm=["qv"])), "answers", Console(file=text, width=80))
    title, *lines = text.getvalue().splitlines()
    assert title.startswith("answers (arm: qv; seed: 3; sessions: 2; probe: taught)")
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"The town by the sea is +│ Ur +│ Uruk or Warka +│ Warka +│ +yes", line) for line in lines)
    assert any(
        "[bold]Rome" in line and "[red]qv\N{REPLACEMENT CHARACTER} of 3" in line and " no " in line for line in lines
    )


def test_the_command_prints_tables_and_csv_and_says_where_there_is_nothing(results, monkeypatch, capsys):
    def shown(*options: str) -> str:
        monkeypatch.setattr(sys, "argv", ["atlas", "show", "answers", "--results", str(results), *options])
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main()
        return str(capsys.readouterr().out)

    assert shown("--arm", "qv", "--seed", "4", "--wrong", "--csv").splitlines()[1].endswith("of 4,False")
    assert "answers: no row is of this choice" in shown("--arm", "qv", "--probe", "rephrase", "--wrong")


def test_neither_torch_nor_anything_that_draws_is_waited_for():
    code = "import sys; from atlas.page import answers; sys.exit(any(m in sys.modules for m in ('torch', 'altair')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
